# SPDX-License-Identifier: Apache-2.0
"""PP-OCR's three networks, on the scanned page that scikit-image ships."""

import functools
import pathlib
import sys

import cv2
import numpy as np
import onnx
from PIL import Image

from .model import Model, packaged_file, top_class

sys.path.append(str(pathlib.Path(__file__).parents[2] / "examples" / "ocr"))
import detection  # noqa: E402
import recognition  # noqa: E402

# The page's lines: start, middle and end of each, and its height, in pixels. Given, so that the inputs
# of the second and third network do not depend on the output of the first.
LINES = [
    ((4.0, 55.0), (191.3, 57.4), (378.7, 55.7), 15.5),
    ((3.8, 72.9), (191.2, 75.8), (378.6, 72.6), 15.7),
    ((4.7, 89.9), (190.9, 94.1), (377.2, 91.1), 16.3),
    ((4.8, 106.5), (191.6, 112.0), (378.4, 107.2), 15.3),
    ((4.5, 22.6), (149.9, 22.8), (295.3, 22.7), 23.4),
    ((4.0, 121.6), (88.3, 128.1), (172.9, 130.3), 17.0),
]
# Letters cut by the edge of the page are left out: there the classes' probabilities hang on the last
# bits, and ONNX Runtime with and without its graph optimisations differs by 2e-4. Elsewhere by 6e-6.
SKIPPED = 60


def _file(name):
    return packaged_file("rapidocr_onnxruntime", "models", name)


@functools.cache
def _page():
    image = Image.open(packaged_file("skimage", "data", "page.png")).convert("RGB")
    return np.asarray(image)[:, :, ::-1]


@functools.cache
def _strips():
    return [recognition.cut_out(_page(), _line(*ends, height)) for *ends, height in LINES]


def _line(start, middle, end, height):
    """The parabola through three points."""
    t = np.linspace(-1, 1, detection.SPINE_POINTS)[:, None]
    start, middle, end = (np.array(point) for point in (start, middle, end))
    spine = middle + t * (end - start) / 2 + t * t * ((end + start) / 2 - middle)
    return detection.Line(spine, height)


def _picture(height, width):
    image = cv2.resize(_page(), (width, height), interpolation=cv2.INTER_CUBIC)
    return {"x": np.ascontiguousarray((image.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None])}


def _directions(count):
    strips = [s if i % 3 else np.rot90(s, 2) for i, s in enumerate(_strips() * 3)]
    return {"x": recognition.prepare_direction(strips[:count])}


def _texts(count, width):
    """`width` pixels of each of the first `count` lines."""
    strips = [strip[:, SKIPPED : SKIPPED + width] for strip in _strips()[:count]]
    (batch,) = (batch for _, batch in recognition.batches(strips))
    return {"x": batch}


@functools.cache
def _alphabet():
    return recognition.characters(onnx.load(_file("ch_PP-OCRv4_rec_infer.onnx")))


def _count_lines(outputs):
    (probability,) = outputs.values()
    return [len(detection.find_lines(p[None], p.shape[1:])) for p in probability]


def _read(outputs):
    (probabilities,) = outputs.values()
    return [text.text for text in recognition.decode(probabilities, _alphabet())]


MODELS = [
    Model(
        name="ppocr_det",
        load=lambda: _file("ch_PP-OCRv4_det_infer.onnx").read_bytes(),
        cases={
            "736x736": lambda: _picture(736, 736),
            "736x1472": lambda: _picture(736, 1472),
            "640x960": lambda: _picture(640, 960),
            "320x640": lambda: _picture(320, 640),
        },
        timed=("736x736",),
        decide=_count_lines,
    ),
    Model(
        name="ppocr_cls",
        load=lambda: _file("ch_ppocr_mobile_v2.0_cls_infer.onnx").read_bytes(),
        cases={f"b{n}": functools.partial(_directions, n) for n in (1, 6, 13)},
        timed=("b1",),
        decide=top_class,
    ),
    Model(
        name="ppocr_rec",
        load=lambda: _file("ch_PP-OCRv4_rec_infer.onnx").read_bytes(),
        cases={
            "b1": lambda: _texts(1, 320),
            "b6": lambda: _texts(6, 320),
            "b6_w960": lambda: _texts(6, 960),
            "b3_w640": lambda: _texts(3, 640),
            "b1_w192": lambda: _texts(1, 192),
        },
        timed=("b1", "b6"),
        decide=_read,
    ),
]
