# SPDX-License-Identifier: Apache-2.0
"""What `layers` needs on a GPU besides Redline: PyTorch's memory and graphs, and NVIDIA's libraries for one problem each."""

import concurrent.futures
import sys

import numpy as np

MOST_WORKSPACE = 2 << 30
PLAN_SECONDS = 20  # for the plans of one problem


class Gpu:
    """PyTorch's memory, streams, graphs and events."""

    def __init__(self):
        try:
            import torch
        except ImportError:
            sys.exit("layers: PyTorch is not here, which holds the memory and brings the libraries to compare with")
        if not torch.cuda.is_available():
            sys.exit("layers: PyTorch finds no GPU here")
        self.torch, self.stream = torch, torch.cuda.Stream()

    def put(self, array):
        return self.torch.from_numpy(np.ascontiguousarray(array)).cuda()

    def empty(self, size, dtype):
        return self.torch.empty(size, dtype=getattr(self.torch, dtype), device="cuda")

    def capture(self, run, times):
        """A graph of `times` calls. What was begun is ended when one fails."""
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.stream(self.stream):
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                for _ in range(times):
                    run(self.stream.cuda_stream)
            finally:
                graph.capture_end()
            graph.replay()
        self.stream.synchronize()
        return graph

    def time(self, graph, replays, times):
        begin, end = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
        with self.torch.cuda.stream(self.stream):
            begin.record()
            for _ in range(replays):
                graph.replay()
            end.record()
        self.stream.synchronize()
        return begin.elapsed_time(end) * 1e3 / replays / times

    def run(self, run):
        run(self.stream.cuda_stream)
        self.stream.synchronize()


class Operands:
    """A problem's operands on the GPU as the libraries want them, and their addresses."""

    def __init__(self, gpu, problem, values):
        self.gpu, w = gpu, values["w"]
        turned = w.T if problem.kind == "product" else w.reshape(len(w), -1)  # n rows of k
        convolved = w if problem.kind == "product" else w.transpose(0, 2, 3, 1)  # out, h, w, c
        self.held = {"w": gpu.put(turned if problem.kind == "product" else convolved), "w_turned": gpu.put(turned.T)}
        self.held |= {name: gpu.put(value) for name, value in values.items() if name != "w"}
        self.y = gpu.empty(problem.y, {"f16": "float16", "f32": "float32"}[problem.out_dtype])
        self.addresses = {name: tensor.data_ptr() for name, tensor in (self.held | {"y": self.y}).items()}

    def rows(self, rows):
        return self.y.reshape(-1, self.y.shape[-1])[self.gpu.put(rows)].cpu().numpy()


class CublasLt:
    name = "cuBLASLt"

    def __init__(self):
        from peers import cublaslt_layer

        self.module, self.library = cublaslt_layer, cublaslt_layer.Library()
        self.version = self.library.version

    def prepare(self, found):
        """Before anything is timed."""

    def ways(self, gpu, problem, operands):
        workspace = gpu.empty(self.module.WORKSPACE_BYTES, "uint8")
        return self.library.launchers(problem, operands.addresses, workspace.data_ptr()), "", workspace


class Cudnn:
    name = "cuDNN"

    def __init__(self):
        from peers import cudnn_layer

        self.module, library = cudnn_layer, cudnn_layer.Library()
        self.version = library.version
        library.close()
        self.made = {}

    def prepare(self, found):
        """Plans take up to a second each where cuDNN compiles: all cores make them."""
        wanted = [problem for problem in found if self.module.takes(problem)]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            self.made = dict(zip(wanted, pool.map(self.plan, wanted)))

    def plan(self, problem):
        library = self.module.Library()
        return library, library.plans(problem, PLAN_SECONDS)

    def ways(self, gpu, problem, operands):
        library, (plans, proposed, refusal) = self.made.pop(problem)
        plans = [plan for plan in plans if plan.workspace_bytes <= MOST_WORKSPACE]
        workspace = gpu.empty(max([plan.workspace_bytes for plan in plans], default=0) + 1, "uint8")
        launchers = [(plan.name, library.launcher(problem, plan, operands.addresses, workspace.data_ptr())) for plan in plans]
        return launchers, f"{proposed - len(plans)} of {proposed} plans: {refusal}" if proposed > len(plans) or not plans else "", workspace
