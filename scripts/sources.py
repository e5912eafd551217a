# SPDX-License-Identifier: Apache-2.0
"""The project's own source files, for the scripts that check them."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDERS = ("src", "include", "tools", "python", "examples", "bench", "tests", "scripts", "cmake", "docs")
CPP = (".h", ".cc", ".cuh", ".cu")


def files(*suffixes, root=ROOT, folders=FOLDERS):
    """Files of those folders with one of the suffixes, sorted; hidden and built ones left out."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*")):
            parts = path.relative_to(root).parts
            if path.suffix in suffixes and path.is_file():
                if not any(part.startswith((".", "__pycache__")) for part in parts):
                    found.append(path)
    return found


def report(problems, what):
    """Prints the problems, one a line, and returns the exit status."""
    for problem in problems:
        print(problem)
    print(f"{what}: {len(problems)} problem{'' if len(problems) == 1 else 's'}")
    return 1 if problems else 0
