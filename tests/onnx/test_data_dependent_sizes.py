# SPDX-License-Identifier: Apache-2.0
"""Sizes that only the values tell, through views that name them."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

redline = pytest.importorskip("redline", reason="the redline module is not built")


@pytest.fixture(scope="module")
def session():
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Squeeze", ["found", "zero"], ["places"]),
        helper.make_node("Unsqueeze", ["places", "one"], ["rows"]),
        helper.make_node("Flatten", ["rows"], ["matrix"], axis=1),
        helper.make_node("GatherND", ["x", "matrix"], ["values"]),
        helper.make_node("Unique", ["values"], ["distinct"]),
        helper.make_node("Unsqueeze", ["distinct", "zero"], ["row"]),
        helper.make_node("Softmax", ["row"], ["y"], axis=1),
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in ("rows", "values", "y")]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        outputs,
        [
            numpy_helper.from_array(np.array([0]), "zero"),
            numpy_helper.from_array(np.array([1]), "one"),
        ],
    )
    return redline.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


@pytest.mark.parametrize("x", [[0, 3, 0, 3, 1], [0, 0], [2], []])
def test_sizes_follow_the_values(session, x):
    x = np.array(x, np.float32)
    results = session.run({"x": x})
    [places] = np.nonzero(x)
    distinct = np.unique(x[places])
    np.testing.assert_array_equal(results["rows"], places[:, None])
    np.testing.assert_array_equal(results["values"], x[places])
    expected = np.exp(distinct) / np.exp(distinct).sum()
    np.testing.assert_allclose(results["y"], expected[None, :], rtol=1e-6)
