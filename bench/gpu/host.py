#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a run costs the host in steady state: from the call until it only waits for the GPU.

`redline bench` calls the two halves of a run 200 times, each time on an idle GPU, and times the first: checking the
inputs, copying them to page-locked memory, and launching the graph that has the copies and all kernels. Networks with
large inputs pay for copying them; the bar is for what does not grow with the input, so it holds for those of less than
64 KB. That nothing is allocated is shown by gpu_allocation_test, without a GPU.
"""

import json
import subprocess
import sys

import numpy as np
import part
import sized

LIMIT_US = 10
SMALL = 64 << 10  # bytes
CASES = [("bert", {"batch": 1, "seq": 128}), ("bert", {"batch": 1, "seq": 16}), ("resnet50", {"batch": 1})]


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network and sizes", "input bytes", "host us: median", "least", "kernels us", "end to end us"])
    networks = {}
    for name, sizes in [("tiny", {"batch": 1, "seq": 16})] if arguments.quick else CASES:
        network = networks.setdefault(name, None) or sized.load(name, folder)
        networks[name] = network
        part.fix_sizes(network.path, sizes, folder / "static.onnx")
        engine = folder / "m.engine"
        redline.build(folder / "static.onnx", engine, device=arguments.device, precision="fp16")
        command = [arguments.redline, "bench", engine, "--duration", "0.3", "--json"]
        feed = network.feed(sizes)
        for key, array in feed.items():
            np.save(folder / f"{key}.npy", array)
            command += ["--input", f"{key}={folder / key}.npy"]
        timed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        host = timed.get("host_us", {"median": 0, "min": 0})
        size = sum(array.nbytes for array in feed.values())
        at = f"{name} {' '.join(f'{k}={v}' for k, v in sizes.items())}"
        over = size < SMALL and host["median"] > LIMIT_US
        outcome.add([at, size, f"{host['median']:.1f}", f"{host['min']:.1f}", f"{timed.get('kernels_us', host)['median']:.1f}",
                     f"{timed['latency_ms']['median'] * 1e3:.1f}"],
                    [f"{at}: {host['median']:.1f} us, the bar is {LIMIT_US}"] if over else [])
    outcome.also = f"{outcome.rows[0][2]} us for {outcome.rows[0][0]}"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("host", "The host's share of a run", part.parser(__doc__).parse_args(), measure))
