#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes starting inputs for the fuzz targets: small models of the onnx wheel, arrays as .npy."""

import io
import pathlib
import sys

import numpy as np
import onnx.backend.test.case.node

LARGEST = 1500


def onnx_seeds():
    """One small model for each op of the node cases."""
    smallest = {}
    for case in onnx.backend.test.case.node.collect_testcases(None):
        text = case.model.SerializeToString()
        ops = tuple(sorted({node.op_type for node in case.model.graph.node}))
        if len(text) <= LARGEST and len(text) < len(smallest.get(ops, text + b" ")):
            smallest[ops] = text
    return {"-".join(ops)[:60]: text for ops, text in smallest.items()}


def npy_seeds():
    arrays = {
        "f32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "scalar": np.float64(2.5),
        "empty": np.zeros((0, 3), np.int64),
        "bool": np.array([True, False]),
        "big-endian": np.arange(3, dtype=">i4"),
        "fortran": np.asfortranarray(np.ones((2, 2), np.uint8)),
        "unicode": np.array(["a", "bc"]),
        "f16": np.zeros((1, 1, 1, 1), np.float16),
    }
    seeds = {}
    for name, array in arrays.items():
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, np.asanyarray(array), version=version)
            seeds[f"{name}-{version[0]}"] = file.getvalue()
    return seeds


def main():
    folder = pathlib.Path(sys.argv[1])
    for target, seeds in {"onnx": onnx_seeds(), "npy": npy_seeds()}.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, text in seeds.items():
            (folder / target / name).write_bytes(text)
        print(f"{target}: {len(seeds)} seeds")


if __name__ == "__main__":
    main()
