#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near regions that only move memory come to a copy of as many bytes.

Each region is a model of its own that has it as many times as make 256 MB, each on inputs of its own, so that a replay
finds nothing of the one before in the L2; they run one after another. What is timed are replays of the graph of its kernels, data on the GPU. A
region's bytes are its inputs and outputs, once each; of a table of rows those that are gathered. The copy is the faster
of PyTorch's copy_, in a graph too, and Redline's own negation. Some results are compared with NumPy in double precision.
"""

import dataclasses
import statistics
import sys

import numpy as np
import onnx
import part
import regions

LIMIT = 0.9
ALL = 256 << 20  # bytes of one replay
SIZES = (64 << 20, 256 << 20)
ROUNDS = 7
TOLERANCE = {"f32": 1e-5, "f16": 2e-3, "i8": 0.0}


@dataclasses.dataclass
class Timed:
    us: float
    bytes: int
    difference: float
    ways: str

    @property
    def rate(self):
        return self.bytes / self.us / 1e6 if self.us else 0.0


class Numbers:
    """Random values, made once: a little above zero on average, so that sums are not all rounding."""

    def __init__(self, elements):
        random = np.random.default_rng(5)
        floats = random.random(min(elements, (1 << 24) + 4099), np.float32) * 2 - 0.75
        self.kinds = {"f32": floats, "f16": floats.astype(np.float16),
                      "i8": random.integers(-128, 128, floats.size, np.int8)}

    def take(self, kind, shape, start):
        values = self.kinds[kind]
        return np.resize(np.roll(values, -start % values.size), shape)


def model_of(region, times):
    nodes, inputs, outputs = [], [], []
    for i in range(times):
        names = [f"x{i}_{k}" for k in range(len(region.inputs))]
        inputs += [onnx.helper.make_tensor_value_info(name, regions.ONNX_TYPES[kind], shape)
                   for name, (kind, shape) in zip(names, region.inputs)]
        outputs.append(onnx.helper.make_tensor_value_info(f"y{i}", regions.ONNX_TYPES[region.result[0]], region.result[1]))
        nodes += region.nodes(names, f"y{i}")
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in region.constants.items()]
    graph = onnx.helper.make_graph(nodes, "region", inputs, outputs, constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 23)], ir_version=10)


def time_region(region, numbers, size, arguments):
    import redline

    times = max(1, (arguments.all or ALL) // size)
    engine = redline.build(model_of(region, times), device=arguments.device, tuning_database=False, opt_level=arguments.level,
                           side_streams=False)
    if arguments.ways:
        print_ways(redline.build_report(engine))
    session = engine.create_session()
    feeds = [[region.values(numbers, k, 131 * i + k) for k in range(len(region.inputs))] for i in range(times)]
    results = session.run({f"x{i}_{k}": value for i, feed in enumerate(feeds) for k, value in enumerate(feed)})
    difference = max(miss(region, feed, results[f"y{i}"]) for i, feed in enumerate(feeds))
    del results
    us = statistics.median(session.time_kernels(20) for _ in range(1 if arguments.quick else ROUNDS)) / times
    steps = [step for step in redline.inspect(engine)["steps"] if step["op"] not in ("copy", "upload", "download")]
    ways = sorted({f"{step['tactic'].removeprefix('cuda.')} {knobs(step)}".strip() for step in steps if step["tactic"] != "view"})
    return Timed(us, region.bytes, difference, "; ".join(ways))


def print_ways(report):
    """What was timed, fastest first; and what the time of the whole chose instead."""
    for problem in report.get("problems", []):
        timed = sorted((c["us"], c["tactic"], c.get("config", "")) for c in problem["candidates"] if c.get("us"))
        for us, tactic, config in timed:
            print(f"    {us:8.1f} us {tactic} {config.replace(' ', '')}", flush=True)
    chain = report.get("chain", {})
    if chain.get("tried"):
        print(f"    in the whole {chain['us_before']:.1f} us, then {chain['us']:.1f}; {chain['tried']} tried", flush=True)
        for change in chain["changed"]:
            print(f"        {change['from']}, now {change['to']}", flush=True)


def knobs(step):
    config = step.get("config") or {}
    return " ".join(str(value).replace(" ", "") for value in (config.values() if isinstance(config, dict) else [config]))


def miss(region, feed, got):
    """The largest difference among some results, as a part of the largest value."""
    if tuple(got.shape) != tuple(region.result[1]):
        return float("inf")
    if region.axis is None:
        at = slice(None)
    else:
        size = got.shape[region.axis]
        at = np.unique([0, 1 % size, size // 3, size // 2, size - 2 if size > 1 else 0, size - 1])
        got = np.take(got, at, region.axis)
    wide = [value if value.dtype.kind == "i" else value.astype(np.float64) for value in region.needed(feed, at)]
    return part.relative(got, np.asarray(region.expected(*wide)).astype(np.float64))


def copy_in_torch(size):
    """TB/s of copies of PyTorch, each as many bytes in all as a region of this size; none without it."""
    try:
        import torch
    except ImportError:
        return 0.0
    times = max(1, ALL // size)
    pairs = [(torch.randint(0, 256, (size // 2,), dtype=torch.uint8, device="cuda"),
              torch.empty(size // 2, dtype=torch.uint8, device="cuda")) for _ in range(times)]
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for source, target in pairs:
            target.copy_(source)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for source, target in pairs:
            target.copy_(source)
    us = []
    for _ in range(ROUNDS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        graph.replay()
        begin.record()
        for _ in range(20):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        us.append(begin.elapsed_time(end) / 20 * 1e3)
    return size * times / statistics.median(us) / 1e6


def measure(arguments, folder):
    outcome = part.Outcome(["region", "type", "shape", "MB", "us", "TB/s", "% of a copy", "difference", "way"])
    sizes = [64 << 10] if arguments.quick else [mb << 20 for mb in arguments.megabytes] or SIZES
    arguments.all = 128 << 10 if arguments.quick else 0
    numbers = Numbers(max(sizes))
    worst = (float("inf"), "")
    copies = []
    for size in sizes:
        own = time_region(regions.copy("f16", size), numbers, size, arguments).rate
        torch_rate = 0.0 if arguments.device == "cpu" else copy_in_torch(size)
        copy = max(own, torch_rate)
        copies.append(f"{copy:.2f}")
        print(f"copies of {size >> 20} MB: PyTorch {torch_rate:.3f} TB/s, Redline {own:.3f}", flush=True)
        # Of the larger size one type: times of f32 differ by what they are in 64 MB.
        for region in regions.all_of(size, ["f16"] if size > SIZES[0] else ["f16", "f32"]):
            if arguments.only and not any(part in f"{region.name} {region.kind}" for part in arguments.only):
                continue
            timed = time_region(region, numbers, size, arguments)
            share = timed.rate / copy if copy else 0.0
            name = f"{region.name} {region.kind} {size >> 20} MB"
            failures = []
            if timed.difference > TOLERANCE[region.result[0]]:
                failures.append(f"{name}: results differ by {timed.difference:.1e}")
            if arguments.device != "cpu":
                worst = min(worst, (share, name))
                if share < LIMIT:
                    failures.append(f"{name}: {100 * share:.0f} % of a copy, the bar is {100 * LIMIT:.0f}")
            outcome.add([region.name, region.kind, "x".join(map(str, region.inputs[0][1])), f"{timed.bytes / (1 << 20):.0f}",
                         f"{timed.us:.1f}", f"{timed.rate:.2f}", f"{100 * share:.0f}", f"{timed.difference:.0e}", timed.ways],
                        failures)
    least = f"{100 * worst[0]:.0f} % ({worst[1]})" if worst[1] else "results only"
    outcome.also = f"least {least} of {' and '.join(copies)} TB/s"
    return outcome


if __name__ == "__main__":
    options = part.parser(__doc__)
    options.add_argument("--only", nargs="*", default=[], help="regions whose names and types contain one of these")
    options.add_argument("--level", type=int, default=3, help="of effort to choose kernels: 5 times all there are")
    options.add_argument("--ways", action="store_true", help="print the time of each kernel that was tried")
    options.add_argument("--megabytes", type=int, nargs="*", default=[], help="sizes of regions; 64 and 256")
    sys.exit(part.run("memory", "Memory-bound regions", options.parse_args(), measure))
