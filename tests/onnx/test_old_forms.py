# SPDX-License-Identifier: Apache-2.0
"""Ops whose operands were attributes in older opsets, and all forms of Constant."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

redline = pytest.importorskip("redline", reason="the redline module is not built")

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def run(op, inputs, opset, num_outputs=1, domain="", **attributes):
    names = [f"x{i}" for i in range(len(inputs))]
    outputs = [f"y{i}" for i in range(num_outputs)]
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph(
        [node], "g", infos, [helper.make_empty_tensor_value_info(y) for y in outputs])
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    session = redline.load(helper.make_model(graph, opset_imports=opsets))
    results = session.run(dict(zip(names, inputs, strict=True)))
    return [results[y] for y in outputs]


def softmax_2d(x, axis):
    flat = x.reshape(int(np.prod(x.shape[:axis])), -1)
    e = np.exp(flat - flat.max(1, keepdims=True))
    return (e / e.sum(1, keepdims=True)).reshape(x.shape)


@pytest.mark.parametrize(
    ("op", "opset", "attributes", "expected"),
    [
        ("Slice", 9, {"starts": [1], "ends": [3], "axes": [-1]}, X[..., 1:3]),
        ("Slice", 7, {"starts": [0, 1], "ends": [1, 1000]}, X[:1, 1:]),
        ("Pad", 10, {"pads": [0, 1, 0, 0, 0, 2], "value": 7.0},
         np.pad(X, [(0, 0), (1, 0), (0, 2)], constant_values=7)),
        ("Pad", 7, {"pads": [0, 0, 1, 0, 0, 1], "mode": "reflect"},
         np.pad(X, [(0, 0), (0, 0), (1, 1)], mode="reflect")),
        ("Unsqueeze", 11, {"axes": [0, -1]}, X[None, ..., None]),
        ("Squeeze", 11, {"axes": [0]}, None),
        ("ReduceSum", 11, {"axes": [1], "keepdims": 0}, X.sum(1)),
        ("ReduceMax", 17, {"axes": [-1]}, X.max(-1, keepdims=True)),
        ("ReduceMean", 8, {}, X.mean(keepdims=True)),
        ("Softmax", 12, {}, softmax_2d(X, 1)),
        ("Softmax", 12, {"axis": 2}, softmax_2d(X, 2)),
        ("Softmax", 11, {"axis": 0}, softmax_2d(X, 0)),
        ("Softmax", 13, {}, softmax_2d(X, 2)),
        ("LogSoftmax", 9, {"axis": 1}, np.log(softmax_2d(X, 1))),
        ("Hardmax", 9, {}, (X == X.max((1, 2), keepdims=True)).astype(np.float32)),
        ("Flatten", 9, {"axis": 2}, X.reshape(6, 4)),
    ],
)  # fmt: skip
def test_attribute_forms(op, opset, attributes, expected):
    if op == "Squeeze":
        [y] = run(op, [X[:1]], opset, **attributes)
        np.testing.assert_array_equal(y, X[0])
        return
    [y] = run(op, [X], opset, **attributes)
    np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_split_sizes_and_top_k():
    a, b = run("Split", [X], 11, num_outputs=2, axis=2, split=[1, 3])
    np.testing.assert_array_equal(a, X[..., :1])
    np.testing.assert_array_equal(b, X[..., 1:])
    values, indices = run("TopK", [X], 9, num_outputs=2, k=2)
    np.testing.assert_array_equal(values, X[..., [3, 2]])
    np.testing.assert_array_equal(indices, np.broadcast_to([3, 2], (2, 3, 2)))


def test_scatter_is_scatter_elements():
    x = np.zeros((1, 3), np.float32)
    [y] = run("Scatter", [x, np.array([[2, 0]]), np.array([[5, 6]], np.float32)], 9, axis=1)
    np.testing.assert_array_equal(y, [[6, 0, 5]])


def test_batch_normalization_of_positions():
    p = [np.full((3, 4), v, np.float32) for v in (2, 1, 4, 3)]
    p[2][1, 2] = 10
    [y] = run("BatchNormalization", [X, *p], 7, spatial=0, epsilon=1.0)
    np.testing.assert_allclose(y, (X - p[2]) / 2 * 2 + 1, rtol=1e-6)


def test_batch_normalization_trains_when_statistics_are_asked_for():
    p = [np.full(3, v, np.float32) for v in (1, 0, 4, 2)]
    y, mean, var, batch_mean, batch_var = run(
        "BatchNormalization", [X, *p], 9, num_outputs=5, momentum=0.75, epsilon=0.0)
    m, v = X.mean((0, 2)), X.var((0, 2))
    np.testing.assert_allclose(
        y, (X - m[:, None]) / np.sqrt(v[:, None]), rtol=1e-5)
    np.testing.assert_allclose(mean, 3 + m / 4, rtol=1e-6)
    np.testing.assert_allclose(var, 1.5 + v / 4, rtol=1e-6)
    np.testing.assert_allclose(batch_mean, m, rtol=1e-6)
    np.testing.assert_allclose(batch_var, v, rtol=1e-6)


def test_group_normalization_with_a_scale_for_each_group():
    x = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)
    scale, bias = np.array([2, 3], np.float32), np.array([1, -1], np.float32)
    [y] = run("GroupNormalization", [x, scale, bias], 18, num_groups=2)
    g = x.reshape(2, 2, 10)
    g = (g - g.mean(2, keepdims=True)) / np.sqrt(g.var(2, keepdims=True) + 1e-5)
    expected = (g * scale[:, None] + bias[:, None]).reshape(x.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_skip_layer_normalization():
    rng = np.random.default_rng(0)
    x, skip = rng.standard_normal((2, 2, 3, 8)).astype(np.float32)
    gamma, beta, bias = rng.standard_normal((3, 8)).astype(np.float32)
    y, mean, inverse, total = run(
        "SkipLayerNormalization", [x, skip, gamma, beta, bias], 17, num_outputs=4,
        domain="com.microsoft", epsilon=1e-5)
    s = x + skip + bias
    m, v = s.mean(-1, keepdims=True), s.var(-1, keepdims=True)
    np.testing.assert_allclose(total, s, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(mean, m, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(inverse, 1 / np.sqrt(v + 1e-5), rtol=1e-4)
    np.testing.assert_allclose(
        y, (s - m) / np.sqrt(v + 1e-5) * gamma + beta, rtol=1e-4, atol=1e-5)


SPARSE = helper.make_sparse_tensor(
    numpy_helper.from_array(np.array([5, 7], np.float32)),
    numpy_helper.from_array(np.array([1, 5])), [2, 3])


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("value", numpy_helper.from_array(X), X),
        ("value_float", 1.5, np.float32(1.5)),
        ("value_floats", [1.5, -2.0], np.array([1.5, -2], np.float32)),
        ("value_int", -3, np.int64(-3)),
        ("value_ints", [1, 2, 3], np.array([1, 2, 3])),
        ("value_string", "text", np.array("text", object)),
        ("value_strings", ["a", "b"], np.array(["a", "b"], object)),
        ("sparse_value", SPARSE, np.array([[0, 5, 0], [0, 0, 7]], np.float32)),
    ],
)
def test_constant(attribute, value, expected):
    node = helper.make_node("Constant", [], ["y"], **{attribute: value})
    graph = helper.make_graph([node], "g", [], [helper.make_empty_tensor_value_info("y")])
    session = redline.load(helper.make_model(graph))
    y = session.run({})["y"]
    assert np.asarray(y).dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(y, expected)


def test_a_constant_without_a_value_is_refused():
    node = onnx.NodeProto(op_type="Constant", output=["y"])
    graph = helper.make_graph([node], "g", [], [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [])])  # fmt: skip
    with pytest.raises(Exception, match="Constant: no attribute holds a value"):
        redline.load(helper.make_model(graph))
