# SPDX-License-Identifier: Apache-2.0
"""What the GPU peers share: a network ready to run on a stream of PyTorch's, and its time by events."""

import dataclasses
import time
from collections.abc import Callable

import torch

SERIES, REPLAYS, WARM_UPS = 11, 20, 3


@dataclasses.dataclass
class Prepared:
    run: Callable  # queues one run on the stream
    output: Callable  # what the last run made, an array of f32
    stream: object
    build_s: float  # what the first runs took, with all that was compiled for them


def on_gpu(module, inputs):
    """Both as halves, and images channels-last."""
    module, x = module.cuda().half(), inputs.cuda()
    if x.is_floating_point():
        x = x.half()
    if x.dim() == 4:
        module, x = module.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return module, x


def capture(call, x):
    """One CUDA graph of call(x)."""
    stream, start = torch.cuda.Stream(), time.perf_counter()
    with torch.no_grad():
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                call(x)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = call(x)
    return Prepared(graph.replay, lambda: y.float().cpu().numpy(), stream, seconds)


def time_us(prepared):
    """Of one run in each of several series."""
    times = []
    with torch.cuda.stream(prepared.stream):
        for _ in range(SERIES):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for _ in range(REPLAYS):
                prepared.run()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end) / REPLAYS * 1e3)
    return times
