#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rewrites what the pass tests expect: update_ir.py [NAME ...]. Read the diff before you commit it."""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="passes; all when none is given")
    parser.add_argument("--build", default=ROOT / "build", type=pathlib.Path)
    args = parser.parse_args()
    folder = ROOT / "tests" / "passes"
    files = [folder / f"{name}.ir" for name in args.names] or sorted(folder.glob("*.ir"))
    driver = args.build / "tests" / "passes" / "passes_test"
    if not driver.exists():
        sys.exit(f"{driver} is missing: build the target passes_test")
    return subprocess.call([driver, "--update", *files])


if __name__ == "__main__":
    sys.exit(main())
