# SPDX-License-Identifier: Apache-2.0
"""Runtimes to measure. Each *_cpu.py of this folder is one, with

VERSION                                    what is measured
prepare(model, feed, threads) -> run       `model` is ONNX bytes, `feed` has the only shapes that occur;
                                           run(feed) returns the outputs as arrays in the model's order

Files called *_layer.py are libraries for one product or convolution: takes(problem), fused(problem), and a class Library.
"""

import importlib

ORDER = ["redline", "onnxruntime", "openvino"]


def load(name):
    """The peer of that name; ImportError when its package is not installed."""
    return importlib.import_module(f"{__name__}.{name}_cpu")
