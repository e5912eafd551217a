# SPDX-License-Identifier: Apache-2.0
"""What cmake --install gives: examples/embed builds against it from outside, and a program that
links the run side alone has no importer, graph or tuner in it."""

import os
import pathlib
import re
import subprocess

import onnx.parser
import pytest
import redline

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(redline.__file__).parents[2]
pytestmark = pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="the library is sanitized")
BUILD_SIDE = re.compile(
    r"\bredline::(Graph|Node|Importer|NodeImport|ImportRegistry|ImportContext|PassRegistry|GraphBuilder"
    r"|import_onnx|build_plan|build_graph|run_passes|choose_tactics|print_graph|parse_graph"
    r"|register_(import|pass)_\w+|tune\w*)\b")

MODEL = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[batch, 2] x) => (float[batch, 2] y)
<float[2] w = {1.5, -2}>
{
  s = Sub(x, w)
  y = Relu(s)
}
"""


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("installed")
    run("cmake", "--install", BUILD, "--prefix", prefix)
    return prefix


@pytest.fixture(scope="module")
def programs(installed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed")
    source = folder / "source"
    source.mkdir()
    for path in (ROOT / "examples" / "embed").iterdir():
        (source / path.name).write_text(path.read_text())
    run("cmake", "-G", "Ninja", "-S", source, "-B", folder / "out", f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", folder / "out")
    return folder / "out"


def test_a_project_outside_builds_and_runs_an_engine(programs, tmp_path):
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "m.onnx")
    out = run(programs / "make_engine", "m.onnx", "m.engine", cwd=tmp_path)
    assert "import" in out and "%" in out
    assert run(programs / "run_engine", tmp_path / "m.engine") == "y [1, 2]: 0 2\n"


def test_the_record_of_an_error(programs, tmp_path):
    model = onnx.parser.parse_model(MODEL.replace("Relu", "Reluu"))
    model.graph.node[1].name = "activation"
    onnx.save(model, tmp_path / "m.onnx")
    done = subprocess.run([programs / "make_engine", "m.onnx", "m.engine"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 1
    assert "  file: m.onnx\n  node: activation\n" in done.stderr
    assert not (tmp_path / "m.engine").exists()


def test_the_run_side_needs_only_its_library(programs):
    needed = run("readelf", "-d", programs / "run_engine")
    assert "libredline_runtime.so" in needed and "libredline.so" not in needed


def test_the_run_side_has_nothing_of_the_build_side(installed, programs):
    assert BUILD_SIDE.search(run("nm", "-C", installed / "lib" / "libredline.so"))  # it finds them
    for binary in (installed / "lib" / "libredline_runtime.so", programs / "run_engine"):
        found = [line for line in run("nm", "-C", binary).splitlines() if BUILD_SIDE.search(line)]
        assert found == []


def test_the_run_side_links_and_names_no_toolkit(installed):
    """The driver is opened by name when a GPU is wanted; NVRTC and CUPTI are the build side's alone."""
    library = installed / "lib" / "libredline_runtime.so"
    needed = re.findall(r"\(NEEDED\).*\[(\S+)\]", run("readelf", "-d", library))
    assert {n for n in needed if not re.fullmatch(r"lib(stdc\+\+|m|gcc_s|c)\.so\.\d+|ld-linux-x86-64\.so\.2", n)} == set()
    content = library.read_bytes()
    assert b"libcuda.so.1" in content and b"libnvrtc" not in content and b"libcudart" not in content
    whole = (installed / "lib" / "libredline.so").read_bytes()
    assert b"libcupti" not in content and b"libnvrtc" in whole and b"libcupti" in whole  # it would be found


def test_size(installed, tmp_path):
    run("strip", "-o", tmp_path / "stripped", installed / "lib" / "libredline_runtime.so")
    assert (tmp_path / "stripped").stat().st_size < 10e6


@pytest.mark.parametrize("name", ["libredline.so", "libredline_runtime.so"])
def test_exports_are_the_public_api(installed, name):
    library = installed / "lib" / name
    symbols = [line.split(maxsplit=2)[2] for line in
               run("nm", "-DC", "--defined-only", library).splitlines()]
    strangers = [s for s in symbols if not re.match(r"(typeinfo .*)?redline::", s)]
    assert strangers == []
    headers = "".join(p.read_text() for p in (installed / "include" / "redline").iterdir())
    for symbol in symbols:
        words = re.match(r"redline::(\w+)", symbol)
        assert re.search(rf"\b{words[1]}\b", headers), symbol
    assert any("redline::Engine::load" in s for s in symbols)
    assert any("redline::Dims::to_string" in s for s in symbols)
    assert any("redline::build(" in s for s in symbols) == (name == "libredline.so")
