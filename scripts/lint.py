#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over our C++ files; a file that was clean is not looked at again until it, a header of
ours that it includes, or .clang-tidy changes."""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import sources

INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.M)
FOLDERS = ("src", "include", "tools", "python")


def closure(path, seen):
    """The file and all headers of ours that it includes, directly or not."""
    if path in seen:
        return seen
    seen[path] = path.read_bytes()
    for name in INCLUDE.findall(seen[path].decode(errors="replace")):
        for folder in ("src", "include", "python", "tools/redline"):
            header = sources.ROOT / folder / name
            if header.is_file():
                closure(header, seen)
    return seen


def digest(path):
    hasher = hashlib.sha256((sources.ROOT / ".clang-tidy").read_bytes())
    for name, text in sorted(closure(path, {}).items()):
        hasher.update(str(name.relative_to(sources.ROOT)).encode() + text)
    return hasher.hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--fix", action="store_true", help="apply clang-tidy's own corrections")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    args = parser.parse_args()
    tool = shutil.which("clang-tidy")
    if not tool:
        print("clang-tidy is missing: apt-get install clang-tidy")
        return 1
    database = json.loads((args.build / "compile_commands.json").read_text())
    compiled = {pathlib.Path(entry["file"]) for entry in database}
    wanted = [path.resolve() for path in args.files] or sources.files(".cc", folders=FOLDERS)
    paths = [path for path in wanted if path in compiled]
    # With the compiler's cache, so that what keeps that keeps this.
    cache = os.environ.get("CCACHE_DIR") or pathlib.Path.home() / ".cache" / "ccache"
    clean = pathlib.Path(cache) / "redline-lint"
    clean.mkdir(parents=True, exist_ok=True)

    def run(path):
        stamp = clean / digest(path)
        if stamp.exists():
            return []
        fix = ["--fix"] if args.fix else []
        command = [tool, "-p", str(args.build), "--quiet", *fix, str(path)]
        done = subprocess.run(command, cwd=sources.ROOT, capture_output=True, text=True)
        if done.returncode == 0:
            stamp.touch()
            return []
        return [done.stdout.strip() or done.stderr.strip()]

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        problems = [text for texts in pool.map(run, paths) for text in texts]
    return sources.report(problems, f"lint of {len(paths)} files")


if __name__ == "__main__":
    sys.exit(main())
