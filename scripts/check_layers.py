#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks every include against layers.txt: lower folders never include upper ones."""

import argparse
import pathlib
import re
import sys

import sources

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
CUDA_HEADER = re.compile(r"^(cuda|cuda_\w+|cudaTypedefs|nvrtc|cupti\w*|cublas\w*|cudnn\w*)\.h$")
CUDA_FOLDERS = ("src/device/", "src/kernels/", "src/tactics/cuda/")


def read_layers(path):
    """folder -> the set of folders it may include, itself among them."""
    direct = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, colon, rest = line.partition(":")
        if not colon:
            raise SystemExit(f"{path.name}:{number}: expected `folder: folders it may use`")
        direct[name.strip()] = rest.split()
    everything = set(direct) - {"serve", "tools", "python", "examples", "include"}
    allowed = {}

    def closure(name, trail=()):
        if name in trail:
            raise SystemExit(f"{path.name}: cycle: {' -> '.join((*trail, name))}")
        if name not in direct:
            raise SystemExit(f"{path.name}: `{trail[-1]}` uses the unknown folder `{name}`")
        if name not in allowed:
            allowed[name] = {name}
            for used in direct[name]:
                allowed[name] |= everything if used == "*" else closure(used, (*trail, name))
        return allowed[name]

    for name in direct:
        closure(name)
    return allowed


def folder_of(relative):
    parts = pathlib.PurePath(relative).parts
    return parts[1] if parts[0] == "src" else parts[0]


def problems_of(root, allowed):
    found = []
    roots = ("src", "include", "tools", "python", "examples")
    for path in sources.files(*sources.CPP, root=root, folders=roots):
        relative = path.relative_to(root).as_posix()
        folder = folder_of(relative)
        if folder not in allowed:
            found.append(f"{relative}: folder `{folder}` has no line in layers.txt")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            quote, target = match.groups()
            where = f"{relative}:{number}: "
            used = target.split("/")[0] if "/" in target else None
            used = "include" if used == "redline" else used
            if CUDA_HEADER.match(target) and not relative.startswith(CUDA_FOLDERS):
                found.append(f"{where}{target} belongs only in {', '.join(CUDA_FOLDERS)}")
            elif used in allowed and (quote == '"' or used == "include"):
                if used not in allowed[folder]:
                    may = " ".join(sorted(allowed[folder] - {folder})) or "nothing"
                    found.append(f"{where}`{folder}` may not include {target}; it may use: {may}")
            elif quote == '"' and target.startswith("."):
                found.append(f"{where}name {target} from the src/ root")
            elif quote == '"' and folder_is_src(relative) and not is_known(root, target):
                found.append(f'{where}"{target}" is no file of ours; name it from the src/ root')
    return found


def folder_is_src(relative):
    return relative.startswith("src/")


def is_known(root, target):
    return target.endswith("_generated.h") or (root / "src" / target).exists()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=sources.ROOT)
    root = parser.parse_args().root
    return sources.report(problems_of(root, read_layers(root / "layers.txt")), "layers")


if __name__ == "__main__":
    sys.exit(main())
