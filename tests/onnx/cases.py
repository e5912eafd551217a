# SPDX-License-Identifier: Apache-2.0
"""ONNX's own backend cases, made and run by ONNX's own runner with its own tolerances.

With them the cases for com.microsoft ops of contrib_cases.py.

A case is called `category/name`, e.g. `node/test_add`. Two lists beside this file say what is not
expected to pass: skips.txt (with a reason) is not run, known_failures.txt is run and must fail.
"""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import tempfile
import types
import warnings
from collections.abc import Callable

import contrib_cases
import onnx
import precision
import random_cases
import retyped
from onnx.backend.test import BackendTest
from onnx.backend.test.loader import load_model_tests

FOLDER = pathlib.Path(__file__).parent
CATEGORIES = {
    "OnnxBackendNodeModelTest": "node",
    "OnnxBackendSimpleModelTest": "simple",
    "OnnxBackendPyTorchOperatorModelTest": "pytorch-operator",
    "OnnxBackendPyTorchConvertedModelTest": "pytorch-converted",
    "OnnxBackendRealModelTest": "light",
}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    group: str  # the category; node cases are told apart by what they need
    ops: tuple[str, ...]  # known for node cases
    run: Callable[[], None]  # raises when the case fails
    run_retyped: Callable[[], None] | None = None  # of node cases; see retyped.py


class Runner(BackendTest):
    """ONNX's runner, but items of sequences may be scalars, and an absent optional is None."""

    @classmethod
    def assert_similar_outputs(cls, ref_outputs, outputs, rtol, atol, model_dir=None):
        assert len(outputs) == len(ref_outputs)
        for expected, actual in zip(ref_outputs, outputs, strict=True):
            if expected is None or actual is None:
                assert actual is expected, f"expected {expected!r}, got {actual!r}"
            elif isinstance(expected, list) or isinstance(actual, list):
                assert type(expected) is type(actual), f"expected {expected!r}, got {actual!r}"
                cls.assert_similar_outputs(expected, actual, rtol, atol, model_dir)
            else:
                own = precision.tolerances(expected, rtol, atol)
                super().assert_similar_outputs([expected], [actual], *own, model_dir)


# Where they run: "CPU", or "CUDA" (./dev gpu-test).
DEVICE = os.environ.get("REDLINE_TEST_DEVICE", "CPU").upper()


def collect(backend):
    """All cases for `backend` on DEVICE, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # making the cases overflows and divides by zero on purpose
        plain, backend = backend, precision.lowered(backend)
        classes = Runner(backend, __name__).test_cases
        nodes = {case.name: case for case in load_model_tests(kind="node")}
    here = types.SimpleNamespace(run_model=functools.partial(backend.run_model, device=DEVICE))
    as_is = types.SimpleNamespace(run_model=functools.partial(plain.run_model, device=DEVICE))
    cases = {}
    for class_name, category in CATEGORIES.items():
        test_class = classes[class_name]
        for method in sorted(m for m in vars(test_class) if m.endswith(f"_{DEVICE.lower()}")):
            short = method.removesuffix(f"_{DEVICE.lower()}")
            name = f"{category}/{short}"
            run = functools.partial(_run, getattr(test_class, method), test_class)
            if category != "node":
                cases[name] = Case(name, category, (), run)
                continue
            node = nodes[short]
            run_retyped = functools.partial(retyped.check, as_is, node)
            if name in random_cases.CHECKS:
                check = random_cases.CHECKS[name]
                run = functools.partial(check, here, node.model, node.data_sets[0][0])
                run_retyped = None  # nothing to compare with
            ops = tuple(dict.fromkeys(n.op_type for n in node.model.graph.node))
            cases[name] = Case(name, f"node: {_needs(node.model)}", ops, run, run_retyped)
    for short, case in contrib_cases.CASES.items():
        run = functools.partial(contrib_cases.check, here, case)
        cases[f"contrib/{short}"] = Case(f"contrib/{short}", "com.microsoft", (case.op,), run)
    return cases


def skips():
    """{case: reason}"""
    return dict(line.split(maxsplit=1) for line in _lines("skips.txt")) | precision.SKIPS


def known_failures():
    return _lines("known_failures.txt")


def _lines(file):
    lines = (FOLDER / file).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _needs(model):
    domains = {o.domain for o in model.opset_import} | {n.domain for n in model.graph.node}
    if any(word in domain for domain in domains for word in (".ml", "preview", "training")):
        return "ml and preview"
    kinds = [v.type for v in [*model.graph.input, *model.graph.output]]
    if any(
        t.WhichOneof("value") != "tensor_type" or t.tensor_type.elem_type == onnx.TensorProto.STRING
        for t in kinds
    ):
        return "sequence, optional, string"
    return "tensor"


def _run(function, test_class):
    # The runner writes the inputs of the light models into a folder, and prints.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["ONNX_MODELS"] = folder
        try:
            function(test_class())
        finally:
            del os.environ["ONNX_MODELS"]
