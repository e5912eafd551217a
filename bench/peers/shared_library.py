# SPDX-License-Identifier: Apache-2.0
"""Finds NVIDIA's libraries: those that PyTorch has loaded already, or the loader's, or those of wheels."""

import ctypes
import pathlib
import sys


def load(name, versions):
    """The library `name`.so of the first of these major versions that is there; OSError says where it was looked for."""
    for version in versions:
        files = [f"{name}.so.{version}"]
        files += [str(file) for folder in sys.path for file in pathlib.Path(folder or ".").glob(f"nvidia/*/lib/{name}.so.{version}")]
        for file in files:
            try:
                return ctypes.CDLL(file)
            except OSError:
                continue
    tried = " or ".join(f"{name}.so.{version}" for version in versions)
    raise OSError(f"no {tried}: not loaded by PyTorch, not where the loader looks, in no nvidia wheel")
