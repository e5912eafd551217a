# SPDX-License-Identifier: Apache-2.0
"""cuBLASLt for one layer: a product, or a convolution that is one, with the bias, residual, ReLU or GELU (by tanh: it has no
other) behind it, in the 32 algorithms its heuristics name, for weights stored either way.

Its C interface is called as it stands in cublasLt.h, through ctypes; the numbers below are that header's.
"""

import ctypes
import dataclasses
import math

from . import shared_library

ALGORITHMS = 32
WORKSPACE_BYTES = 32 << 20  # NVIDIA's advice for Hopper
COMPUTE_F32, CUDA_R = 68, {"f32": 0, "f16": 2}
DESC_TRANSA, DESC_EPILOGUE, DESC_BIAS_POINTER = 3, 7, 8
PREFERENCE_WORKSPACE = 1
RELU, BIAS, GELU, NOTHING = 2, 4, 32, 1


class Failed(RuntimeError):
    """cuBLASLt refused."""


class Algorithm(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint64 * 8)]


class Heuristic(ctypes.Structure):
    _fields_ = [("algorithm", Algorithm), ("workspace_bytes", ctypes.c_size_t), ("state", ctypes.c_int), ("waves", ctypes.c_float),
                ("reserved", ctypes.c_int * 4)]


@dataclasses.dataclass
class Call:
    """What cublasLtMatmul takes: the layouts are column by column, so that D is n x m."""

    m: int
    n: int
    k: int
    weights: str  # which operand: "w" holds n rows of k, "w_turned" k rows of n
    transpose: bool
    epilogue: int
    residual: bool


def sizes_of(problem):
    """(m, n, k) of the product that the problem is; None: it is none."""
    if problem.kind == "product":
        return math.prod(problem.x[:-1]), problem.w[1], problem.x[-1]
    n, c, height, width = problem.w
    plain = problem.group == 1 and (height, width) == (1, 1) and set(problem.strides) == {1} and not any(problem.pads)
    return (math.prod(problem.x[:-1]), n, c) if plain else None


def takes(problem):
    return sizes_of(problem) is not None


def fused(problem):
    """How many ops of the epilogue one call can have: each once, the activation last, a residual of the result's type."""
    for count, (op, *_) in enumerate(problem.epilogue):
        before = [name for name, *_ in problem.epilogue[:count]]
        if op not in ("bias", "residual", "relu", "gelu", "gelu_tanh") or op in before or set(before) - {"bias", "residual"}:
            return count
        if op == "residual" and problem.dtype != problem.out_dtype:
            return count
    return len(problem.epilogue)


def calls_of(problem):
    m, n, k = sizes_of(problem)
    ops = [op for op, *_ in problem.epilogue[:fused(problem)]]
    epilogue = sum({"relu": RELU, "gelu": GELU, "gelu_tanh": GELU, "bias": BIAS}.get(op, 0) for op in ops) or NOTHING
    return [Call(m, n, k, weights, turned, epilogue, "residual" in ops) for weights, turned in (("w", True), ("w_turned", False))]


class Library:
    def __init__(self, library=None):
        self.library = library or shared_library.load("libcublasLt", (13, 12))
        self.library.cublasLtGetVersion.restype = ctypes.c_size_t
        self.version = self.library.cublasLtGetVersion()
        self.handle = ctypes.c_void_p()
        self.check("cublasLtCreate", self.library.cublasLtCreate(ctypes.byref(self.handle)))
        self.one, self.zero = ctypes.c_float(1), ctypes.c_float(0)

    def check(self, call, status):
        if status:
            raise Failed(f"{call}: status {status}")

    def layout(self, dtype, rows, columns):
        made = ctypes.c_void_p()
        self.check("cublasLtMatrixLayoutCreate", self.library.cublasLtMatrixLayoutCreate(
            ctypes.byref(made), CUDA_R[dtype], ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows)))
        return made

    def description(self, call, pointers):
        made = ctypes.c_void_p()
        self.check("cublasLtMatmulDescCreate", self.library.cublasLtMatmulDescCreate(ctypes.byref(made), COMPUTE_F32, CUDA_R["f32"]))
        attributes = [(DESC_TRANSA, ctypes.c_int32(int(call.transpose))), (DESC_EPILOGUE, ctypes.c_int32(call.epilogue))]
        if call.epilogue & BIAS:
            attributes.append((DESC_BIAS_POINTER, ctypes.c_void_p(pointers["bias"])))
        for number, value in attributes:
            self.check(f"cublasLtMatmulDescSetAttribute({number})", self.library.cublasLtMatmulDescSetAttribute(
                made, number, ctypes.byref(value), ctypes.c_size_t(ctypes.sizeof(value))))
        return made

    def algorithms(self, operation, layouts):
        preference = ctypes.c_void_p()
        self.check("cublasLtMatmulPreferenceCreate", self.library.cublasLtMatmulPreferenceCreate(ctypes.byref(preference)))
        bytes_there = ctypes.c_uint64(WORKSPACE_BYTES)
        self.check("cublasLtMatmulPreferenceSetAttribute", self.library.cublasLtMatmulPreferenceSetAttribute(
            preference, PREFERENCE_WORKSPACE, ctypes.byref(bytes_there), ctypes.c_size_t(8)))
        found, count = (Heuristic * ALGORITHMS)(), ctypes.c_int()
        status = self.library.cublasLtMatmulAlgoGetHeuristic(self.handle, operation, *layouts, preference, ALGORITHMS, found,
                                                             ctypes.byref(count))
        self.library.cublasLtMatmulPreferenceDestroy(preference)
        self.check("cublasLtMatmulAlgoGetHeuristic", status)
        return [result for result in found[:count.value] if result.state == 0]

    def launchers(self, problem, pointers, workspace):
        """(name, run(stream)) for each algorithm; `pointers` are the operands' addresses by name. The workspace has
        WORKSPACE_BYTES."""
        made, refusal = [], None
        for call in calls_of(problem):
            a = (call.k, call.n) if call.transpose else (call.n, call.k)
            layouts = [self.layout(problem.dtype, *a), self.layout(problem.dtype, call.k, call.m),
                       self.layout(problem.out_dtype, call.n, call.m), self.layout(problem.out_dtype, call.n, call.m)]
            operation = self.description(call, pointers)
            try:
                found = self.algorithms(operation, layouts)
            except Failed as error:
                refusal = error
                continue
            made += [(f"{'nk' if call.transpose else 'kn'}{i}", self.launcher(call, operation, layouts, result, pointers, workspace))
                     for i, result in enumerate(found)]
        if not made and refusal:
            raise refusal
        return made

    def launcher(self, call, operation, layouts, result, pointers, workspace):
        a, b, c, d = layouts
        output = ctypes.c_void_p(pointers["y"])
        addend = ctypes.c_void_p(pointers["residual"]) if call.residual else output
        beta = self.one if call.residual else self.zero

        def run(stream):
            self.check("cublasLtMatmul", self.library.cublasLtMatmul(
                self.handle, operation, ctypes.byref(self.one), ctypes.c_void_p(pointers[call.weights]), a,
                ctypes.c_void_p(pointers["x"]), b, ctypes.byref(beta), addend, c, output, d, ctypes.byref(result.algorithm),
                ctypes.c_void_p(workspace), ctypes.c_size_t(WORKSPACE_BYTES), ctypes.c_void_p(stream)))

        return run
