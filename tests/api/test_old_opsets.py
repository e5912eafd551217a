# SPDX-License-Identifier: Apache-2.0
"""Opset 6, which the onnx wheel's PyTorch cases use: broadcasting only where it was asked for."""

import numpy as np
import pytest
from onnx import TensorProto, helper

redline = pytest.importorskip("redline", reason="the redline module is not built")


def load(op, a, b, **attributes):
    graph = helper.make_graph(
        [helper.make_node(op, ["a", "b"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("a", a), ("b", b))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 6)]
    return redline.load(helper.make_model(graph, opset_imports=opsets, ir_version=3))


@pytest.mark.parametrize(
    ("shape", "axis", "aligned"),
    [
        ((4, 5), None, (1, 1, 4, 5)),
        ((2, 3), 0, (2, 3, 1, 1)),
        ((3,), 1, (1, 3, 1, 1)),
        ((3, 4), 1, (1, 3, 4, 1)),
        ((5,), -1, (1, 1, 1, 5)),
        ((3, 4), -3, (1, 3, 4, 1)),
        ((), None, (1, 1, 1, 1)),
    ],
)
def test_axis_of_broadcast(shape, axis, aligned):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 3, 4, 5), np.float32), rng.random(shape).astype(np.float32)
    attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
    y = load("Sub", a.shape, b.shape, **attributes).run({"a": a, "b": b})["y"]
    np.testing.assert_array_equal(y, a - b.reshape(aligned))


def test_axis_out_of_range():
    with pytest.raises(redline.Error, match="axis"):
        load("Add", (2, 3), (3, 4), broadcast=1, axis=1)


def test_slope_lies_along_the_channels():
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4)
    slope = np.array([0.1, 0.2, 0.3], np.float32)
    y = load("PRelu", x.shape, slope.shape).run({"a": x, "b": slope})["y"]
    np.testing.assert_array_equal(y, np.where(x < 0, x * slope[:, None], x))
