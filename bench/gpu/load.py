#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a fresh process takes from an engine file to the first result.

`redline run --timing` says how long it took to load the engine (which starts the driver: cuInit, and the GPU's primary
context), to make a session, and to run for the first time, copies included. A bare process that only starts the driver
says what that costs by itself; what the engine takes beyond it is to be at most 150 ms. Medians of fresh processes.
"""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
import part
import sized

LIMIT_MS = 150
START_DRIVER = """
import ctypes, time
start = time.perf_counter()
cuda = ctypes.CDLL("libcuda.so.1")
device, context = ctypes.c_int(), ctypes.c_void_p()
for result in (cuda.cuInit(0), cuda.cuDeviceGet(ctypes.byref(device), 0),
               cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)):
    assert result == 0, result
print((time.perf_counter() - start) * 1e3)
"""


def start_driver(device):
    if device == "cpu":
        return 0.0
    return float(subprocess.run([sys.executable, "-c", START_DRIVER], capture_output=True, text=True, check=True).stdout)


def first_result(arguments, engine, file):
    """Milliseconds of the stages, and of the whole process."""
    command = [arguments.redline, "run", engine, "--input", f"x={file}", "--timing", "--json"]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["timing_ms"] | {"process": (time.perf_counter() - started) * 1e3}


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network", "driver's own start ms", "load ms", "session ms", "first run ms", "beyond the driver ms",
                            "whole process ms"])
    name = "tiny" if arguments.quick else "resnet50"
    network = sized.load(name, folder)
    feed = network.feed({"batch": 1, "seq": 16})
    part.fix_sizes(network.path, {"batch": 1, "seq": 16}, folder / "static.onnx")
    engine, file = folder / "m.engine", folder / "x.npy"
    redline.build(folder / "static.onnx", engine, device=arguments.device, precision="fp16")
    np.save(file, feed["x"])
    runs = []
    for _ in range(3 if arguments.quick else 9):
        driver = start_driver(arguments.device)
        runs.append(first_result(arguments, engine, file) | {"driver": driver})
    ms = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    beyond = ms["load"] + ms["session"] + ms["first_run"] - ms["driver"]
    failures = [f"{name}: {beyond:.0f} ms beyond the driver's start, the bar is {LIMIT_MS}"] if beyond > LIMIT_MS else []
    outcome.add([f"{name} b1 fp16", *(f"{ms[key]:.1f}" for key in ("driver", "load", "session", "first_run")),
                 f"{beyond:.1f}", f"{ms['process']:.1f}"], failures)
    outcome.also = f"{beyond:.0f} ms beyond the driver's {ms['driver']:.0f}"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("load", "From a file to the first result", part.parser(__doc__).parse_args(), measure))
