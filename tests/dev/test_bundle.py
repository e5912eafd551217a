# SPDX-License-Identifier: Apache-2.0
"""Bundles must run from another folder with an empty environment, and within their size.

REDLINE_BUNDLES names a folder of archives to test; without it they are made."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile

import numpy
import onnx.parser
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = re.compile(r"linux-vdso|ld-linux|/lib(c|m|dl|rt|pthread)\.so")
pytestmark = pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="bundles are not sanitized")
LIMIT_BYTES = {"-small": 40e6, "": 100e6}

# A convolution, so that the bundle with oneDNN has to load it.
MODEL = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 8, 12, 12] x, float[8, 8, 3, 3] w) => (float[1, 8, 10, 10] y)
{
  c = Conv(x, w)
  y = Relu(c)
}
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    made = os.environ.get("REDLINE_BUNDLES")
    dist = pathlib.Path(made) if made else tmp_path_factory.mktemp("dist")
    if not made:
        make(dist)
    return {"-small" if "-small" in p.name else "": p for p in dist.glob("*.tar.gz")}


def make(dist):
    command = [sys.executable, ROOT / "scripts" / "bundle.py", "--dist", dist]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=["-small", ""], ids=["small", "with oneDNN"])
def bundle(request, archives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("else where")
    with tarfile.open(archives[request.param]) as tar:
        tar.extractall(folder)
    (top,) = folder.iterdir()
    return request.param, top


def run(*command, env=()):
    command = ["env", "-i", *env, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def binaries(top):
    return [p for p in top.rglob("*") if p.is_file() and not p.is_symlink()
            and p.read_bytes()[:4] == b"\x7fELF"]


def model_and_inputs(folder):
    rng = numpy.random.default_rng(0)
    inputs = {"x": rng.standard_normal((1, 8, 12, 12), dtype=numpy.float32),
              "w": rng.standard_normal((8, 8, 3, 3), dtype=numpy.float32)}
    onnx.save(onnx.parser.parse_model(MODEL), folder / "model.onnx")
    for name, value in inputs.items():
        numpy.save(folder / f"{name}.npy", value)
    windows = numpy.lib.stride_tricks.sliding_window_view(inputs["x"], (3, 3), axis=(2, 3))
    expected = numpy.einsum("nchwij,kcij->nkhw", windows, inputs["w"]).clip(0)
    return inputs, expected


def test_size(bundle):
    variant, top = bundle
    total = sum(p.stat().st_size for p in top.rglob("*") if not p.is_symlink())
    assert total <= LIMIT_BYTES[variant]


def test_libraries_come_from_the_bundle_or_glibc(bundle):
    variant, top = bundle
    found = binaries(top)
    assert found
    for binary in found:
        for line in run("/usr/bin/ldd", binary).splitlines():
            assert "not found" not in line, f"{binary}: {line}"
            assert str(top) in line or SYSTEM.search(line), f"{binary}: {line}"
    assert any("libdnnl" in p.name for p in found) == (variant == "")


def test_a_program_outside_uses_the_bundle(bundle, tmp_path):
    """As any CMake project would: find_package, build, and run with nothing in the environment."""
    _, top = bundle
    model_and_inputs(tmp_path)
    out = tmp_path / "out"
    for command in (["cmake", "-G", "Ninja", "-S", ROOT / "examples" / "embed", "-B", out,
                     f"-DCMAKE_PREFIX_PATH={top}"],
                    ["cmake", "--build", out]):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    run(out / "make_engine", tmp_path / "model.onnx", tmp_path / "model.engine")
    assert run(out / "run_engine", tmp_path / "model.engine").startswith("y [1, 8, 10, 10]: 0 0")
    assert (top / "lib" / "libredline_runtime.so").resolve().stat().st_size < 10e6


def test_licences_are_there(bundle):
    _, top = bundle
    names = {p.name for p in (top / "licenses").iterdir()}
    assert {"libflatbuffers-dev.txt", "libprotozero-dev.txt", "nlohmann-json3-dev.txt"} <= names
    assert (top / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def test_program_runs_a_model(bundle, tmp_path):
    _, top = bundle
    _, expected = model_and_inputs(tmp_path)
    program = top / "bin" / "redline"
    assert re.search(r"\d+\.\d+\.\d+", run(program, "version"))
    run(program, "run", tmp_path / "model.onnx", "--input", f"x={tmp_path / 'x.npy'}",
        "--input", f"w={tmp_path / 'w.npy'}", "--output-dir", tmp_path / "out")
    numpy.testing.assert_allclose(numpy.load(tmp_path / "out" / "y.npy"), expected, rtol=1e-4, atol=1e-4)


def test_python_runs_a_model(bundle, tmp_path):
    _, top = bundle
    _, expected = model_and_inputs(tmp_path)
    script = (
        "import numpy, redline, sys\n"
        "folder = sys.argv[1]\n"
        "inputs = {name: numpy.load(f'{folder}/{name}.npy') for name in 'xw'}\n"
        "session = redline.load(f'{folder}/model.onnx')\n"
        "numpy.save(f'{folder}/out.npy', session.run(inputs)['y'])\n"
        "print(redline.__file__)\n"
    )
    place = run(sys.executable, "-c", script, tmp_path, env=[f"PYTHONPATH={top / 'python'}"])
    assert place.startswith(str(top))
    numpy.testing.assert_allclose(numpy.load(tmp_path / "out.npy"), expected, rtol=1e-4, atol=1e-4)
