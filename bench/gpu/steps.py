#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Profiles with time stamps: the steps and gaps of the chain add up, and stamps change nothing but time.

Each network is built without and with stamps, with the same measurements of kernels. Both must choose the same ways
and make the same bits. In the chain no step may begin before what it comes after has ended, and it may take at most
1.35 of the time of the kernels without stamps, which run many times in a row. Steps and gaps add up to it where all
are on one stream. Each step alone is there for comparison.

Where CUPTI is there, each step that is launched in a graph must have a time in it, steps and gaps must add up to the
whole, and the whole must be 0.7 to 2 times what events say of the same graphs without CUPTI, which stamps each kernel.
Where it is missing or is not let, the line says so and nothing is missed.
"""

import sys

import numpy as np
import part
import sized

LIMIT = 1.35
GRAPH_LIMITS = 0.7, 2.0
# The GPU's clock goes in steps.
TICK_US = 0.1
CASES = [("resnet50", {"batch": 1}), ("bert", {"batch": 1, "seq": 128}), ("bert", {"batch": 64, "seq": 128})]


def ways_of(engine):
    import redline

    return [(step["tactic"], step.get("config")) for step in redline.inspect(engine)["steps"]]


def faults_of(profile, stamped):
    """What is wrong with a profile in itself."""
    faults = []
    latency = profile["latency"]
    parts = sum(us for name, us in latency.items() if name.endswith("_us") and name not in ("run_us", "timed_run_us", "gaps_us"))
    if not np.isclose(parts, latency["timed_run_us"]):
        faults.append(f"the parts of a run are {parts:.1f} us, the run {latency['timed_run_us']:.1f}")
    if profile["timestamps"] != stamped:
        faults.append(f"time stamps: {profile['timestamps']}")
    if not stamped:
        return faults
    steps = [step for step in profile["steps"] if "chain" in step]
    bare = [step["name"] for step in profile["steps"] if step["tactic"].startswith("cuda.") and "chain" not in step]
    early = [step["name"] for step in steps if step["chain"]["gap_us"] < -TICK_US]
    total = sum(step["chain"]["us"] + step["chain"]["gap_us"] for step in steps)
    if bare:
        faults.append(f"{len(bare)} steps have no stamps, such as {bare[0]}")
    if early:
        faults.append(f"{len(early)} steps begin before the former one ends, such as {early[0]}")
    if not any("stream" in step for step in profile["steps"]) and not np.isclose(total, profile["chain"]["us"]):
        faults.append(f"steps and gaps are {total:.1f} us, the chain {profile['chain']['us']:.1f}")
    return faults


def event_time(profile):
    """What the GPU did in a run, by events in its graphs."""
    return sum(profile["latency"][part] for part in ("copy_in_us", "kernels_us", "copy_out_us"))


def graph_faults(profile):
    """What is wrong with the times in the graph."""
    if "graph" not in profile:
        return [] if profile.get("graph_left_out") else ["no times in the graph, and no reason"]
    graph, events = profile["graph"], event_time(profile)
    steps = [step for step in profile["steps"] if "graph" in step]
    launched = [step for step in profile["steps"] if step["tactic"].startswith("cuda.")]
    timeless = [step["name"] for step in launched if step.get("graph", {}).get("us", 0) <= 0]
    faults = []
    if timeless:
        faults.append(f"{len(timeless)} steps have no time in the graph, such as {timeless[0]}")
    if not np.isclose(sum(step["graph"]["gap_us"] for step in steps), graph["gaps_us"]):
        faults.append("the gaps in the graph do not add up")
    if not np.isclose(graph["steps_us"] + graph["gaps_us"], graph["us"]):
        faults.append("steps and gaps in the graph do not add up")
    overlap = sum(step["graph"]["early_us"] for step in steps)
    if sum(step["graph"]["us"] for step in steps) < graph["steps_us"] - TICK_US:
        faults.append(f"steps in the graph take less than the graph, with an overlap of {overlap:.1f} us")
    if not GRAPH_LIMITS[0] * events <= graph["us"] <= GRAPH_LIMITS[1] * events:
        faults.append(f"the graph takes {graph['us']:.1f} us by {graph['traced_by']}, by events {events:.1f}")
    return faults


def span_of(profile):
    """From the begin of the first kernel that is no copy to the end of the last."""
    chains = [step["chain"] for step in profile["steps"] if step["tactic"].startswith("cuda.") and "chain" in step]
    return max(c["begin_us"] + c["us"] for c in chains) - min(c["begin_us"] for c in chains) if chains else 0


def graph_cells(profile):
    graph = profile.get("graph")
    return [f"{graph['us']:.1f}", f"{graph['gaps_us']:.1f}", f"{event_time(profile):.1f}"] if graph else ["-", "-", "-"]


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network and sizes", "steps", "each alone us", "kernels us", "with stamps", "chain us", "of that gaps", "a run us", "graph us", "its gaps", "by events"])
    networks = {}
    for name, sizes in [("tiny", {"batch": 1, "seq": 16})] if arguments.quick else CASES:
        network = networks.setdefault(name, None) or sized.load(name, folder)
        networks[name] = network
        part.fix_sizes(network.path, sizes, folder / "static.onnx")
        feed = network.feed(sizes)
        stamps = [False, True] if arguments.device == "cuda" else [False]
        engines = [redline.build(folder / "static.onnx", device=arguments.device, precision="fp16", timestamps=stamped,
                                 tuning_database=folder / "tuning.jsonl") for stamped in stamps]
        sessions = [engine.create_session() for engine in engines]
        outputs = [session.run(feed) for session in sessions]
        profiles = [redline.profile(session, feed) for session in sessions]
        at = f"{name} {' '.join(f'{k}={v}' for k, v in sizes.items())}"
        failures = [f"{at}: {fault}" for profile, stamped in zip(profiles, stamps) for fault in faults_of(profile, stamped)]
        if arguments.device == "cuda":
            failures += [f"{at}: {fault}" for fault in graph_faults(profiles[0])]
            if "graph_left_out" in profiles[0]:
                print(f"{at}: no times in the graph: {profiles[0]['graph_left_out']}", flush=True)
        if ways_of(engines[0]) != ways_of(engines[-1]):
            failures.append(f"{at}: other kernels were chosen with stamps")
        if any(outputs[0][key].tobytes() != outputs[-1][key].tobytes() for key in outputs[0]):
            failures.append(f"{at}: other results with stamps")
        plain, last = profiles[0], profiles[-1]
        kernels = plain.get("kernels_us", plain["serial_us"])
        chain, gaps = span_of(last), last["latency"].get("gaps_us", 0)
        if chain > LIMIT * kernels:
            failures.append(f"{at}: the chain takes {chain:.1f} us, the kernels {kernels:.1f}")
        outcome.add([at, len(plain["steps"]), f"{plain['serial_us']:.1f}", f"{kernels:.1f}", f"{last.get('kernels_us', kernels):.1f}",
                     f"{chain:.1f}", f"{gaps:.1f}", f"{plain['latency']['run_us']['median']:.1f}", *graph_cells(plain)], failures)
    outcome.also = f"{outcome.rows[0][6]} of {outcome.rows[0][5]} us are gaps"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("steps", "Steps in the chain, by time stamps", part.parser(__doc__).parse_args(), measure))
