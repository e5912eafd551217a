#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Says which C++ files clang-format would change, or with --fix changes them."""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys

import sources


def batches(items, size):
    return [items[start : start + size] for start in range(0, len(items), size)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fix", action="store_true", help="rewrite the files")
    parser.add_argument("--check", action="store_true", help="only report, even after --fix")
    args = parser.parse_args()
    tool = shutil.which("clang-format")
    if not tool:
        print("clang-format is missing: apt-get install clang-format")
        return 1
    fix = args.fix and not args.check
    paths = [str(p.relative_to(sources.ROOT)) for p in sources.files(*sources.CPP)]
    mode = ["-i"] if fix else ["--dry-run", "-Werror", "--ferror-limit=1"]

    def run(batch):
        done = subprocess.run(
            [tool, "--style=file", *mode, *batch], cwd=sources.ROOT, capture_output=True, text=True
        )
        complaints = [line for line in done.stderr.splitlines() if ": error:" in line]
        return complaints or ([done.stderr] if done.returncode else [])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [line for lines in pool.map(run, batches(paths, 8)) for line in lines]
    return sources.report(problems, f"format of {len(paths)} files (./dev format mends it)")


if __name__ == "__main__":
    sys.exit(main())
