# SPDX-License-Identifier: Apache-2.0
"""Models computed in halves: they agree with f32, keep their types outside, and say what stayed."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

redline = pytest.importorskip("redline", reason="the redline module is not built")

HALVES = {"fp16": "f16", "bf16": "bf16"}


class Net:
    """Collects nodes and random weights of a model from `x` to `y`."""

    def __init__(self, shape):
        self.random = np.random.default_rng(0)
        self.nodes, self.weights, self.shape = [], [], shape

    def weight(self, *shape, scale=None, offset=0.0):
        scale = scale or 1 / np.sqrt(max(1, np.prod(shape[1:])))
        values = self.random.normal(offset, scale, shape).astype(np.float32)
        return self.constant(values)

    def constant(self, values):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, op, *inputs, output=None, **attributes):
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def model(self):
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.weights,
        )
        return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def convolutions():
    net, x = Net([2, 3, 17, 13]), "x"
    for channels, before in [(8, 3), (16, 8), (16, 16)]:
        x = net.op("Conv", x, net.weight(channels, before, 3, 3), pads=[1, 1, 1, 1])
        scale, bias = net.weight(channels, scale=0.1, offset=1), net.weight(channels, scale=0.1)
        mean, var = net.weight(channels, scale=0.1), net.constant(np.ones(channels, np.float32))
        x = net.op("BatchNormalization", x, scale, bias, mean, var)
        x = net.op("Relu", x)
    x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    net.op("GlobalAveragePool", x, output="y")
    return net.model()


def layer_norm(net, x, size):
    """As exporters write it, with a square that would leave the range of f16 for large x."""
    mean = net.op("ReduceMean", x, net.constant([np.int64(-1)]))
    centred = net.op("Sub", x, mean)
    square = net.op("Pow", centred, net.constant(np.float32(2)))
    var = net.op("ReduceMean", square, net.constant([np.int64(-1)]))
    root = net.op("Sqrt", net.op("Add", var, net.constant(np.float32(1e-12))))
    scaled = net.op("Mul", net.op("Div", centred, root), net.weight(size, scale=0.1, offset=1))
    return net.op("Add", scaled, net.weight(size, scale=0.1))


def perceptron():
    net, x = Net([5, 24]), "x"
    for size, before in [(32, 24), (32, 32)]:
        x = net.op("Gemm", x, net.weight(size, before), net.weight(size), transB=1)
        x = net.op("Gelu", layer_norm(net, x, size))
    net.op("MatMul", x, net.weight(32, 7), output="y")
    return net.model()


def attention():
    net = Net([2, 9, 32])
    sizes, back = net.constant(np.int64([2, 9, 4, 8])), net.constant(np.int64([2, 9, 32]))

    def heads(perm):
        x = net.op("Reshape", net.op("MatMul", "x", net.weight(32, 32)), sizes)
        return net.op("Transpose", x, perm=perm)

    scores = net.op("MatMul", heads([0, 2, 1, 3]), heads([0, 2, 3, 1]))
    scores = net.op("Div", scores, net.constant(np.float32(np.sqrt(8))))
    mask = np.where(np.arange(9) < 6, 0, np.finfo(np.float32).min).astype(np.float32)
    scores = net.op("Add", scores, net.constant(mask))
    mixed = net.op("MatMul", net.op("Softmax", scores, axis=-1), heads([0, 2, 1, 3]))
    mixed = net.op("Reshape", net.op("Transpose", mixed, perm=[0, 2, 1, 3]), back)
    added = net.op("Add", "x", net.op("MatMul", mixed, net.weight(32, 32)))
    net.op("Identity", layer_norm(net, added, 32), output="y")
    return net.model()


def build(model, **options):
    return redline.build(model, tuning_database=False, **options)


def precision_report(engine):
    return redline.build_report(engine)["precision"]


def types_of_weights(engine):
    """The element types of matrices that steps read."""
    operands = [v for step in redline.inspect(engine)["steps"] for v in step["inputs"]]
    return {v["type"].split("[")[0] for v in operands if v["constant"] and "," in v["type"]}


@pytest.mark.parametrize("opt_level", [1, 3])
@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("network", [convolutions, perceptron, attention])
def test_agrees_with_f32(network, precision, opt_level):
    model = network()
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)
    expected = build(model).create_session().run({"x": x})["y"]

    engine = build(model, precision=precision, opt_level=opt_level, verify_passes=True)
    y = engine.create_session().run({"x": x})["y"]

    assert y.dtype == np.float32
    assert np.abs(y - expected).max() <= 2e-2 * np.abs(expected).max()
    report = precision_report(engine)
    assert report["dtype"] == HALVES[precision]
    assert report["lowered"] > 2
    assert types_of_weights(engine) == {HALVES[precision]}


def test_what_stays_is_reported():
    net = Net([4, 8])
    first = net.op("MatMul", "x", net.weight(8, 8))
    large = net.op("MatMul", first, net.constant(np.full((8, 8), 1e5, np.float32)))
    settled = net.op("Tanh", large)
    net.op("MatMul", settled, net.weight(8, 8, scale=1e-6), output="y")
    report = precision_report(build(net.model(), precision="fp16"))
    kept = {(k["op"], k["reason"].split()[-1]): len(k["nodes"]) for k in report["kept"]}
    assert kept == {("matmul", "large"): 1, ("tanh", "large"): 1, ("matmul", "small"): 1}
    assert report["lowered"] == 1
    report = precision_report(build(net.model(), precision="bf16"))
    assert (report["lowered"], report["kept"]) == (4, [])


def test_range_check_finds_what_overflows():
    net = Net([4, 64])
    large = net.op("MatMul", "x", net.constant(np.full((64, 64), 6e4, np.float32)))
    net.op("MatMul", large, net.weight(64, 8, scale=1e-3), output="y")
    model = net.model()
    x = np.ones((4, 64), np.float32)
    y = redline.load(model, precision="fp16", tuning_database=False).run({"x": x})["y"]
    expected = redline.load(model, tuning_database=False).run({"x": x})["y"]
    assert np.abs(y - expected).max() <= 2e-2 * np.abs(expected).max()


def test_default_is_f32():
    report = precision_report(build(perceptron()))
    assert report["dtype"] == "f32"
    assert report["lowered"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "tf32", "opt_level": 0}, "level of 1 or more"),
        ({"precision": "fp16", "opt_level": 0}, "level of 1 or more"),
    ],
)
def test_is_refused(options, message):
    with pytest.raises(redline.Error, match=message):
        build(perceptron(), **options)


def test_tf32_is_f32_on_the_cpu(capfd):
    x = np.random.default_rng(1).normal(size=(5, 24)).astype(np.float32)
    engine = build(perceptron(), precision="tf32", device="cpu")
    report = precision_report(engine)
    assert (report["dtype"], report["lowered"]) == ("f32", 0)
    assert report["note"].startswith("asked for tf32, computes in f32")
    y, expected = (e.create_session().run({"x": x})["y"] for e in (engine, build(perceptron(), device="cpu")))
    np.testing.assert_array_equal(y, expected)


def test_tf32_is_in_the_engine_of_a_gpu():
    try:
        engine = build(convolutions(), precision="tf32", device="cuda", target="sm_80")
    except redline.Error as error:
        if "NVRTC" in str(error):
            pytest.skip("no NVRTC to compile kernels with")
        raise
    report = precision_report(engine)
    assert (report["dtype"], report["lowered"]) == ("tf32", 3) and "note" not in report
    convs = [s for s in redline.inspect(engine)["steps"] if "conv(" in s["attributes"] or s["op"] == "conv"]
    assert convs and all("tf32=1" in s["attributes"] for s in convs)
    assert any("tf32=1" in p["problem"] for p in redline.build_report(engine)["problems"])
    assert types_of_weights(engine) <= {"f32", "u8"}


def test_an_engine_has_its_precision(tmp_path):
    path = tmp_path / "m.engine"
    build(perceptron(), precision="fp16").save(str(path))
    x = np.ones((5, 24), np.float32)
    assert redline.load(path).run({"x": x})["y"].dtype == np.float32
    with pytest.raises(redline.Error, match="is an engine already"):
        redline.load(path, precision="fp16")
    with pytest.raises(redline.Error, match="is an engine already"):
        redline.load(path.read_bytes(), precision="bf16")


def test_unknown_precision():
    with pytest.raises(ValueError, match="fp8"):
        build(perceptron(), precision="fp8")


def test_range_check_is_remembered(tmp_path):
    def report(scale):
        net = Net([4, 8])
        first = net.op("MatMul", "x", net.constant(np.full((8, 8), scale, np.float32)))
        net.op("MatMul", net.op("Tanh", first), net.weight(8, 8), output="y")
        engine = redline.build(net.model(), precision="fp16", tuning_database=str(tmp_path / "t.jsonl"))
        return precision_report(engine)

    first = report(2e4)
    assert [(k["op"], k["reason"]) for k in first["kept"]][0] == ("matmul", "its result is too large on random inputs")
    assert first["range_check"] == "run once on random inputs in [-1, 1)"
    again = report(2e4)
    assert again["range_check"] == first["range_check"] + ", by an earlier build"
    assert again["kept"] == first["kept"]
    other = report(1.0)
    assert (other["range_check"], other["kept"]) == (first["range_check"], [])


def test_constants_are_converted_whole(tmp_path):
    """One larger than what a thread takes at a time."""
    net = Net([2, 70])
    weights = np.random.default_rng(5).standard_normal((70, 1001), dtype=np.float32)
    net.op("MatMul", "x", net.constant(weights), output="y")
    engine = build(net.model(), precision="fp16")
    assert types_of_weights(engine) == {"f16"}
    rows = np.zeros((2, 70), np.float32)
    rows[0, 0] = rows[1, 69] = 1
    y = engine.create_session().run({"x": rows})["y"]
    np.testing.assert_array_equal(y, weights[[0, 69]].astype(np.float16).astype(np.float32))
