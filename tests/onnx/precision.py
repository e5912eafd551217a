# SPDX-License-Identifier: Apache-2.0
"""What f32 is computed in while ONNX's cases run: REDLINE_TEST_PRECISION, "fp32", "fp16" or "bf16".

A build for a 16-bit precision lowers only what is next to a product or a convolution; that is for
the cases as they are. retyped.py has the node cases as models of the type.
"""

import json
import os

import numpy as np

PRECISION = os.environ.get("REDLINE_TEST_PRECISION", "fp32")
# They have some 11 and 8 bits, and a sum's error is a part of its largest terms: of the largest value too.
TOLERANCE = {"fp32": 0, "fp16": 2e-2, "bf16": 1e-1}[PRECISION]
# Four steps of the type, for models that are in it: each op rounds once, and some models have several.
RETYPED_TOLERANCE = {"fp32": 0, "fp16": 2**-8, "bf16": 2**-5}[PRECISION]
# All weights are 0.02, so that values grow from layer to layer.
SKIPS = {f"light/test_{name}": "values that overflow f16" for name in ("bvlc_alexnet", "vgg19") if PRECISION == "fp16"}

ops_lowered = 0  # to PRECISION, in all models that were built


def tolerances(expected, relative, absolute, least=TOLERANCE):
    """A case's own tolerances, or those of the precision where they are larger."""
    array = np.asarray(expected)
    if least and array.dtype in (np.int8, np.uint8):
        return relative, max(absolute, 1)  # the neighbour of a value that was rounded to a step
    if not least or not np.issubdtype(array.dtype, np.floating):
        return relative, absolute
    values = np.abs(array.astype(np.float64))
    largest = float(np.max(values[np.isfinite(values)], initial=0))
    return max(relative, least), max(absolute, least * largest)


def lowered(backend):
    """The backend with PRECISION for its precision; it counts the ops that are computed in it."""
    if PRECISION == "fp32":
        return backend

    class Lowered(backend.RedlineBackend):
        @classmethod
        def prepare(cls, model, device="CPU", **kwargs):
            prepared = super().prepare(model, device, precision=PRECISION, **kwargs)
            report = json.loads(prepared._session.engine.build_report_json())
            global ops_lowered
            ops_lowered += report["precision"]["lowered"]
            return prepared

    return Lowered
