# SPDX-License-Identifier: Apache-2.0
"""Gradient (ai.onnx.preview.training) against finite differences, in float64."""

import numpy as np
import pytest
from onnx import TensorProto, helper, parser

redline = pytest.importorskip("redline", reason="the redline module is not built")
STEP = 1e-6


def model(body, inputs, xs, y, given=None, outputs=None):
    """`body` in ONNX's text form over double inputs {name: shape}; then Gradient of y at `given`."""
    def sizes(shape):
        return f"[{','.join(map(str, shape))}]" if shape else ""

    ins = ", ".join(f"double{sizes(shape)} {name}" for name, shape in inputs.items())
    text = f'<ir_version: 8, opset_import: ["" : 18, "ai.onnx.preview.training" : 1]>\n' \
           f"g ({ins}) => (double[] unused) {{ {body} }}"
    made = parser.parse_model(text)
    outputs = outputs or [f"d_{x}" for x in xs]
    made.graph.node.append(helper.make_node(
        "Gradient", given or xs, outputs, "the_gradient", domain="ai.onnx.preview.training",
        xs=xs, y=y))
    del made.graph.output[:]
    made.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in [y, *outputs])
    return made


def finite_differences(session, values, name, y):
    x = values[name]
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        sums = []
        for step in (STEP, -STEP):
            moved = x.copy()
            moved[index] += step
            sums.append(session.run({**values, name: moved})[y].sum())
        gradient[index] = (sums[0] - sums[1]) / (2 * STEP)
    return gradient


CASES = {
    "add": ("y = Add(a, b)", {"a": (2, 3), "b": (2, 3)}),
    "add broadcast": ("y = Add(a, b)", {"a": (2, 1, 3), "b": (4, 1)}),
    "sub broadcast": ("y = Sub(a, b)", {"a": (3,), "b": (2, 3)}),
    "mul broadcast": ("y = Mul(a, b)", {"a": (2, 3), "b": ()}),
    "mul by itself": ("y = Mul(a, a)", {"a": (2, 3)}),
    "div broadcast": ("y = Div(a, b)", {"a": (2, 3), "b": (2, 1)}),
    "pow": ("y = Pow(a, b)", {"a": (2, 3), "b": (3,)}),
    "neg": ("y = Neg(a)", {"a": (3,)}),
    "exp": ("y = Exp(a)", {"a": (3,)}),
    "log": ("y = Log(a)", {"a": (3,)}),
    "sqrt": ("y = Sqrt(a)", {"a": (3,)}),
    "tanh": ("y = Tanh(a)", {"a": (3,)}),
    "sigmoid": ("y = Sigmoid(a)", {"a": (3,)}),
    "relu": ("z = Sub(a, b) y = Relu(z)", {"a": (2, 3), "b": (3,)}),
    "reciprocal": ("y = Reciprocal(a)", {"a": (3,)}),
    "sin and cos": ("s = Sin(a) c = Cos(a) y = Mul(s, c)", {"a": (3,)}),
    "abs": ("n = Neg(a) y = Abs(n)", {"a": (3,)}),
    "identity": ("y = Identity(a)", {"a": (2,)}),
    "matmul": ("y = MatMul(a, b)", {"a": (2, 3), "b": (3, 4)}),
    "matmul batches": ("y = MatMul(a, b)", {"a": (5, 1, 2, 3), "b": (2, 3, 4)}),
    "matmul row": ("y = MatMul(a, b)", {"a": (3,), "b": (2, 3, 4)}),
    "matmul column": ("y = MatMul(a, b)", {"a": (2, 2, 3), "b": (3,)}),
    "matmul vectors": ("y = MatMul(a, b)", {"a": (3,), "b": (3,)}),
    "reduce all": ("q = Mul(a, a) y = ReduceSum(q)", {"a": (2, 3)}),
    "reduce axis": (
        "i = Constant<value = int64[1] {-1}>() q = Mul(a, a) r = ReduceSum<keepdims = 0>(q, i)"
        "y = Exp(r)", {"a": (2, 3)}),
    "mean": ("q = Mul(a, a) y = ReduceMean(q)", {"a": (2, 3)}),
    "mean axis": (
        "i = Constant<value = int64[1] {0}>() r = ReduceMean<keepdims = 0>(a, i) y = Mul(r, r)",
        {"a": (2, 3)}),
    "reshape": (
        "s = Constant<value = int64[2] {3, -1}>() r = Reshape(a, s) y = Mul(r, b)",
        {"a": (2, 3), "b": (3, 2)}),
    "transpose": (
        "t = Transpose<perm = [2, 0, 1]>(a) y = Mul(t, b)", {"a": (2, 3, 4), "b": (4, 2, 3)}),
    "squeeze": (
        "i = Constant<value = int64[1] {1}>() r = Squeeze(a, i) u = Unsqueeze(r, i) y = Mul(u, a)",
        {"a": (2, 1, 3)}),
    "expand": (
        "s = Constant<value = int64[2] {2, 3}>() r = Expand(a, s) y = Mul(r, r)", {"a": (3,)}),
    "where": (
        "c = Greater(a, b) y = Where(c, a, b)", {"a": (2, 3), "b": (3,)}),
    "layer of a network": (
        "p = MatMul(a, w) h = Add(p, v) t = Tanh(h) s = Sigmoid(v) k = Sub(t, w2) q = Mul(k, k)"
        "y = ReduceMean(q)", {"a": (4, 3), "w": (3, 2), "v": (2,), "w2": (4, 2)}),
}


@pytest.mark.parametrize("name", CASES)
def test_finite_differences(name):
    body, inputs = CASES[name]
    rng = np.random.default_rng(3)
    values = {n: rng.uniform(0.5, 1.5, shape) for n, shape in inputs.items()}
    session = redline.load(model(body, inputs, list(inputs), "y"))
    outputs = session.run(values)
    for x in inputs:
        expected = finite_differences(session, values, x, "y")
        assert outputs[f"d_{x}"].shape == values[x].shape
        np.testing.assert_allclose(outputs[f"d_{x}"], expected, rtol=1e-6, atol=1e-7)


def test_symbolic_sizes():
    made = model("p = MatMul(a, w) s = Add(p, v) y = Sigmoid(s)",
                 {"a": ("n", 3), "w": (3, 2), "v": (2,)}, ["a", "w", "v"], "y")
    rng = np.random.default_rng(4)
    session = redline.load(made)
    for n in (1, 4):
        values = {"a": rng.random((n, 3)), "w": rng.random((3, 2)), "v": rng.random(2)}
        outputs = session.run(values)
        for x in values:
            expected = finite_differences(session, values, x, "y")
            np.testing.assert_allclose(outputs[f"d_{x}"], expected, rtol=1e-6, atol=1e-7)


def test_zero_where_nothing_depends():
    made = model("y = Exp(a)", {"a": (2,), "b": (3,)}, ["a", "b"], "y")
    outputs = redline.load(made).run({"a": np.zeros(2), "b": np.zeros(3)})
    np.testing.assert_array_equal(outputs["d_b"], np.zeros(3))


def test_at_other_values_than_those_of_the_graph():
    made = model("y = Mul(a, a)", {"a": (2,), "b": (2,)}, ["a"], "y", given=["b"])
    outputs = redline.load(made).run({"a": np.array([1.0, 2.0]), "b": np.array([5.0, 7.0])})
    np.testing.assert_array_equal(outputs["y"], [1, 4])
    np.testing.assert_array_equal(outputs["d_a"], [10, 14])


def test_second_derivative():
    made = model("y = Exp(a)", {"a": (3,)}, ["a"], "y")
    made.graph.node.append(helper.make_node(
        "Gradient", ["a"], ["dd_a"], "second", domain="ai.onnx.preview.training",
        xs=["a"], y="d_a"))
    made.graph.output.append(helper.make_tensor_value_info("dd_a", TensorProto.DOUBLE, None))
    a = np.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(redline.load(made).run({"a": a})["dd_a"], np.exp(a), rtol=1e-12)


def test_power_zero_has_slope_zero():
    made = model("y = Pow(a, b)", {"a": (2,), "b": (2,)}, ["a", "b"], "y")
    outputs = redline.load(made).run({"a": np.array([0.0, 2.0]), "b": np.array([2.0, 0.0])})
    np.testing.assert_allclose(outputs["d_a"], [0, 0])
    np.testing.assert_allclose(outputs["d_b"], [0, np.log(2)])


@pytest.mark.parametrize(
    ("body", "shapes", "expected"),
    [
        ("h = Tan(a) y = Exp(h)", {"a": (2,)}, "node 'h' (tan)"),
        ("y = Add(a, b)", {"a": ("n",), "b": ("m",)}, "is broadcast is not known"),
    ],
)
def test_refusal_names_the_node(body, shapes, expected):
    made = model(body, shapes, list(shapes), "y")
    with pytest.raises(redline.Error) as error:
        redline.load(made)
    assert expected in str(error.value) and "the_gradient" in str(error.value)


def test_unknown_y():
    with pytest.raises(redline.Error, match="tensor 'nothing' is not defined"):
        made = model("y = Exp(a)", {"a": (2,)}, ["a"], "y")
        made.graph.node[-1].attribute[-1].s = b"nothing"
        redline.load(made)
