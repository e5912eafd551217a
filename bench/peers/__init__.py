# SPDX-License-Identifier: Apache-2.0
"""Runtimes to measure. Each file of this folder is one, with

VERSION                                    what is measured
prepare(model, feed, threads) -> run       `model` is ONNX bytes, `feed` has the only shapes that occur;
                                           run(feed) returns the outputs as arrays in the model's order
"""

import importlib

ORDER = ["redline", "onnxruntime", "openvino"]


def load(name):
    """The peer of that name; ImportError when its package is not installed."""
    return importlib.import_module(f"{__name__}.{name}_cpu")
