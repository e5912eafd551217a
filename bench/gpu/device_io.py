#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Inputs and outputs in the GPU's memory, as torch's tensors, beside numpy arrays: the same bits, and the time of a run.

Each run has its inputs at other addresses, made late on a stream of their own, and sizes that change; what an earlier
run returned must still be what it was when the last has ended. Outputs are compared bit by bit with those of the same
engine's runs with numpy arrays. The times are medians of whole calls of session.run. On the CPU both ways are
numpy's.
"""

import statistics
import sys
import time

import part
import sized

CASES = [("resnet50", [{"batch": 1}, {"batch": 3}]), ("resnet50", [{"batch": 128}]), ("bert", [{"batch": 1, "seq": 128}, {"batch": 2, "seq": 33}])]
QUICK = [("tiny", [{"batch": 1, "seq": 16}, {"batch": 3, "seq": 9}])]
SLEEP = 2_000_000  # cycles before an input is there


class Numpy:
    """The host in the place of a GPU."""

    outputs = "host"
    late = staticmethod(lambda feed: {key: array.copy() for key, array in feed.items()})
    ready = late
    to_numpy = staticmethod(lambda output: output)


class Torch:
    outputs = "device"

    def __init__(self):
        import torch

        self.torch = torch
        torch.cuda.set_stream(torch.cuda.Stream())

    def ready(self, feed):
        tensors = {key: self.torch.from_numpy(array).cuda() for key, array in feed.items()}
        self.torch.cuda.synchronize()
        return tensors

    def late(self, feed):
        """Tensors that the current stream has yet to fill, from memory that is there."""
        there = self.ready(feed)
        tensors = {key: self.torch.zeros_like(tensor) for key, tensor in there.items()}
        self.torch.cuda._sleep(SLEEP)
        for key, tensor in tensors.items():
            tensor.copy_(there[key])
        return tensors

    def to_numpy(self, output):
        return self.torch.from_dlpack(output).cpu().numpy()


def differing(session, side, feeds, want, runs):
    """How many runs returned other bits, and how many results changed after that."""
    wrong, kept = 0, []
    for i in range(runs):
        got = session.run(side.late(feeds[i % len(feeds)]), outputs=side.outputs)
        arrays = {name: side.to_numpy(output) for name, output in got.items()}
        expected = want[i % len(feeds)]
        wrong += any(arrays[name].tobytes() != array.tobytes() for name, array in expected.items())
        kept = [*kept[-3:], (got, expected)]
    changed = sum(side.to_numpy(output).tobytes() != expected[name].tobytes()
                  for got, expected in kept for name, output in got.items())
    return wrong, changed


def median_ms(session, feed, outputs, runs):
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        session.run(feed, outputs=outputs)
        times.append((time.perf_counter() - started) * 1e3)
    return statistics.median(times)


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network and sizes", "input bytes", "output bytes", "runs", "other bits", "changed later",
                            "host in and out ms", "GPU in ms", "GPU in and out ms", "kernels ms"])
    side = Numpy() if arguments.device == "cpu" else Torch()
    runs = 10 if arguments.quick else 100
    networks = {}
    for name, all_sizes in QUICK if arguments.quick else CASES:
        network = networks.get(name) or sized.load(name, folder)
        networks[name] = network
        engine = redline.build(network.path, device=arguments.device, precision="fp16", sizes=all_sizes[0])
        feeds = [network.feed(sizes, seed=seed) for seed in range(2) for sizes in all_sizes]
        session = engine.create_session()
        want = [session.run(feed) for feed in feeds]
        wrong, changed = differing(session, side, feeds, want, runs)
        there = side.ready(feeds[0])
        ms = [median_ms(session, feed, outputs, runs)
              for feed, outputs in ((feeds[0], "host"), (there, "host"), (there, side.outputs))]
        size_in, size_out = (sum(array.nbytes for array in arrays.values()) for arrays in (feeds[0], want[0]))
        at = f"{name} {' '.join(f'{k}={v}' for k, v in all_sizes[0].items())}"
        failures = [f"{at}: {wrong} of {runs} runs differ"] if wrong else []
        failures += [f"{at}: {changed} results changed after their run"] if changed else []
        outcome.add([at, size_in, size_out, runs, wrong, changed, *(f"{t:.3f}" for t in ms),
                     f"{session.time_kernels() / 1e3:.3f}"], failures)
    outcome.cases = len(outcome.rows) * runs
    outcome.also = "bit for bit as from the host"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("device_io", "Inputs and outputs on the GPU", part.parser(__doc__).parse_args(), measure))
