#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each distinct product and convolution of a network in fp16: Redline, cuBLASLt and cuDNN on the same weights and inputs.

The engine of the network says which problems there are and how often. Redline's step is built alone, from the same problem.
All are timed the same way: one CUDA graph that holds the call many times in a row, replays of it between two events, the
contestants in turns, the median of the turns; operands and weights stay in the L2 where they fit. Edges between Redline's
launches are programmatic, as in its engines; the libraries launch as they do anywhere. cuBLASLt: the best of the 32
algorithms its heuristics name, for weights stored either way. cuDNN: the best of all plans of its heuristics. Both with
what follows the product in the same call as far as they can (cuBLASLt's GELU is the one by tanh); a time with * is without
the ops that they cannot fuse. Rows of all results are compared with double precision; a library's wrong way does not count.
The floor is the larger of bytes at the speed of a copy and operations at the highest clock. Takes under 200 s by default.
Needs a GPU, torch, torchvision, transformers and onnx.
"""

import dataclasses
import statistics
import sys

import numpy as np
import part
import problems
from contestants import CublasLt, Cudnn, Gpu, Operands

NETWORKS = ["resnet50_b1", "bert_s128_b1", "resnet50_b64", "bert_s128_b64"]
FINALISTS = 3  # of each library, timed as long as Redline
TURNS = 5
REPLAYS = 5
SPAN_US = 1000  # of one replay


@dataclasses.dataclass
class Time:
    us: float
    way: str  # which of the ways it was
    whole: bool = True  # with all of the epilogue

    def __str__(self):
        return f"{self.us:.2f}{'' if self.whole else '*'} ({self.way})"


@dataclasses.dataclass
class Layer:
    problem: problems.Problem
    ours: Time | None
    difference: float
    peers: dict  # by the library's name: a time, or None
    floor_us: float

    @property
    def best(self):
        return min((time.us for time in self.peers.values() if time), default=None)


def times_in_graph(us):
    return max(4, min(100, round(SPAN_US / max(us, 0.1))))


def screen(gpu, ways):
    """[(us, name, run)], fastest first, of those that run."""
    times, found = 8, []
    for name, run in ways:
        try:
            gpu.run(run)
            graph = gpu.capture(run, times)
        except RuntimeError:
            continue
        found.append((gpu.time(graph, 2, times), name, run))
    return sorted(found, key=lambda way: way[0])


def right_ways(gpu, problem, values, operands, ways, ops):
    """The fastest few whose results are right."""
    rows = problems.rows_of(problem)
    want = problems.reference(problem, values, rows, ops)
    found = []
    for us, name, run in ways:
        operands.y.fill_(float("nan"))
        gpu.torch.cuda.synchronize()
        gpu.run(run)
        if part.relative(operands.rows(rows), want) <= part.TOLERANCE["fp16"]:
            found.append((us, name, run))
        if len(found) == FINALISTS:
            break
    return found


class Ours:
    """Redline's step for a problem, and nothing else."""

    def __init__(self, problem, values, arguments, database):
        import redline

        self.session = redline.build(problems.graph_of(problem, values), device=arguments.device, tuning_database=database).create_session()
        self.feed = {name: values[name] for name in ("x", "residual") if name in values}
        got = self.session.run(self.feed)["y"]
        rows = problems.rows_of(problem)
        self.difference = part.relative(got.reshape(-1, problem.y[-1])[rows], problems.reference(problem, values, rows))

    def way(self):
        import redline

        steps = [step for step in redline.inspect(self.session.engine)["steps"] if step["tactic"] not in ("upload", "download", "view")]
        return " ".join(step["tactic"].removeprefix("cuda.") for step in steps)


def race(gpu, ours, finalists):
    """(Redline's median, [each finalist's]), timed in turns."""
    own_times = times_in_graph(ours.session.time_kernels(REPLAYS, 10))
    graphs = [(gpu.capture(run, times_in_graph(us)), times_in_graph(us)) for us, _, run in finalists]
    turns = [[ours.session.time_kernels(REPLAYS, own_times)] + [gpu.time(graph, REPLAYS, times) for graph, times in graphs]
             for _ in range(TURNS)]
    medians = [statistics.median(column) for column in zip(*turns)]
    return medians[0], medians[1:]


def measure_layer(problem, gpu, libraries, arguments, database, rates):
    values = problems.operands_of(problem)
    ours = Ours(problem, values, arguments, database)
    floor = max(problem.bytes / rates["bytes"], problem.flops / rates["flops"]) if rates else 0.0
    if gpu is None:
        return Layer(problem, None, ours.difference, {}, floor)
    operands, finalists, owners, kept = Operands(gpu, problem, values), [], [], []
    peers = {}
    for library in libraries:
        peers[library.name] = None
        if not library.module.takes(problem):
            continue
        ops = library.module.fused(problem)
        try:
            ways, refused, workspace = library.ways(gpu, problem, operands)
        except RuntimeError as error:
            print(f"  {library.name} refuses {problem}: {error}", flush=True)
            continue
        kept.append(workspace)
        right = right_ways(gpu, problem, values, operands, screen(gpu, ways), ops)
        if refused or not right:
            print(f"  {library.name} for {problem}: {len(right)} right ways; {refused}", flush=True)
        finalists += right
        owners += [(library.name, f"of {len(ways)}", ops == len(problem.epilogue)) for _ in right]
    own_us, others = race(gpu, ours, finalists)
    for us, (_, way, _), (name, among, whole) in zip(others, finalists, owners):
        if peers[name] is None or us < peers[name].us:
            peers[name] = Time(us, f"{way} {among}", whole)
    return Layer(problem, Time(own_us, ours.way()), ours.difference, peers, floor)


def rates_of(arguments):
    """Bytes and floating-point operations in a microsecond, as the profiler has them."""
    import redline

    if arguments.device == "cpu":
        return None
    builder = redline.GraphBuilder()
    builder.output(builder.op("relu", [builder.input("x", np.float16, [8])]), "y")
    session = redline.build(builder, device=arguments.device).create_session()
    rates = redline.profile(session, {"x": np.zeros(8, np.float16)}, 1)["rates"]["cuda"]
    return {"bytes": rates["tb_s"] * 1e6, "flops": rates["products_tflop_s"]["f16"] * 1e6}


def cells(name, often, layer, libraries):
    ratio = f"{layer.ours.us / layer.best:.2f}" if layer.ours and layer.best else "-"
    return [name, str(layer.problem), often, layer.ours or "-", *[layer.peers.get(library) or "-" for library in libraries], ratio,
            f"{layer.floor_us:.2f}", f"{layer.difference:.1e}"]


def sums(name, layers, libraries):
    """Of the steps that a library could take too; `layers` are (how often, layer)."""
    shared = [(often, layer) for often, layer in layers if layer.ours and layer.best]
    ours, best, floor = (sum(often * of(layer) for often, layer in shared)
                         for of in (lambda l: l.ours.us, lambda l: l.best, lambda l: l.floor_us))
    steps = sum(often for often, _ in shared)
    return [name, f"sum, against the faster library each ({steps} of {sum(often for often, _ in layers)} steps)", steps,
            f"{ours:.1f}", f"{best:.1f}", *["" for _ in libraries[1:]], f"{ours / best:.2f}" if best else "-", f"{floor:.1f}", ""]


def libraries_of(outcome):
    found = []
    for make in (CublasLt, Cudnn):
        try:
            found.append(make())
            print(f"{make.name} {found[-1].version}", flush=True)
        except (OSError, RuntimeError) as error:
            outcome.failures.append(f"{make.name} cannot be used: {error}")
    return found


def inspected(name, arguments, folder):
    """What the network's engine holds. Which kernels it would take does not matter."""
    import redline

    target = ""
    if arguments.device == "cpu":
        import sized

        path, target = folder / f"{name}.onnx", "sm_90a"
        part.fix_sizes(sized.load(name, folder).path, {"batch": 2, "seq": 16}, path)
    else:
        import networks
        import run_gpu

        module, make_inputs = networks.make(name)
        path = run_gpu.Network(module, make_inputs(), folder).export()
    return redline.inspect(redline.build(path, device="cuda", target=target, precision="fp16", opt_level=1, tuning_database=False))


def check_names(names, device):
    if device == "cpu":
        known = ["tiny"]
    else:
        import networks

        known = networks.NAMES
    for name in names:
        if name not in known:
            sys.exit(f"layers: no network '{name}'; there are {', '.join(known)}")


def measure(arguments, folder):
    names = arguments.networks or (["tiny"] if arguments.device == "cpu" else NETWORKS)
    gpu = None if arguments.device == "cpu" else Gpu()
    check_names(names, arguments.device)
    columns = [CublasLt.name, Cudnn.name]
    outcome = part.Outcome(["network", "layer", "steps", "Redline us", *[f"{name} us" for name in columns], "Redline / faster", "floor us",
                            "difference"])
    libraries = libraries_of(outcome) if gpu else []
    rates, known, said = rates_of(arguments), {}, []
    for name in names:
        found, left_out = problems.count(inspected(name, arguments, folder))
        for reason, often in left_out.items():
            outcome.add([name, f"left out: {reason}", often, *["-"] * 6])
        if not found:
            outcome.failures.append(f"{name}: its engine has no product or convolution to compare")
            continue
        for library in libraries:
            library.prepare([problem for problem in found if problem not in known])
        for problem, often in found.items():
            if problem not in known:
                known[problem] = measure_layer(problem, gpu, libraries, arguments, folder / "tuning.jsonl", rates)
            wrong = known[problem].difference > part.TOLERANCE["fp16"]
            outcome.add(cells(name, often, known[problem], columns),
                        [f"{name}: {problem}: Redline's result differs by {known[problem].difference:.1e}"] if wrong else [])
        total = sums(name, [(often, known[problem]) for problem, often in found.items()], columns)
        outcome.add(total)
        said.append(f"{name} {total[-3]}")
    outcome.cases = len(known)
    outcome.also = ", ".join(said)
    return outcome


if __name__ == "__main__":
    options = part.parser(__doc__)
    options.add_argument("networks", nargs="*", help=f"of bench/gpu/networks.py, such as vit_b16_b64; by default {' '.join(NETWORKS)}")
    sys.exit(part.run("layers", "Layers beside cuBLASLt and cuDNN", options.parse_args(), measure))
