# SPDX-License-Identifier: Apache-2.0
"""Networks whose sizes may vary, with seeded random weights: a file, inputs for any sizes, and what PyTorch says."""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclasses.dataclass
class Network:
    """`expected(feed, half)` is the result in f32, or what the peer itself makes of it in fp16."""

    path: pathlib.Path
    feed: Callable
    expected: Callable


def load(name, folder):
    return {"resnet50": resnet50, "bert": bert, "tiny": tiny}[name](pathlib.Path(folder))


def resnet50(folder):
    import networks
    import torch

    module, _ = networks.make("resnet50_b1")
    path = folder / "resnet50.onnx"
    torch.onnx.export(module, (torch.rand(2, 3, 224, 224),), path, input_names=["x"], output_names=["y"], opset_version=17,
                      dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}}, dynamo=False)

    def feed(sizes, seed=0):
        return {"x": np.random.default_rng(seed).uniform(-1, 1, (sizes["batch"], 3, 224, 224)).astype(np.float32)}

    return Network(path, feed, lambda feed, half=False: in_torch(module, [feed["x"]], half))


def bert(folder):
    """BERT-base in the graph that PyTorch's exporter writes."""
    import networks
    from models import minilm

    module, _ = networks.make("bert_s128_b1")
    weights = {key: value.numpy() for key, value in module.bert.state_dict().items()}
    weights["embeddings.position_ids"] = np.arange(512)[None]
    config = module.bert.config
    path = folder / "bert.onnx"
    onnx.save(minilm.write_graph(weights, config.to_dict()), path)

    def feed(sizes, seed=0):
        ids = np.random.default_rng(seed).integers(0, config.vocab_size, (sizes["batch"], sizes["seq"]))
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}

    return Network(path, feed, lambda feed, half=False: in_torch(module, [feed["input_ids"]], half))


def in_torch(module, inputs, half):
    import copy

    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.no_grad():
        tensors = [torch.from_numpy(x).cuda() for x in inputs]
        if half:
            module = copy.deepcopy(module).half()
            tensors = [x.half() if x.is_floating_point() else x for x in tensors]
        y = module.cuda()(*tensors).float().cpu().numpy()
        module.cpu()
    return y


def tiny(folder):
    """Convolution, pooling and a product; ONNX's own reference says what is right."""
    from onnx.reference import ReferenceEvaluator

    random = np.random.default_rng(3)

    def weight(name, *shape):
        return numpy_helper.from_array((random.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32), name)

    nodes = [helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]), helper.make_node("Relu", ["a"], ["b"]),
             helper.make_node("GlobalAveragePool", ["b"], ["c"]), helper.make_node("Flatten", ["c"], ["d"]),
             helper.make_node("MatMul", ["d", "v"], ["y"])]
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "seq", 16])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
                              [weight("w", 8, 3, 3, 3), weight("v", 8, 10)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    reference = ReferenceEvaluator(model)

    def feed(sizes, seed=0):
        shape = (sizes["batch"], 3, sizes["seq"], 16)
        return {"x": np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)}

    return Network(path, feed, lambda feed, half=False: reference.run(None, feed)[0])
