# SPDX-License-Identifier: Apache-2.0
"""The classic networks of the onnx wheel, with weights.

The wheel stores each weight as a ConstantOfShape of 0.02. With equal weights all channels are equal
and most errors stay invisible, so the stubs become seeded random weights of the usual scale.
"""

import functools

import numpy as np
import onnx
from onnx import numpy_helper
from PIL import Image

from .model import Model, packaged_file, top_class

# The factor on the last layer's weights that brings the logits to a deviation of about 2, so that the
# Softmax at the end is neither flat nor saturated.
GAINS = {
    "resnet50": 5e-5,
    "densenet121": 1,
    "squeezenet": 1,
    "shufflenet": 2e-6,
    "inception_v2": 0.04,
    "inception_v1": 0.25,
    "vgg19": 0.4,
    "bvlc_alexnet": 0.35,
    "zfnet512": 1,
}
SIDE = 224


def fill_weights(model, gain):
    """Turns the ConstantOfShape stubs into random initializers; `gain` scales the last layer."""
    graph = model.graph
    shapes = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    stubs = [n for n in graph.node if n.op_type == "ConstantOfShape" and n.input[0] in shapes]
    uses = {}
    for node in graph.node:
        for index, name in enumerate(node.input):
            uses.setdefault(name, (node, index))
    last = [node for node in graph.node if node.op_type in ("Conv", "Gemm")][-1]
    rng = np.random.default_rng(0)
    weights = []
    for stub in stubs:
        name = stub.output[0]
        node, index = _real_use(uses, name)
        value = _random_weight(rng, shapes[stub.input[0]], node, index)
        if node is last and index == 1:
            value *= np.float32(gain)
        weights.append(numpy_helper.from_array(value, name))
    dropped = {stub.input[0] for stub in stubs}
    nodes = [n for n in graph.node if not any(n is stub for stub in stubs)]
    kept = [i for i in graph.initializer if i.name not in dropped] + weights
    named = {i.name for i in kept} | dropped
    inputs = [i for i in graph.input if i.name not in named]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.ir_version = max(model.ir_version, 4)  # from 4 on initializers need not be inputs
    for field, items in (("node", nodes), ("initializer", kept), ("input", inputs)):
        result.graph.ClearField(field)
        getattr(result.graph, field).extend(items)
    return result


def _real_use(uses, name):
    node, index = uses[name]
    while node.op_type in ("Unsqueeze", "Reshape"):
        node, index = uses[node.output[0]]
    return node, index


def _random_weight(rng, shape, node, index):
    if node.op_type in ("Conv", "Gemm") and index == 1:
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        fan_in = np.prod(shape[1:]) if node.op_type == "Conv" else shape[-1 if turned else -2]
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
    if node.op_type == "Mul" or (node.op_type == "BatchNormalization" and index in (1, 4)):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)  # a scale or a variance
    return rng.standard_normal(shape, np.float32) * np.float32(0.1)


def _stub_model(name):
    return onnx.load(
        packaged_file("onnx", "backend", "test", "data", "light", f"light_{name}.onnx")
    )


def _load(name):
    return fill_weights(_stub_model(name), GAINS[name]).SerializeToString()


def _input_name(name):
    graph = _stub_model(name).graph
    weights = {i.name for i in graph.initializer}
    return next(i.name for i in graph.input if i.name not in weights)


def _photo(name):
    """A real photo, normalised as these networks were trained."""
    image = Image.open(packaged_file("skimage", "data", "astronaut.png")).convert("RGB")
    image = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    scaled = (image.astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return {_input_name(name): np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)}


def _noise(name):
    noise = np.random.default_rng(1).standard_normal((1, 3, SIDE, SIDE), np.float32)
    return {_input_name(name): noise}


MODELS = [
    Model(
        name=f"light_{name}",
        load=functools.partial(_load, name),
        cases={"photo": functools.partial(_photo, name), "noise": functools.partial(_noise, name)},
        timed=("photo",),
        decide=top_class,
    )
    for name in GAINS
]
