# SPDX-License-Identifier: Apache-2.0
"""Parts of ./dev gpu-test are tests of CTest, which say so when they cannot run."""

import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "gpu.sh"
PARTS = re.search(r"foreach\(part ([^)]*)\)", (ROOT / "tests/gpu/CMakeLists.txt").read_text())[1].split()


@pytest.fixture
def checkout(tmp_path):
    """The script in a folder of its own, and a program in front of it."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "gpu.sh").write_bytes(SCRIPT.read_bytes())

    def run(part, devices, path=os.environ["PATH"]):
        program = tmp_path / "redline"
        program.write_text(f"#!/bin/sh\necho 'redline 0.1.0 (devices: {devices})'\n")
        program.chmod(0o755)
        done = subprocess.run(["/bin/bash", tmp_path / "scripts" / "gpu.sh", "ctest", program, part], capture_output=True, text=True,
                              env={"PATH": path})
        return done.returncode, done.stdout + done.stderr

    return run


def bundle(root):
    (root / "dist" / "gpu").mkdir(parents=True)
    program = root / "dist" / "gpu" / "redline"
    program.write_text("#!/bin/sh\necho 'redline 0.1.0 (devices: cpu, cuda:0)'\n")
    program.chmod(0o755)


@pytest.mark.parametrize("part", PARTS)
def test_without_a_gpu_no_part_runs(checkout, part):
    assert checkout(part, "cpu") == (77, "not run: no usable GPU here: redline 0.1.0 (devices: cpu)\n")


def test_without_the_bundle_no_part_runs(checkout):
    code, said = checkout("ops", "cpu, cuda:0")
    assert code == 77 and "dist/gpu is missing" in said


def test_without_its_tool_a_sanitizer_does_not_run(checkout, tmp_path):
    bundle(tmp_path)
    assert checkout("memcheck", "cpu, cuda:0", "/usr/bin:/bin") == (77, "not run: compute-sanitizer is not here\n")


def test_with_both_the_part_runs(checkout, tmp_path):
    bundle(tmp_path)
    code, said = checkout("no_such_part", "cpu, cuda:0")
    assert code == 1 and "no part 'no_such_part'" in said


def test_every_part_is_there():
    is_part = re.compile("^(import|from) part\\b", re.MULTILINE)
    programs = {path.stem for path in (ROOT / "bench/gpu").glob("*.py") if is_part.search(path.read_text())}
    assert "memory" in programs
    assert programs - {"layers"} <= set(PARTS)  # layers is one of ./dev gpu-bench
