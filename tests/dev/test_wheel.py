# SPDX-License-Identifier: Apache-2.0
"""`pip install .` makes a package that runs from elsewhere with nothing but numpy beside it."""

import ast
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy
import onnx.parser
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif("LD_PRELOAD" in os.environ, reason="the wheel is not sanitized")

# A convolution, so that the oneDNN module of the package has to be found.
MODEL = """<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 8, 12, 12] x, float[8, 8, 3, 3] w) => (float[1, 8, 10, 10] y)
{
  y = Conv(x, w)
}
"""


def run(*command, **options):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # The build's own requirements are those of .venv, so that the test needs no network. The compiler is
    # called what CMake calls it elsewhere: ccache tells them apart by name.
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation",
        "--disable-pip-version-check", "-w", folder, ROOT, env={**os.environ, "CXX": "c++"})
    (path,) = folder.glob("redline-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A clean virtual environment with the wheel, and numpy as .venv has it."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    (packages,) = folder.glob("lib/python3*/site-packages")
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index",
        "--disable-pip-version-check", "--target", packages, wheel)
    theirs = pathlib.Path(numpy.__file__).parents[1]
    for name in ("numpy", "numpy.libs"):
        if (theirs / name).exists():
            (packages / name).symlink_to(theirs / name)
    return folder


def test_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    module = [n for n in names if n.startswith("redline/_redline.") and n.endswith(".so")]
    assert len(module) == 1
    assert {"redline/__init__.py", "redline/backend.py", "redline/_redline.pyi",
            "redline/py.typed"} <= names
    assert not [n for n in names if n.startswith(("include/", "lib/", "bin/"))]
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_runs_from_elsewhere(installed, tmp_path):
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "m.onnx")
    script = (
        "import numpy, redline, sys\n"
        "x = numpy.arange(1152, dtype=numpy.float32).reshape(1, 8, 12, 12)\n"
        "w = numpy.ones((8, 8, 3, 3), numpy.float32)\n"
        "y = redline.load('m.onnx').run({'x': x, 'w': w})['y']\n"
        "windows = numpy.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))\n"
        "numpy.testing.assert_allclose(y[0, 0], windows.sum((1, 4, 5))[0], rtol=1e-5)\n"
        "assert 'onnx' not in sys.modules\n"
        "print(redline.__file__)\n"
    )
    place = run(installed / "bin" / "python", "-I", "-c", script, cwd=tmp_path, env={})
    assert place.startswith(str(installed))


def test_build_requirements_are_those_pinned():
    """What an isolated build would fetch is also what ./dev has, so that it is what was tested."""
    text = (ROOT / "pyproject.toml").read_text()
    requires = ast.literal_eval(text[text.index("requires = ") + 11: text.index("build-backend")])
    pinned = (ROOT / "python" / "requirements.txt").read_text().replace("_", "-").lower()
    for requirement in requires:
        assert f"\n{requirement.replace('>=', '==').split('==')[0].lower()}==" in pinned
    assert any(r.startswith("onnx") for r in requires)
