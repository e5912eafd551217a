#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks what no compiler does: licence lines, folder READMEs, each op's cases, paths of one machine."""

import argparse
import pathlib
import re
import sys

import sources

SPDX = "SPDX-License-Identifier: Apache-2.0"
NEED_SPDX = (*sources.CPP, ".py", ".pyi", ".sh", ".fbs")
TEXT = (*NEED_SPDX, ".txt", ".md", ".cmake", ".json", ".toml", ".ir", ".cases")
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(home/\w|Users/\w|root/|work/)")
BARE_TODO = re.compile(r"\b(TODO(?!\([\w-]+\): )|FIXME|XXX)\b")
HISTORY = "no TODO without a name: TODO(name): what would settle it"
# Ops whose tests are not lines of cases, and why.
NO_CASES = {
    "control_flow": "its ops hold graphs; ONNX's own cases of If, Loop and Scan run them",
    "fused": "is made by passes only; tests/passes and the tactics' own tests run it",
    "random": "its results are distributions; tests/ops/random_test.cc and tests/onnx/test_random.py",
}


def problems_of(root):
    found = []
    for path in sources.files(*TEXT, root=root):
        relative = path.relative_to(root).as_posix()
        lines = path.read_text(errors="replace").splitlines()
        if path.suffix in NEED_SPDX and not any(SPDX in line for line in lines[:2]):
            found.append(f"{relative}:1: expected `{SPDX}` at the top")
        for number, line in enumerate(lines, 1):
            if MACHINE_PATH.search(line):
                found.append(f"{relative}:{number}: a path of one machine: {line.strip()[:80]}")
            if path.suffix in sources.CPP and BARE_TODO.search(line):
                found.append(f"{relative}:{number}: {HISTORY}")
    for path in sorted((root / "src" / "ops").glob("*.cc")):
        registers = "\nvoid register_op_" in path.read_text()
        cases = root / "tests" / "ops" / f"{path.stem}.cases"
        if registers and path.stem not in NO_CASES and not cases.exists():
            found.append(f"src/ops/{path.name}: has no cases in tests/ops/{cases.name}")
    for folder in sorted((root / "src").iterdir()):
        if folder.is_dir() and not (folder / "README.md").exists():
            found.append(f"src/{folder.name}: has no README.md")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=sources.ROOT)
    return sources.report(problems_of(parser.parse_args().root), "text")


if __name__ == "__main__":
    sys.exit(main())
