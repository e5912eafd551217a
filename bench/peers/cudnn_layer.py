# SPDX-License-Identifier: Apache-2.0
"""cuDNN for one layer: a convolution in NHWC with what follows it, in all plans of its heuristics (mode A, then fallback).

Its backend API is called as it stands in cudnn_graph_v9.h, through ctypes: the package that wraps it is not where PyTorch
is. The numbers below are that header's.
"""

import ctypes
import dataclasses
import time

from . import shared_library

HANDLE, DATA_TYPE, BOOLEAN, INT64, FLOAT, DOUBLE, VOID_PTR, CONV_MODE, HEUR_MODE, POINTWISE_MODE, DESCRIPTOR, CHAR = (
    0, 1, 2, 3, 4, 5, 6, 7, 8, 14, 15, 24)
C_TYPES = {HANDLE: ctypes.c_void_p, DATA_TYPE: ctypes.c_int, BOOLEAN: ctypes.c_bool, INT64: ctypes.c_int64, FLOAT: ctypes.c_float,
           DOUBLE: ctypes.c_double, VOID_PTR: ctypes.c_void_p, CONV_MODE: ctypes.c_int, HEUR_MODE: ctypes.c_int,
           POINTWISE_MODE: ctypes.c_int, DESCRIPTOR: ctypes.c_void_p, CHAR: ctypes.c_char}
# Kinds of descriptors.
POINTWISE, CONVOLUTION, ENGINE_CONFIG, HEURISTICS, PLAN = 0, 1, 3, 4, 5
CONVOLUTION_FORWARD, POINTWISE_OPERATION, GRAPH, VARIANT_PACK, TENSOR = 10, 13, 15, 16, 17

DATA_TYPES = {"f32": 0, "f16": 2}
CROSS_CORRELATION = 1
MODES = {"A": 3, "fallback": 2}
ADD = 0
ACTIVATIONS = {"relu": 100, "tanh": 101, "sigmoid": 102, "gelu": 104, "swish": 106, "gelu_tanh": 107, "clip": 100}
UIDS = {"x": 1, "w": 2, "bias": 3, "residual": 4, "y": 5}
FIRST_VIRTUAL_UID = 10


class Failed(RuntimeError):
    """cuDNN refused; its own words."""


@dataclasses.dataclass
class Tensor:
    """Sizes are N, C, H, W; the memory is NHWC."""

    uid: int
    sizes: tuple
    dtype: str
    virtual: bool = False

    @property
    def strides(self):
        _, c, h, w = self.sizes
        return (c * h * w, 1, c * w, c)


@dataclasses.dataclass
class Plan:
    name: str
    descriptor: ctypes.c_void_p
    workspace_bytes: int


def takes(problem):
    return problem.kind == "convolution"


def fused(problem):
    """How many ops of the epilogue a graph can have."""
    ops = [op for op, *_ in problem.epilogue]
    return next((i for i, op in enumerate(ops) if op not in ACTIVATIONS and op not in ("bias", "residual")), len(ops))


def tensors_of(problem):
    def image(sizes):
        n, h, w, c = sizes
        return (n, c, h, w)

    found = {"x": Tensor(UIDS["x"], image(problem.x), problem.dtype), "w": Tensor(UIDS["w"], problem.w, problem.dtype),
             "y": Tensor(UIDS["y"], image(problem.y), problem.out_dtype)}
    for op, *_ in problem.epilogue[:fused(problem)]:
        if op == "bias":
            found[op] = Tensor(UIDS[op], (1, problem.w[0], 1, 1), problem.dtype)
        elif op == "residual":
            found[op] = Tensor(UIDS[op], image(problem.y), problem.dtype)
    return found


def operations_of(problem):
    """The graph: ("conv", x, w, y), then ("add", a, b, y) and (activation, x, y), with the activation's limits.

    A residual comes before the bias where both are added in a row: that is the order which cuDNN has kernels of old for.
    """
    tensors = tensors_of(problem)
    epilogue = list(problem.epilogue[:fused(problem)])
    if [op for op, *_ in epilogue[:2]] == ["bias", "residual"]:
        epilogue[:2] = reversed(epilogue[:2])
    results = [Tensor(FIRST_VIRTUAL_UID + i, tensors["y"].sizes, "f32", virtual=True) for i in range(len(epilogue))] + [tensors["y"]]
    operations = [("conv", tensors["x"], tensors["w"], results[0])]
    for (op, *limits), before, after in zip(epilogue, results, results[1:]):
        if op in ("bias", "residual"):
            operations.append(("add", before, tensors[op], after))
        else:
            operations.append((op, before, after, *limits))
    return operations


class Library:
    """One thread's use of cuDNN. With `device`, a description in JSON, nothing is run and no GPU is needed."""

    def __init__(self, library=None, device=None):
        self.library = library or shared_library.load("libcudnn", (9,))
        self.library.cudnnGetErrorString.restype = ctypes.c_char_p
        self.library.cudnnGetVersion.restype = ctypes.c_size_t
        self.version = self.library.cudnnGetVersion()
        self.kept = []
        self.handle = self.device = None
        if device is None:
            self.handle = ctypes.c_void_p()
            self.check("cudnnCreate", self.library.cudnnCreate(ctypes.byref(self.handle)))
        else:
            self.device = self.make(38, [(2702, CHAR, list(device.encode() + b"\0"))])

    def check(self, call, status):
        if status == 0:
            return
        words = ctypes.create_string_buffer(1024)
        self.library.cudnnGetLastErrorString(words, ctypes.c_size_t(len(words)))
        name = self.library.cudnnGetErrorString(status)
        raise Failed(f"{call}: {name.decode() if isinstance(name, bytes) else status}: {words.value.decode(errors='replace')}")

    def make(self, kind, attributes):
        """A finished descriptor; attributes are (number, type, values)."""
        descriptor = ctypes.c_void_p()
        self.check("cudnnBackendCreateDescriptor", self.library.cudnnBackendCreateDescriptor(kind, ctypes.byref(descriptor)))
        self.kept.append(descriptor)
        for number, kind_of, values in attributes:
            array = (C_TYPES[kind_of] * len(values))(*values)
            self.check(f"cudnnBackendSetAttribute({number})",
                       self.library.cudnnBackendSetAttribute(descriptor, number, kind_of, ctypes.c_int64(len(values)), array))
        self.check("cudnnBackendFinalize", self.library.cudnnBackendFinalize(descriptor))
        return descriptor

    def get(self, descriptor, number, kind, array):
        count = ctypes.c_int64()
        self.check(f"cudnnBackendGetAttribute({number})", self.library.cudnnBackendGetAttribute(
            descriptor, number, kind, ctypes.c_int64(len(array or ())), ctypes.byref(count), array))
        return count.value

    def tensor(self, tensor):
        return self.make(TENSOR, [(901, DATA_TYPE, [DATA_TYPES[tensor.dtype]]), (902, INT64, tensor.sizes), (903, INT64, tensor.strides),
                                  (906, INT64, [tensor.uid]), (900, INT64, [16]), (907, BOOLEAN, [tensor.virtual])])

    def graph(self, problem):
        made = {}

        def described(tensor):
            if tensor.uid not in made:
                made[tensor.uid] = self.tensor(tensor)
            return made[tensor.uid]

        operations = []
        for op, *operands in operations_of(problem):
            if op == "conv":
                x, w, y = map(described, operands)
                convolution = self.make(CONVOLUTION, [
                    (106, INT64, [2]), (100, DATA_TYPE, [DATA_TYPES["f32"]]), (101, CONV_MODE, [CROSS_CORRELATION]),
                    (105, INT64, problem.pads[:2]), (104, INT64, problem.pads[2:]), (103, INT64, problem.strides),
                    (102, INT64, problem.dilations)])
                operations.append(self.make(CONVOLUTION_FORWARD, [
                    (704, DESCRIPTOR, [x]), (703, DESCRIPTOR, [w]), (705, DESCRIPTOR, [y]), (702, DESCRIPTOR, [convolution]),
                    (700, FLOAT, [1.0]), (701, FLOAT, [0.0])]))
                continue
            mode = [(0, POINTWISE_MODE, [ADD if op == "add" else ACTIVATIONS[op]]), (1, DATA_TYPE, [DATA_TYPES["f32"]])]
            if op == "add":
                a, b, y = map(described, operands)
                ends = [(751, DESCRIPTOR, [a]), (752, DESCRIPTOR, [b]), (753, DESCRIPTOR, [y])]
            else:
                ends = [(751, DESCRIPTOR, [described(operands[0])]), (753, DESCRIPTOR, [described(operands[1])])]
                if op == "clip":
                    mode += [(3, DOUBLE, [operands[2]]), (4, DOUBLE, [operands[3]])]
            operations.append(self.make(POINTWISE_OPERATION, [(750, DESCRIPTOR, [self.make(POINTWISE, mode)]), *ends]))
        runs_on = [(800, HANDLE, [self.handle])] if self.handle else []
        return self.make(GRAPH, [(801, DESCRIPTOR, operations), *runs_on])

    def configs(self, graph, mode):
        """Of engines, likeliest first."""
        for_device = [(204, DESCRIPTOR, [self.device])] if self.device else []
        heuristics = self.make(HEURISTICS, [(201, DESCRIPTOR, [graph]), (200, HEUR_MODE, [MODES[mode]]), *for_device])
        count = self.get(heuristics, 202, DESCRIPTOR, None)
        results = (ctypes.c_void_p * count)()
        for i in range(count):
            descriptor = ctypes.c_void_p()
            self.check("cudnnBackendCreateDescriptor",
                       self.library.cudnnBackendCreateDescriptor(ENGINE_CONFIG, ctypes.byref(descriptor)))
            self.kept.append(descriptor)
            results[i] = descriptor.value
        return list(results)[:self.get(heuristics, 202, DESCRIPTOR, results)]

    def plans(self, problem, seconds=float("inf")):
        """The plans that can be made, how many were proposed, and why the first of the others cannot."""
        graph = self.graph(problem)
        configs, made, refusal = [], [], ""
        for mode in MODES:
            try:
                configs += [(f"{mode}{i}", config) for i, config in enumerate(self.configs(graph, mode))]
            except Failed as error:
                refusal = str(error)
        refusal = "" if configs else refusal
        target = (407, DESCRIPTOR, [self.device]) if self.device else (400, HANDLE, [self.handle])
        until = time.monotonic() + seconds
        for name, config in configs:
            if time.monotonic() > until:
                refusal = refusal or "the time for making plans was over"
                break
            try:
                plan = self.make(PLAN, [(401, DESCRIPTOR, [config]), target])
                bytes_needed = (ctypes.c_int64 * 1)()
                self.get(plan, 402, INT64, bytes_needed)
                made.append(Plan(name, plan, bytes_needed[0]))
            except Failed as error:
                refusal = refusal or str(error)
        return made, len(configs), refusal

    def launcher(self, problem, plan, pointers, workspace):
        """run(stream) of a plan; `pointers` are the operands' addresses by name."""
        names = list(tensors_of(problem))
        pack = self.make(VARIANT_PACK, [(1000, INT64, [UIDS[name] for name in names]), (1001, VOID_PTR, [pointers[name] for name in names]),
                                        (1003, VOID_PTR, [workspace])])

        def run(stream):
            self.check("cudnnSetStream", self.library.cudnnSetStream(self.handle, ctypes.c_void_p(stream)))
            self.check("cudnnBackendExecute", self.library.cudnnBackendExecute(self.handle, plan.descriptor, pack))

        return run

    def close(self):
        for descriptor in reversed(self.kept):
            self.library.cudnnBackendDestroyDescriptor(descriptor)
        self.kept.clear()
        if self.handle:
            self.library.cudnnDestroy(self.handle)
