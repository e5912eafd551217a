# SPDX-License-Identifier: Apache-2.0
"""What f32 is computed in while ONNX's cases run: REDLINE_TEST_PRECISION, "fp32", "fp16" or "bf16"."""

import os

import numpy as np

PRECISION = os.environ.get("REDLINE_TEST_PRECISION", "fp32")
# They have some 11 and 8 bits, and a sum's error is a part of its largest terms: of the largest value too.
TOLERANCE = {"fp32": 0, "fp16": 2e-2, "bf16": 1e-1}[PRECISION]
# All weights are 0.02, so that values grow from layer to layer.
SKIPS = {f"light/test_{name}": "values that overflow f16" for name in ("bvlc_alexnet", "vgg19") if PRECISION == "fp16"}


def tolerances(expected, relative, absolute):
    """A case's own tolerances, or those of the precision where they are larger."""
    array = np.asarray(expected)
    if TOLERANCE and array.dtype in (np.int8, np.uint8):
        return relative, max(absolute, 1)  # the neighbour of a value that was rounded to a step
    if not TOLERANCE or not np.issubdtype(array.dtype, np.floating):
        return relative, absolute
    values = np.abs(array.astype(np.float64))
    largest = float(np.max(values[np.isfinite(values)], initial=0))
    return max(relative, TOLERANCE), max(absolute, TOLERANCE * largest)


def lowered(backend):
    """The backend with PRECISION for its precision."""
    if PRECISION == "fp32":
        return backend

    class Lowered(backend.RedlineBackend):
        @classmethod
        def prepare(cls, model, device="CPU", **kwargs):
            return super().prepare(model, device, precision=PRECISION, **kwargs)

    return Lowered
