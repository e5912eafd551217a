# SPDX-License-Identifier: Apache-2.0
"""Weights over 2 GB, and beyond the 4 GB that 32 bits count. The files have holes, which take no disk."""

import os

import numpy as np
import pytest
from onnx import TensorProto, helper

redline = pytest.importorskip("redline", reason="the redline module is not built")
GB = 1 << 30


def external(name, dtype, shape, offset, length):
    tensor = TensorProto(name=name, data_type=dtype, dims=shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def write_sparse(path, pieces, size):
    with open(path, "wb") as file:
        for offset, data in pieces.items():
            file.seek(offset)
            file.write(data)
        file.truncate(size)
    assert os.stat(path).st_blocks * 512 < sum(map(len, pieces.values())) + (1 << 20)


def save(folder, nodes, weights, inputs, outputs):
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_offset_beyond_4_gb(tmp_path):
    bias = np.array([1, 2, 3, 4], np.float32)
    offset = 5 * GB + 64
    write_sparse(tmp_path / "weights.bin", {offset: bias.tobytes()}, offset + bias.nbytes)
    path = save(
        tmp_path,
        [helper.make_node("Add", ["x", "bias"], ["y"])],
        [external("bias", TensorProto.FLOAT, [4], offset, bias.nbytes)],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    x = np.full(4, 10, np.float32)
    np.testing.assert_array_equal(redline.load(path).run({"x": x})["y"], x + bias)


def test_table_over_2_gb(tmp_path):
    """The table is read where the run reads it: a row near its end, which is over 2 GB away."""
    rows, columns = 300, 8 * 1024 * 1024
    size = rows * columns
    assert size > 2 * GB
    row = np.arange(columns, dtype=np.uint32).astype(np.uint8)
    write_sparse(tmp_path / "weights.bin", {(rows - 2) * columns: row.tobytes()}, size)
    path = save(
        tmp_path,
        [helper.make_node("Gather", ["table", "i"], ["y"])],
        [external("table", TensorProto.UINT8, [rows, columns], 0, size)],
        [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, [columns])],
    )
    session = redline.load(path)
    np.testing.assert_array_equal(session.run({"i": np.array(rows - 2)})["y"], row)
    assert not session.run({"i": np.array(1)})["y"].any()


def test_file_that_is_too_short_is_named(tmp_path):
    write_sparse(tmp_path / "weights.bin", {}, 4 * GB)
    path = save(
        tmp_path,
        [helper.make_node("Neg", ["w"], ["y"])],
        [external("w", TensorProto.FLOAT, [4], 4 * GB, 16)],
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])],
    )
    with pytest.raises(redline.Error, match="external data 'weights.bin' has 4294967296"):
        redline.load(path)
