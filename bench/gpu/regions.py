# SPDX-License-Identifier: Apache-2.0
"""Regions that move memory and compute little: ONNX nodes, inputs of a given size in all, and what NumPy makes of some."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from onnx import TensorProto, helper

ONNX_TYPES = {"f32": TensorProto.FLOAT, "f16": TensorProto.FLOAT16, "i8": TensorProto.INT8, "i64": TensorProto.INT64}
NUMPY_TYPES = {"f32": np.float32, "f16": np.float16, "i8": np.int8, "i64": np.int64}


@dataclasses.dataclass
class Region:
    name: str
    kind: str  # the type of its elements
    inputs: list  # (type, shape) of each
    result: tuple
    nodes: Callable  # (names of the inputs, name of the result)
    expected: Callable  # of what `needed` gives
    axis: int | None = None  # along which some of the results are checked; none: all are
    from_axis: int | None = None  # of the inputs, which that is; none: the same
    constants: dict = dataclasses.field(default_factory=dict)
    indices: int = 0  # rows that the last input, which is made of indices, permutes

    @property
    def bytes(self):
        return sum(math.prod(shape) * np.dtype(NUMPY_TYPES[kind]).itemsize for kind, shape in [*self.inputs, self.result])

    def values(self, numbers, k, start):
        kind, shape = self.inputs[k]
        if self.indices and kind == "i64":
            return np.random.default_rng(start).permutation(self.indices).reshape(shape)
        return numbers.take(kind, shape, start)

    def needed(self, feed, at):
        """Those parts of the inputs that the results at these places are made of."""
        if self.axis is None:
            return feed
        if self.indices:
            return [np.take(feed[0], feed[1][at], 0)]
        axis = self.axis if self.from_axis is None else self.from_axis
        return [np.take(value, at, axis) for value in feed]


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, **attributes)


def one(op, **attributes):
    return lambda names, y: [node(op, names, [y], **attributes)]


def size_of(kind):
    return np.dtype(NUMPY_TYPES[kind]).itemsize


def shaped(elements, *rest, at=0):
    """A shape of about so many elements, of which the axis `at` is what is left beside the rest."""
    shape = list(rest)
    shape.insert(at, max(1, elements // math.prod(rest)))
    return tuple(shape)


def copy(kind, size):
    shape = shaped(size // size_of(kind) // 2, 1024)
    return Region("copy", kind, [(kind, shape)], (kind, shape), one("Neg"), lambda x: -x, axis=0)


def vector(kind, count, seed):
    return np.random.default_rng(seed).uniform(0.5, 1.5, count).astype(NUMPY_TYPES[kind])


def pointwise(kind, elements):
    shape = shaped(elements, 1024)
    scale, bias = vector(kind, 1024, 1), vector(kind, 1024, 2) - NUMPY_TYPES[kind](1)

    def nodes(names, y):
        return [node("Mul", [names[0], "scale"], [y + "a"]), node("Add", [y + "a", "bias"], [y + "b"]),
                node("Relu", [y + "b"], [y])]

    yield Region("scale, bias, relu", kind, [(kind, shape)], (kind, shape), nodes,
                 lambda x: np.maximum(x * scale.astype(np.float64) + bias, 0), axis=0,
                 constants={"scale": scale, "bias": bias})
    third = shaped(elements * 2 // 3, 1000)

    def gated(names, y):
        return [node("Sigmoid", names[:1], [y + "a"]), node("Mul", [y + "a", names[0]], [y + "b"]),
                node("Add", [y + "b", names[1]], [y])]

    yield Region("silu, residual", kind, [(kind, third)] * 2, (kind, third), gated,
                 lambda x, z: x / (1 + np.exp(-x)) + z, axis=0)
    image = shaped(elements, 64, 56, 56)
    channels = {name: vector(kind, 64, seed) for seed, name in enumerate(["gamma", "beta", "mean", "var"])}
    wide = {name: value.astype(np.float64)[:, None, None] for name, value in channels.items()}
    yield Region("batch norm", kind, [(kind, image)], (kind, image),
                 lambda names, y: [node("BatchNormalization", [names[0], *channels], [y])],
                 lambda x: (x - wide["mean"]) / np.sqrt(wide["var"] + 1e-5) * wide["gamma"] + wide["beta"], axis=0,
                 constants=channels)


def casts(kind, size):
    other = "f16" if kind == "f32" else "f32"
    shape = shaped(size // 6, 1024)
    yield Region(f"cast to {other}", kind, [(kind, shape)], (other, shape), one("Cast", to=ONNX_TYPES[other]), lambda x: x,
                 axis=0)


def norms(kind, elements):
    for op, length in [("LayerNormalization", 768), ("LayerNormalization", 4096), ("RMSNormalization", 4096)]:
        shape = shaped(elements, length)
        constants = {"scale": vector(kind, length, 1)}
        if op == "LayerNormalization":
            constants["bias"] = vector(kind, length, 2)
        wide = {name: value.astype(np.float64) for name, value in constants.items()}

        def expected(x, op=op, wide=wide):
            if op == "LayerNormalization":
                x = x - x.mean(-1, keepdims=True)
            return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * wide["scale"] + wide.get("bias", 0)

        yield Region(f"{'layer' if 'bias' in wide else 'rms'} norm {length}", kind, [(kind, shape)], (kind, shape),
                     lambda names, y, op=op, constants=constants: [node(op, [names[0], *constants], [y], epsilon=1e-5)],
                     expected, axis=0, constants=constants)
    yield from channel_norms(kind, elements)


def channel_norms(kind, elements):
    def expected(x, groups):
        rows = x.reshape(x.shape[0], groups, -1)
        rows = rows - rows.mean(-1, keepdims=True)
        return (rows / np.sqrt((rows * rows).mean(-1, keepdims=True) + 1e-5)).reshape(x.shape)

    few = (1, 64, 128, max(1, elements // (64 * 128)))
    for name, shape, groups in [("group norm", shaped(elements, 128, 64, 64), 32), ("group norm, few rows", few, 32),
                                ("instance norm", shaped(elements, 64, 128, 128), 64)]:
        channels = shape[1]
        scale, bias = vector(kind, channels, 1), vector(kind, channels, 2)

        def scaled(x, scale=scale, bias=bias, groups=groups):
            return expected(x, groups) * scale.astype(np.float64)[:, None, None] + bias[:, None, None]

        attributes = {"num_groups": groups} if name.startswith("group") else {}
        op = "GroupNormalization" if attributes else "InstanceNormalization"
        yield Region(name, kind, [(kind, shape)], (kind, shape),
                     lambda names, y, op=op, attributes=attributes: [node(op, [names[0], "scale", "bias"], [y], **attributes)],
                     scaled, axis=0, constants={"scale": scale, "bias": bias})


def softmaxes(kind, elements):
    def expected(axis):
        def values(x):
            e = np.exp(x - x.max(axis, keepdims=True))
            return e / e.sum(axis, keepdims=True)
        return values

    for shape, axis in [(shaped(elements, 128), 1), (shaped(elements, 1000), 1), (shaped(elements, 65536), 1),
                        (shaped(elements, 256, 1024), 1), (shaped(elements, 21, 4096), 1), (shaped(elements, 1024, at=1), 0),
                        (shaped(elements, 16384, at=1), 0)]:
        where = "last" if axis == len(shape) - 1 else "middle" if axis else "first"
        yield Region(f"softmax, {where} axis {shape[axis]}", kind, [(kind, shape)], (kind, shape), one("Softmax", axis=axis),
                     expected(axis), axis=0 if axis else 1)


def reductions(kind, elements):
    for op, shape, axes in [("ReduceSum", shaped(elements, 1024), [1]), ("ReduceMax", shaped(elements, 128), [1]),
                            ("ReduceMean", shaped(elements, 65536), [1]), ("ReduceMean", shaped(elements, 512, 7, 7), [2, 3]),
                            ("ReduceMean", shaped(elements, 64, 112, 112), [2, 3]),
                            ("ReduceSum", shaped(elements, 256, 1024), [1]), ("ReduceMax", shaped(elements, 1000, 96), [1]),
                            ("ReduceMean", shaped(elements, 1024), [0]), ("ReduceMax", shaped(elements, 64, at=1), [0]),
                            ("ReduceMean", shaped(elements, 1024), [0, 1]), ("ReduceMax", shaped(elements, 1024), [0, 1])]:
        some = {"ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max}[op]
        kept = tuple(1 if axis in axes else length for axis, length in enumerate(shape))
        free = next((axis for axis in range(len(shape)) if axis not in axes), None)
        where = "all axes" if free is None else f"axes {axes}" if len(axes) > 1 else ["first", "middle", "last"][
            2 if axes[0] == len(shape) - 1 else min(axes[0], 1)] + " axis"
        yield Region(f"{op}, {where} of {'x'.join(map(str, shape[1:] if free == 0 else shape))}", kind, [(kind, shape)],
                     (kind, kept), lambda names, y, op=op: [node(op, [names[0], "axes"], [y], keepdims=1)],
                     lambda x, some=some, axes=axes: some(x, tuple(axes), keepdims=True), axis=free,
                     constants={"axes": np.array(axes)})


def transposes(kind, elements):
    for shape, perm in [(shaped(elements, 4096), (1, 0)), (shaped(elements, 1000, 512), (0, 2, 1)),
                        (shaped(elements, 64, 56, 56), (0, 2, 3, 1)), (shaped(elements, 56, 56, 64), (0, 3, 1, 2)),
                        (shaped(elements, 128, 12, 64), (0, 2, 1, 3)), (shaped(elements, 3, 224, 224), (0, 2, 3, 1))]:
        yield Region(f"transpose {list(perm)} of {'x'.join(map(str, shape[1:]))}", kind, [(kind, shape)],
                     (kind, tuple(shape[axis] for axis in perm)), one("Transpose", perm=perm),
                     lambda x, perm=perm: x.transpose(perm), axis=perm.index(0), from_axis=0)


def movements(kind, elements):
    for length in (1024, 64):
        shape = shaped(elements, length)
        yield Region(f"gather of rows of {length}", kind, [(kind, shape), ("i64", shape[:1])], (kind, shape),
                     one("Gather", axis=0), lambda x: x, axis=0, indices=shape[0])
    half = shaped(elements // 2, 1024)
    yield Region("concat, last axis", kind, [(kind, half)] * 2, (kind, (half[0], 2048)), one("Concat", axis=1),
                 lambda a, b: np.concatenate([a, b], 1), axis=0)
    image = shaped(elements // 2, 64, 28, 28)
    yield Region("concat of channels", kind, [(kind, image)] * 2, (kind, (image[0], 128, 28, 28)), one("Concat", axis=1),
                 lambda a, b: np.concatenate([a, b], 1), axis=0)
    image = shaped(elements, 64, 56, 56)
    yield Region("pad by 1", kind, [(kind, image)], (kind, (image[0], 64, 58, 58)),
                 lambda names, y: [node("Pad", [names[0], "pads"], [y])],
                 lambda x: np.pad(x, [(0, 0), (0, 0), (1, 1), (1, 1)]), axis=0,
                 constants={"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1])})
    yield from slices(kind, elements)


def slices(kind, elements):
    """Of which only the part that is kept is read."""
    for name, shape, axis, begin, end in [("slice of columns", shaped(elements * 4 // 3, 1024), 1, 128, 896),
                                          ("slice of odd columns", shaped(elements * 10 // 9, 1001), 1, 37, 937)]:
        kept = (*shape[:axis], end - begin, *shape[axis + 1:])
        region = Sliced(name, kind, [(kind, shape)], (kind, kept),
                        lambda names, y: [node("Slice", [names[0], "starts", "ends", "axes"], [y])],
                        lambda x, begin=begin, end=end: x[:, begin:end], axis=0,
                        constants={"starts": np.array([begin]), "ends": np.array([end]), "axes": np.array([axis])})
        yield region


class Sliced(Region):
    @property
    def bytes(self):
        return 2 * math.prod(self.result[1]) * size_of(self.kind)


def all_of(size, kinds):
    for kind in kinds:
        both = size // size_of(kind) // 2  # what is read is written
        yield from pointwise(kind, both)
        yield from casts(kind, size)
        yield from norms(kind, both)
        yield from softmaxes(kind, both)
        yield from reductions(kind, size // size_of(kind))
        yield from transposes(kind, both)
        yield from movements(kind, both)
    yield from transposes("i8", size // 2)
