# SPDX-License-Identifier: Apache-2.0
"""bench/run_gpu.py and the peers on a GPU, with PyTorch and ONNX Runtime made up."""

import argparse
import contextlib
import importlib
import pathlib
import sys
import types

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]
OURS = ["run_gpu", "networks", "peers", *[f"peers.{name}" for name in ("torch_graph", "eager_gpu", "compile_gpu", "onnxruntime_gpu")]]


class Tensor:
    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def half(self):
        return Tensor(self.values.astype(np.float16))

    def cuda(self):
        return self

    cpu = contiguous = cuda

    def float(self):
        return Tensor(self.values.astype(np.float32))

    def to(self, memory_format):
        return self

    def dim(self):
        return self.values.ndim

    def is_floating_point(self):
        return self.values.dtype.kind == "f"

    def data_ptr(self):
        return self.values.ctypes.data

    def numpy(self):
        return self.values


class Module:
    """Doubles what it is given."""

    dtype = np.float32

    def cuda(self):
        return self

    cpu = cuda

    def half(self):
        self.dtype = np.float16
        return self

    def __call__(self, x):
        return Tensor((x.values * 2).astype(self.dtype))


class Event:
    """Its clock is the number of replays, a millisecond each."""

    now = 0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.at = Event.now

    def elapsed_time(self, end):
        return end.at - self.at


class CudaGraph:
    def replay(self):
        Event.now += 1


@contextlib.contextmanager
def within(_):
    yield


class NoGrad(contextlib.ContextDecorator):
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def made_torch():
    torch = types.ModuleType("torch")
    torch.__version__ = "2.0"
    torch.no_grad = NoGrad
    torch.compile = lambda module: module
    torch.float16, torch.float32 = np.float16, np.float32
    torch.empty = lambda shape, dtype, device: Tensor(np.zeros(shape, dtype))
    torch.manual_seed = lambda seed: None
    torch.channels_last = "channels last"
    torch.onnx = types.SimpleNamespace(export=lambda module, inputs, path, **_: path.write_bytes(b"exported"))
    torch.backends = types.SimpleNamespace(cuda=types.SimpleNamespace(matmul=types.SimpleNamespace()), cudnn=types.SimpleNamespace())
    torch.cuda = types.SimpleNamespace(Stream=lambda: types.SimpleNamespace(cuda_stream=7), stream=within, graph=within, Event=Event,
                                       synchronize=lambda: None, CUDAGraph=CudaGraph)
    return torch


class Session:
    """Doubles what is bound as its input, at the addresses."""

    def __init__(self, path, options, providers):
        assert pathlib.Path(path).read_bytes() == b"exported"
        Session.made, self.providers, self.bound = self, providers, {}

    def get_providers(self):
        return [name for name, _ in self.providers]

    def get_inputs(self):
        return [types.SimpleNamespace(name="x", type="tensor(float16)")]

    def get_outputs(self):
        return [types.SimpleNamespace(name="y", type="tensor(float16)", shape=[3])]

    def io_binding(self):
        def bind(name, device, number, element, shape, address):
            assert (device, number, element) == ("cuda", 0, "float16")
            memory = (np.ctypeslib.ctypes.c_uint16 * int(np.prod(shape))).from_address(address)
            self.bound[name] = np.frombuffer(memory, np.float16)

        return types.SimpleNamespace(bind_input=bind, bind_output=bind)

    def run_with_iobinding(self, binding, options):
        assert options.entries == {"disable_synchronize_execution_providers": "1"}
        Event.now += 1
        self.bound["y"][:] = self.bound["x"] * 2


class RunOptions:
    def __init__(self):
        self.entries = {}

    def add_run_config_entry(self, key, value):
        self.entries[key] = value


def made_onnxruntime(providers):
    made = types.ModuleType("onnxruntime")
    made.__version__ = "1.2"
    made.get_available_providers = lambda: providers
    made.SessionOptions = types.SimpleNamespace
    made.InferenceSession, made.RunOptions = Session, RunOptions
    return made


@pytest.fixture
def program(monkeypatch):
    """run_gpu, given which providers ONNX Runtime has; None: it is not installed."""

    def load(providers):
        for name in OURS:
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
        networks = types.ModuleType("networks")
        networks.NAMES = ["made"]
        networks.make = lambda name: (Module(), lambda: Tensor(np.array([1, -2, 3], np.float32)))
        for name, module in {"torch": made_torch(), "networks": networks,
                             "onnxruntime": None if providers is None else made_onnxruntime(providers)}.items():
            monkeypatch.setitem(sys.modules, name, module)
        found = importlib.import_module("run_gpu")
        result = {"us": 5000.0, "spread": [1, 2], "cold_build_s": 1, "warm_build_s": 1, "end_to_end_ms": 1}
        monkeypatch.setattr(found, "run_redline", lambda *_: result | {"y": np.array([2, -4, 6])})
        monkeypatch.setattr(found.subprocess, "run", lambda *_, **__: types.SimpleNamespace(stdout="made GPU, 1"))
        return found

    yield load
    for name in OURS:
        sys.modules.pop(name, None)


ARGUMENTS = argparse.Namespace(redline="redline", precision="fp16", records=None, peers=["eager", "compile", "onnxruntime"], compile=["made"])


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_peer_is_timed_and_compared(program):
    run_gpu = program(["CUDAExecutionProvider", "CPUExecutionProvider"])
    found = run_gpu.load_peers(ARGUMENTS.peers)
    assert list(found) == ARGUMENTS.peers
    row = run_gpu.measure("made", ARGUMENTS, found)
    assert not [key for key in row if key.endswith("_error")], row
    for peer in ARGUMENTS.peers:
        assert (row[peer]["us"], row[peer]["spread"], row[peer]["difference"]) == (1000, [1000, 1000], 0)
    head, _, line = run_gpu.table([row], ARGUMENTS.peers).splitlines()
    assert cells(head)[1:8] == ["redline us (min-max)", "eager us (min-max)", "compile us (min-max)", "onnxruntime us (min-max)",
                                "redline / eager", "redline / compile", "redline / onnxruntime"]
    assert cells(line)[2:8] == ["1000.0 (1000.0-1000.0)"] * 3 + ["5.00"] * 3
    assert "torch 2.0, onnxruntime 1.2;" in run_gpu.about(found)


def test_onnxruntime_runs_as_a_graph_on_the_stream_that_is_timed(program):
    run_gpu = program(["CUDAExecutionProvider"])
    run_gpu.measure("made", ARGUMENTS, run_gpu.load_peers(["onnxruntime"]))
    (_, options), = Session.made.providers
    assert options["enable_cuda_graph"] == "1" and options["user_compute_stream"] == "7"


@pytest.mark.parametrize("providers", [None, ["CPUExecutionProvider"]])
def test_a_peer_that_is_not_installed_says_so(program, capsys, providers):
    run_gpu = program(providers)
    found = run_gpu.load_peers(ARGUMENTS.peers)
    assert list(found) == ["eager", "compile"]
    assert "onnxruntime is not measured" in capsys.readouterr().err
    line = run_gpu.table([run_gpu.measure("made", ARGUMENTS, found)], ARGUMENTS.peers).splitlines()[2]
    assert cells(line)[4] == "not installed" and cells(line)[7] == "-"


def test_a_peer_that_fails_or_is_left_out_is_a_dash(program):
    run_gpu = program(["CUDAExecutionProvider"])
    found = run_gpu.load_peers(ARGUMENTS.peers)
    found["eager"].prepare = lambda network: 1 / 0
    left_out = argparse.Namespace(**vars(ARGUMENTS) | {"compile": []})
    row = run_gpu.measure("made", left_out, found)
    assert "division" in row["eager_error"] and "compile" not in row
    assert cells(run_gpu.table([row], ARGUMENTS.peers).splitlines()[2])[2:4] == ["-", "-"]
