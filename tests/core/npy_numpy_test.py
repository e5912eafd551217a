#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Arrays that NumPy and ml_dtypes write as .npy or .npz go through npy_copy and come back equal."""

import pathlib
import subprocess
import sys
import tempfile

import ml_dtypes
import numpy as np

DTYPES = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 >i2 >i4 >f4 >f8".split()
OPAQUE = {
    "bf16": ml_dtypes.bfloat16,
    "f8e4m3fn": ml_dtypes.float8_e4m3fn,
    "f8e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "f8e5m2": ml_dtypes.float8_e5m2,
    "f8e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "f8e8m0": ml_dtypes.float8_e8m0fnu,
    "f4e2m1": ml_dtypes.float4_e2m1fn,
    "i4": ml_dtypes.int4,
    "u4": ml_dtypes.uint4,
    "i2": ml_dtypes.int2,
    "u2": ml_dtypes.uint2,
}
SHAPES = [(), (0,), (1,), (7,), (2, 3), (3, 0, 2), (2, 3, 4, 5)]


def round_trip(tool, folder, array, *dtype):
    source, target = folder / "a.npy", folder / "b.npy"
    np.save(source, array)
    if dtype == ("npz",):
        source = folder / "a.npz"
        np.savez(source, first=np.zeros(3), second=array)
    subprocess.run([tool, source, target, *dtype], check=True)
    return np.load(target)


def same(a, b):
    return a.shape == b.shape and a.astype(a.dtype.newbyteorder("=")).tobytes() == b.tobytes()


def main():
    tool = sys.argv[1]
    random = np.random.default_rng(1)
    failures = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for shape in SHAPES:
            cases = [(random.integers(0, 2 if d == "?" else 100, shape).astype(d), ()) for d in DTYPES]
            cases += [(np.asfortranarray(a), ()) for a, _ in cases]
            words = ["", "a", "gr\u00fcn", "\u6587\u5b57", "\U0001f600" * 3]
            cases.append((random.choice(np.array(words), shape).astype("U7"), ()))
            cases += [(array, ("npz",)) for array, _ in cases[::7]]
            for dtype, kind in OPAQUE.items():
                lowest = -2 if dtype in ("i2", "i4") else 0
                cases.append((random.integers(lowest, 2, shape).astype(kind), (dtype,)))
            for array, dtype in cases:
                back = round_trip(tool, folder, np.asarray(array), *dtype)
                if array.dtype.kind == "U":
                    good = back.shape == array.shape and (back == array).all()
                else:
                    good = same(np.asarray(array), back)
                if not good:
                    failures += 1
                    print(f"{array.dtype} {shape}: {array!r} came back as {back!r}")
    print(f"npy_numpy: {failures} of {len(SHAPES) * len(cases)} differ")
    return failures != 0


if __name__ == "__main__":
    sys.exit(main())
