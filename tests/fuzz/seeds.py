#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes starting inputs for the fuzz targets: small models of the onnx wheel, arrays as .npy."""

import io
import pathlib
import sys

import numpy as np
import onnx.backend.test.case.node
import onnx.helper
import onnx.numpy_helper

LARGEST = 1500


def onnx_seeds():
    """One small model for each op of the node cases."""
    smallest = {}
    for case in onnx.backend.test.case.node.collect_testcases(None):
        text = case.model.SerializeToString()
        ops = tuple(sorted({node.op_type for node in case.model.graph.node}))
        if len(text) <= LARGEST and len(text) < len(smallest.get(ops, text + b" ")):
            smallest[ops] = text
    return {"-".join(ops)[:60]: text for ops, text in smallest.items()} | tensor_seeds()


def tensor_seeds():
    """A model with one initialiser, for each element type, in raw and in typed form."""
    values = {}
    for name, number in onnx.TensorProto.DataType.items():
        if number in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
            continue
        try:
            values[f"{name}-typed"] = onnx.helper.make_tensor("t", number, [3], [1, 0, 1])
            array = onnx.numpy_helper.to_array(values[f"{name}-typed"])
            values[f"{name}-raw"] = onnx.numpy_helper.from_array(array, "t")
        except (KeyError, TypeError, ValueError, NotImplementedError):
            continue  # a type that numpy_helper does not know
    values["STRING"] = onnx.helper.make_tensor("t", onnx.TensorProto.STRING, [2], [b"a", b"bc"])
    external = onnx.TensorProto(name="t", data_type=1, dims=[2], data_location=1)
    for key, value in {"location": "w.bin", "offset": "0", "length": "8"}.items():
        external.external_data.add(key=key, value=value)
    values["external"] = external
    seeds = {}
    for name, tensor in values.items():
        graph = onnx.GraphProto(name="g", initializer=[tensor])
        graph.node.append(onnx.helper.make_node("Constant", [], ["c"], value=tensor))
        seeds[f"tensor-{name}"] = onnx.ModelProto(ir_version=10, graph=graph).SerializeToString()
    sparse = onnx.helper.make_sparse_tensor(
        onnx.helper.make_tensor("t", onnx.TensorProto.FLOAT, [1], [2.0]),
        onnx.helper.make_tensor("i", onnx.TensorProto.INT64, [1, 2], [0, 1]),
        [2, 3],
    )
    graph = onnx.GraphProto(name="g", sparse_initializer=[sparse])
    seeds["sparse"] = onnx.ModelProto(ir_version=10, graph=graph).SerializeToString()
    return seeds


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
        "bytes": np.array([b"a", b"bc"]),
        "opaque": np.zeros(2, "V2"),
    }
    seeds = {}
    for name, array in arrays.items():
        for version in ((1, 0), (2, 0), (3, 0)):
            file = io.BytesIO()
            np.lib.format.write_array(file, np.asanyarray(array), version=version)
            seeds[f"{name}-{version[0]}"] = file.getvalue()
    file = io.BytesIO()
    np.savez(file, a=np.zeros(2, np.uint8), b=np.array("text"))
    seeds["archive"] = file.getvalue()
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
