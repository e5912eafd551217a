#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes dist/redline-VERSION-linux-x86_64/ and its .tar.gz: the program, the Python package and every
library that is not part of glibc, found by $ORIGIN; it runs wherever glibc is 2.36 or newer. The same
with `-small` at the end has no oneDNN."""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import sources

# What glibc itself brings. All else is copied.
SYSTEM = re.compile(r"^(linux-vdso|ld-linux-x86-64|lib(c|m|dl|rt|pthread|resolv|util))\.so")
NEWEST_GLIBC = (2, 36)
ONEDNN_MODULE = "libredline_onednn.so"
LIMIT_MB = {"-small": 40, "": 100}
# Header-only works compiled in; those of copied libraries are found by their owner.
COMPILED_IN = ("libflatbuffers-dev", "libprotozero-dev", "libcli11-dev", "nlohmann-json3-dev",
               "libxxhash-dev", "libstdc++6")


def run(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"bundle: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def is_elf(path):
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def elf_files(folder):
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.is_symlink())
    return [p for p in found if is_elf(p)]


def libraries(path):
    """name -> file of each library that the loader would take for `path`, glibc's left out."""
    found = {}
    for line in run("ldd", path).splitlines():
        match = re.match(r"\s*(\S+) => (.+?)( \(0x|$)", line)
        if match and not SYSTEM.match(match[1]):
            if match[2] == "not found":
                sys.exit(f"bundle: {path.name} needs {match[1]}, which is not on this machine")
            found[match[1]] = pathlib.Path(match[2])
    return found


def copy_libraries(folder):
    """Puts what the binaries need into lib/; returns the Debian packages it came from."""
    packages = set()
    for binary in elf_files(folder):
        for name, origin in libraries(binary).items():
            copy = folder / "lib" / name
            if copy.exists():
                continue
            shutil.copyfile(origin.resolve(), copy)
            copy.chmod(0o755)
            for path in (origin, origin.resolve(), "/usr" / origin.relative_to("/")):
                owner = subprocess.run(["dpkg", "-S", path], capture_output=True, text=True).stdout
                if owner:
                    packages.add(owner.split(":")[0])
                    break
    return packages


def set_rpaths(folder, patchelf):
    for binary in elf_files(folder):
        up = os.path.relpath(folder / "lib", binary.parent)
        run(patchelf, "--set-rpath", "$ORIGIN" if up == "." else f"$ORIGIN/{up}", binary)


def check_glibc(folder):
    for binary in elf_files(folder):
        for version in re.findall(r"GLIBC_(\d+)\.(\d+)", run("readelf", "-V", binary)):
            if tuple(map(int, version)) > NEWEST_GLIBC:
                sys.exit(f"bundle: {binary.name} needs glibc {'.'.join(version)}")


def add_licences(folder, packages):
    target = folder / "licenses"
    target.mkdir()
    for package in sorted({*packages, *COMPILED_IN}):
        text = pathlib.Path("/usr/share/doc", package, "copyright")
        if text.exists():
            shutil.copyfile(text, target / f"{package}.txt")
    for text in pathlib.Path(sys.prefix, "lib").glob("python3*/site-packages/nanobind*/**/LICENSE*"):
        shutil.copyfile(text, target / f"{text.parent.name}-{text.name}.txt")
    for name in ("LICENSE", "THIRD_PARTY_NOTICES.md", "README.md"):
        shutil.copyfile(sources.ROOT / name, folder / name)


def megabytes(folder):
    return sum(p.stat().st_size for p in folder.rglob("*") if not p.is_symlink()) / 1e6


def make(installed, folder, variant, patchelf):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(installed, folder, symlinks=True)
    (folder / "lib").mkdir(exist_ok=True)
    if variant == "-small":
        (folder / "lib" / ONEDNN_MODULE).unlink(missing_ok=True)
    if (folder / "python").is_dir():
        # The package looks for modules in ../lib, as the program does.
        (folder / "python" / "lib").symlink_to("../lib")
    packages = copy_libraries(folder)
    set_rpaths(folder, patchelf)
    check_glibc(folder)
    add_licences(folder, packages)
    archive = folder.with_name(folder.name + ".tar.gz")
    with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
        tar.add(folder, folder.name)
    size = megabytes(folder)
    print(f"{folder}: {size:.1f} MB; {archive.name}: {archive.stat().st_size / 1e6:.1f} MB")
    if size > LIMIT_MB[variant]:
        sys.exit(f"bundle: {folder.name} is {size:.1f} MB, more than {LIMIT_MB[variant]} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=pathlib.Path, default=sources.ROOT / "dist")
    parser.add_argument("--jobs", default=str(os.cpu_count()))
    args = parser.parse_args()
    os.chdir(sources.ROOT)
    build = pathlib.Path("build/release")
    run("cmake", "--preset", "release")
    run("cmake", "--build", build, "-j", args.jobs)
    installed = build / "installed"
    shutil.rmtree(installed, ignore_errors=True)
    run("cmake", "--install", build, "--prefix", installed, "--strip")
    version = re.search(r"project\(redline VERSION (\S+)", pathlib.Path("CMakeLists.txt").read_text())[1]
    patchelf = pathlib.Path(sys.prefix, "bin", "patchelf")
    name = f"redline-{version}-linux-x86_64"
    has_onednn = (installed / "lib" / ONEDNN_MODULE).exists()
    for variant in ("-small", "") if has_onednn else ("-small",):
        make(installed, args.dist / (name + variant), variant, patchelf)


if __name__ == "__main__":
    main()
