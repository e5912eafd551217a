# SPDX-License-Identifier: Apache-2.0
"""Runtimes to measure. Each *_cpu.py of this folder is one for the CPU, with

VERSION                                    what is measured
prepare(model, feed, threads) -> run       `model` is ONNX bytes, `feed` has the only shapes that occur;
                                           run(feed) returns the outputs as arrays in the model's order

Each *_gpu.py is one for whole networks on the GPU, with

VERSION                    what is measured
prepare(network) -> ready  `network` has a PyTorch module, its inputs, and export(half) to an ONNX file; of what comes back
                           run() queues one run on its stream (torch_graph.Prepared)

Files called *_layer.py are libraries for one product or convolution: takes(problem), fused(problem), and a class Library.
"""

import importlib

ORDER = ["redline", "onnxruntime", "openvino"]


GPU_ORDER = ["eager", "compile", "onnxruntime"]


def load(name, device="cpu"):
    """The peer of that name; ImportError when its package is not installed."""
    return importlib.import_module(f"{__name__}.{name}_{device}")
