# SPDX-License-Identifier: Apache-2.0
"""Layers beside cuBLASLt and cuDNN: what can be said of it without a GPU."""

import pathlib
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def paths(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench" / "gpu"), str(ROOT / "bench"), *sys.path])


def step(body, inputs, output, constant=(1, 2), op="fused"):
    return {"op": op, "attributes": body, "outputs": [{"type": output}],
            "inputs": [{"type": kind, "constant": i in constant} for i, kind in enumerate(inputs)]}


CONV = "conv(0, 1, 2) {strides=[2, 2], pads=[1, 1, 1, 1], channels_last=1}"
IMAGE = ["f16[1,8,8,16]", "f16[32,16,3,3]", "f16[32]"]
RESULT = "f16[1,4,4,32]"


def convolution(tail, more=()):
    count = 3 + len(more)
    return step(f"{{body={{{count} in; {count} = {CONV}; {tail}}}}}", [*IMAGE, *more], RESULT)


def test_problems_are_read_and_counted():
    import problems

    zero, six = (f'constant() {{value=tensor f16[] hex"{value}"}}' for value in ("0000", "0046"))
    steps = [convolution("4 = relu(3); return 4"), convolution("4 = relu(3); return 4"),
             convolution(f"4 = {zero}; 5 = {six}; 6 = clip(3, 4, 5); return 6"),
             step("{body={4 in; 4 = matmul(0, 1); 5 = add(3, 4); 6 = add(5, 2); 7 = gelu(6); 8 = cast(7); return 8}}",
                  ["f16[2,5,8]", "f16[8,6]", "f16[6]", "f16[2,5,6]"], "f32[2,5,6]"),
             step("{strides=[1, 1], channels_last=1, group=16}", ["f16[1,8,8,16]", "f16[16,1,1,1]"], "f16[1,8,8,16]", op="conv"),
             step("", ["f16[3]"], "f16[3]", op="relu")]
    found, left_out = problems.count({"steps": steps})
    conv = dict(strides=(2, 2), pads=(1, 1, 1, 1))
    image = ("convolution", "f16", "f16", (1, 8, 8, 16), (32, 16, 3, 3), (1, 4, 4, 32))
    assert not left_out
    assert found == {
        problems.Problem(*image, **conv, epilogue=(("bias",), ("relu",))): 2,
        problems.Problem(*image, **conv, epilogue=(("bias",), ("clip", 0.0, 6.0))): 1,
        problems.Problem("product", "f16", "f32", (2, 5, 8), (8, 6), (2, 5, 6), epilogue=(("bias",), ("residual",), ("gelu",))): 1,
        problems.Problem("convolution", "f16", "f16", (1, 8, 8, 16), (16, 1, 1, 1), (1, 8, 8, 16), group=16): 1}
    assert [p.flops for p in found] == [2 * 16 * 32 * 144, 2 * 16 * 32 * 144, 2 * 10 * 6 * 8, 2 * 64 * 16]
    product = [p for p in found if p.kind == "product"][0]
    assert product.bytes == 2 * (80 + 48 + 60 + 6) + 4 * 60
    assert str(product) == "10x6x8 + bias + residual + gelu"


@pytest.mark.parametrize("left, why", [
    (convolution("4 = relu(3); return 3, 4"), "several results"),
    (convolution("4 = softmax(3); return 4"), "softmax behind it"),
    (convolution("4 = add(3, 3); return 4"), "add beside it"),
    (step("{body={2 in; 2 = relu(0); 3 = matmul(2, 1); return 3}}", ["f16[2,3]", "f16[3,4]"], "f16[2,4]"), "relu in front of it"),
    (step("", ["f16[2,3]", "f16[3,4]"], "f16[2,4]", (), "matmul"), "both operands change"),
    (step("", ["f32[2,3]", "f32[3,4]"], "f32[2,4]", op="matmul"), "f32 times f32"),
    (step("", ["f16[n,3]", "f16[3,4]"], "f16[n,4]", op="matmul"), "sizes that change"),
    (step("", ["f16[1,4,8,8]", "f16[4,4,1,1]"], "f16[1,4,8,8]", op="conv"), "not of images in NHWC"),
    (step("", ["f16[1,1,8]"] * 3, "f16[1,1,8]", op="attention"), "no single product")])
def test_others_are_left_out_with_a_reason(left, why):
    import problems

    found, left_out = problems.count({"steps": [left]})
    assert not found
    (reason,) = left_out
    assert why in reason


def naive(problem, operands):
    _, out_h, out_w, channels = problem.y
    x = operands["x"].astype(np.float64)
    result = np.zeros(problem.y)
    each = channels // problem.group
    for index in np.ndindex(problem.y):
        n, oy, ox, o = index
        for c, ky, kx in np.ndindex(problem.w[1:]):
            iy = oy * problem.strides[0] - problem.pads[0] + ky * problem.dilations[0]
            ix = ox * problem.strides[1] - problem.pads[1] + kx * problem.dilations[1]
            if 0 <= iy < x.shape[1] and 0 <= ix < x.shape[2]:
                result[index] += x[n, iy, ix, o // each * problem.w[1] + c] * float(operands["w"][o, c, ky, kx])
    return np.maximum(result + operands["bias"].astype(np.float64), 0)


def test_the_reference_is_that_of_plain_loops():
    import problems

    problem = problems.Problem("convolution", "f16", "f16", (2, 6, 5, 4), (6, 2, 3, 2), (2, 3, 5, 6), (2, 1), (1, 1, 1, 0), (1, 1), 2,
                               (("bias",), ("relu",)))
    operands = problems.operands_of(problem)
    rows = np.arange(30)
    np.testing.assert_allclose(problems.reference(problem, operands, rows), naive(problem, operands).reshape(-1, 6), rtol=1e-12)
    assert list(problems.rows_of(problem, 4)) == [0, 9, 19, 29]


@pytest.mark.parametrize("epilogue", [(), (("bias",), ("residual",), ("relu",)), (("bias",), ("gelu",)), (("gelu_tanh",),),
                                      (("bias",), ("swish",)), (("bias",), ("clip", 0.0, 0.5)), (("tanh",), ("sigmoid",))])
@pytest.mark.parametrize("kind", ["product", "convolution"])
def test_redline_computes_the_problem(kind, epilogue):
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    import part
    import problems

    shapes = ((2, 9, 24), (24, 16), (2, 9, 16)) if kind == "product" else ((1, 5, 5, 24), (16, 24, 3, 3), (1, 5, 5, 16))
    problem = problems.Problem(kind, "f16", "f32", *shapes, pads=(1, 1, 1, 1), epilogue=epilogue)
    operands = problems.operands_of(problem)
    session = redline.build(problems.graph_of(problem, operands), device="cpu", opt_level=1).create_session()
    got = session.run({name: operands[name] for name in ("x", "residual") if name in operands})["y"]
    rows = problems.rows_of(problem, 7)
    assert part.relative(got.reshape(-1, 16)[rows], problems.reference(problem, operands, rows)) < 2e-3


class FakeCublasLt:
    """Notes what it is given; finds three algorithms, of which the second is unusable."""

    def __init__(self):
        self.descriptors, self.products, self.asked = {}, [], []

    def __getattr__(self, name):
        def call(*arguments):
            if name.endswith("Create") and name != "cublasLtCreate":
                arguments[0]._obj.value = 100 + len(self.descriptors)
                self.descriptors[arguments[0]._obj.value] = [a.value if hasattr(a, "value") else a for a in arguments[1:]]
            if name == "cublasLtMatmulDescSetAttribute":
                self.descriptors[arguments[0].value].append((arguments[1], arguments[2]._obj.value))
            return 0

        call.restype = None
        self.__dict__[name] = call
        return call

    def cublasLtMatmulAlgoGetHeuristic(self, handle, operation, a, b, c, d, preference, asked, results, count):
        self.asked.append(asked)
        count._obj.value = 3
        results[1].state = 15
        return 0

    def cublasLtMatmul(self, handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, *rest):
        self.products.append({"A": (a.value, self.descriptors[a_layout.value]), "B": (b.value, self.descriptors[b_layout.value]),
                              "C": c.value, "D": (d.value, self.descriptors[d_layout.value]), "beta": beta._obj.value,
                              "operation": self.descriptors[operation.value]})
        return 0


def test_cublaslt_is_given_the_product():
    import problems
    from peers import cublaslt_layer

    problem = problems.Problem("product", "f16", "f16", (2, 5, 8), (8, 6), (2, 5, 6), epilogue=(("bias",), ("residual",), ("relu",)))
    fake = FakeCublasLt()
    pointers = {"x": 1, "w": 2, "w_turned": 3, "bias": 4, "residual": 5, "y": 6}
    ways = cublaslt_layer.Library(fake).launchers(problem, pointers, 7)
    assert [name for name, _ in ways] == ["nk0", "nk1", "kn0", "kn1"] and fake.asked == [32, 32]
    ways[0][1](0)
    ways[2][1](0)
    first, other = fake.products
    assert first["A"] == (2, [2, 8, 6, 8]) and other["A"] == (3, [2, 6, 8, 6])  # f16, rows, columns, step
    assert first["B"] == (1, [2, 8, 10, 8]) and first["D"] == (6, [2, 6, 10, 6])
    assert (first["C"], first["beta"]) == (5, 1)
    assert first["operation"] == [68, 0, (3, 1), (7, 6), (8, 4)] and other["operation"][2] == (3, 0)


def test_libraries_say_what_they_cannot_take():
    import problems
    from peers import cublaslt_layer, cudnn_layer

    def image(w, **more):
        return problems.Problem("convolution", "f16", "f16", (1, 8, 8, 16), w, (1, 8, 8, w[0]), **more)

    point, window = image((32, 16, 1, 1), epilogue=(("bias",), ("swish",))), image((32, 16, 3, 3), pads=(1, 1, 1, 1))
    assert cublaslt_layer.sizes_of(point) == (64, 32, 16) and cublaslt_layer.fused(point) == 1 and cudnn_layer.fused(point) == 2
    assert not cublaslt_layer.takes(window) and cudnn_layer.takes(window)
    assert not cublaslt_layer.takes(image((32, 16, 1, 1), strides=(2, 2)))
    product = problems.Problem("product", "f16", "f32", (5, 8), (8, 6), (5, 6), epilogue=(("bias",), ("residual",)))
    assert cublaslt_layer.fused(product) == 1 and not cudnn_layer.takes(product)


class FakeCudnn:
    """Two engines in mode A, the second of which makes no plan; none as fallback."""

    def __init__(self):
        self.kinds, self.attributes, self.mode = {}, {}, None
        self.cudnnGetErrorString = lambda status: b"NOT_SUPPORTED"
        self.cudnnGetVersion = lambda: 91900

    def cudnnGetLastErrorString(self, words, size):
        words.value = b"no such kernel"

    def cudnnCreate(self, handle):
        return 0

    def cudnnBackendCreateDescriptor(self, kind, descriptor):
        descriptor._obj.value = 1000 + len(self.kinds)
        self.kinds[descriptor._obj.value] = kind
        return 0

    def cudnnBackendSetAttribute(self, descriptor, number, kind, count, values):
        assert count.value == len(values)
        self.attributes[descriptor.value, number] = list(values)
        return 0

    def cudnnBackendFinalize(self, descriptor):
        config = self.attributes.get((descriptor.value, 401), [0])[0]
        self.mode = self.attributes.get((descriptor.value, 200), [self.mode])[0]
        return 3000 if config and config == self.second else 0

    def cudnnBackendGetAttribute(self, descriptor, number, kind, room, count, values):
        if number == 402:
            values[0] = 64
        else:
            count._obj.value = 2 if self.mode == 3 else 0
            if room.value:
                self.second = values[1]
        return 0


def test_cudnn_is_given_the_graph():
    import problems
    from peers import cudnn_layer

    problem = problems.Problem("convolution", "f16", "f16", (1, 8, 6, 16), (32, 16, 3, 3), (1, 4, 3, 32), (2, 2), (1, 2, 3, 4),
                               epilogue=(("bias",), ("residual",), ("clip", 0.0, 6.0)))
    fake = FakeCudnn()
    plans, proposed, refusal = cudnn_layer.Library(fake).plans(problem)
    assert ([plan.name for plan in plans], proposed, plans[0].workspace_bytes) == (["A0"], 2, 64)
    assert "no such kernel" in refusal
    of_kind = {kind: [d for d, k in fake.kinds.items() if k == kind] for kind in set(fake.kinds.values())}
    tensors = {fake.attributes[d, 906][0]: (fake.attributes[d, 902], fake.attributes[d, 903], fake.attributes[d, 907][0])
               for d in of_kind[cudnn_layer.TENSOR]}
    assert tensors[1] == ([1, 16, 8, 6], [768, 1, 96, 16], False)  # NHWC
    assert tensors[2] == ([32, 16, 3, 3], [144, 1, 48, 16], False)
    assert [tensors[uid][2] for uid in (10, 11, 12, 5)] == [True, True, True, False]
    (window,) = of_kind[cudnn_layer.CONVOLUTION]
    assert [fake.attributes[window, number] for number in (105, 104, 103, 102)] == [[1, 2], [3, 4], [2, 2], [1, 1]]
    assert [fake.attributes[d, 0][0] for d in of_kind[cudnn_layer.POINTWISE]] == [0, 0, 100]
    assert fake.attributes[of_kind[cudnn_layer.POINTWISE][2], 4] == [6.0]
    assert [op[2].uid for op in cudnn_layer.operations_of(problem)[1:3]] == [4, 3]  # the residual before the bias


def test_sums_are_weighted_by_steps():
    import layers
    import problems

    problem = problems.Problem("product", "f16", "f16", (5, 8), (8, 6), (5, 6))
    both = layers.Layer(problem, layers.Time(2, "gemm"), 0, {"cuBLASLt": layers.Time(4, "nk0"), "cuDNN": layers.Time(5, "A0", False)}, 1.0)
    none = layers.Layer(problem, layers.Time(9, "gemm"), 0, {"cuBLASLt": None, "cuDNN": None}, 1.0)
    assert layers.cells("n", 3, both, ["cuBLASLt", "cuDNN"])[3:7] == [both.ours, both.peers["cuBLASLt"], both.peers["cuDNN"], "0.50"]
    assert str(both.peers["cuDNN"]) == "5.00* (A0)"
    total = layers.sums("n", [(3, both), (2, none)], ["cuBLASLt", "cuDNN"])
    assert "3 of 5 steps" in total[1] and total[2:8] == [3, "6.0", "12.0", "", "0.50", "3.0"]
    assert layers.cells("n", 2, none, ["cuBLASLt", "cuDNN"])[6] == "-"
    assert [layers.times_in_graph(us) for us in (0, 2, 50, 9000)] == [100, 100, 20, 4]


def test_what_is_missing_is_named(monkeypatch):
    import contestants
    import layers
    import part
    from peers import shared_library

    with pytest.raises(OSError, match="no libnothing.so.9 or libnothing.so.8"):
        shared_library.load("libnothing", (9, 8))
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit, match="PyTorch is not here"):
        contestants.Gpu()
    with pytest.raises(SystemExit, match="no network 'nonsense'; there are tiny"):
        layers.check_names(["nonsense"], "cpu")

    def refuse(*_):
        raise OSError("no libcudnn.so.9")

    monkeypatch.setattr(shared_library, "load", refuse)
    outcome = part.Outcome([])
    assert layers.libraries_of(outcome) == []
    assert outcome.failures == ["cuBLASLt cannot be used: no libcudnn.so.9", "cuDNN cannot be used: no libcudnn.so.9"]


def test_an_engine_without_products_is_a_failure(monkeypatch, tmp_path):
    pytest.importorskip("redline", reason="the redline module is not built")
    import layers
    import part

    monkeypatch.setattr(layers, "inspected", lambda *_: {"steps": [step("", ["f16[3]"], "f16[3]", op="relu")]})
    options = part.parser("")
    options.add_argument("networks", nargs="*")
    outcome = layers.measure(options.parse_args(["--device", "cpu"]), tmp_path)
    assert outcome.failures == ["tiny: its engine has no product or convolution to compare"]
