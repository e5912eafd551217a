#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One engine over a range of sizes beside an engine built for each size alone.

The engine of the range is built once, with shapes={"batch": (1, 8, 64)}, and runs all the sizes as it is.
Both are timed in turn by Session.time_kernels (the mean of 20 launches, kernels only), and the medians compared.
The results must be PyTorch's in f32 as nearly as PyTorch's own in fp16, or 2e-2 of the largest value.
"""

import gc
import statistics
import sys

import part
import sized

LIMIT = 1.25  # of the time of the engine for that size alone
ROUNDS = 7
RANGES = {"resnet50": {"batch": (1, 8, 64)}, "bert": {"batch": (1, 4, 16), "seq": (16, 128, 512)},
          "tiny": {"batch": (1, 2, 4), "seq": (4, 8, 16)}}
SHAPES = {
    "resnet50": [{"batch": n} for n in (1, 2, 7, 16, 33, 64)],
    "bert": [{"batch": b, "seq": s} for b, s in ((1, 16), (1, 128), (1, 512), (4, 64), (7, 200), (16, 512))],
    "tiny": [{"batch": 1, "seq": 16}, {"batch": 3, "seq": 5}],
}


def times_in_turn(sessions, rounds):
    """Median microseconds of each; 0 where there is no GPU to time."""
    for session in sessions:
        session.time_kernels()
    series = [[session.time_kernels() for session in sessions] for _ in range(rounds)]
    return [statistics.median(column) for column in zip(*series, strict=True)]


def text_of(sizes):
    return " ".join(f"{key}={value}" for key, value in sizes.items())


def build(path, arguments, **options):
    import redline

    return redline.build(path, device=arguments.device, precision=arguments.precision, **options)


def measure_network(name, arguments, folder, outcome):
    import redline

    network = sized.load(name, folder)
    file = folder / f"{name}.engine"
    build(network.path, arguments, output=file, shapes=RANGES[name])
    session = redline.load(file, device=arguments.device)
    for sizes in SHAPES[name]:
        feed = network.feed(sizes)
        want = network.expected(feed)
        part.fix_sizes(network.path, sizes, folder / "static.onnx")
        alone = build(folder / "static.onnx", arguments).create_session()
        (got,), (static,) = session.run(feed).values(), alone.run(feed).values()
        us, static_us = times_in_turn([session, alone], ROUNDS)
        ratio = us / static_us if static_us else 0.0
        error, peer = part.relative(got, want), part.relative(network.expected(feed, True), want)
        limit = max(part.TOLERANCE[arguments.precision], peer if arguments.precision == "fp16" else 0)
        at = f"{name} {text_of(sizes)}"
        failures = [f"{at}: differs by {error:.1e}"] if error > limit else []
        failures += [f"{at}: {ratio:.2f} of the engine for this size"] if ratio > LIMIT else []
        outcome.add([at, f"{us:.1f}", f"{static_us:.1f}", f"{ratio:.2f}", f"{error:.1e}", f"{peer:.1e}",
                     f"{part.relative(static, want):.1e}"], failures)
        del alone
        gc.collect()


def measure(arguments, folder):
    outcome = part.Outcome(["network and sizes", "one engine us", "own engine us", "ratio", "difference", "PyTorch fp16's",
                            "own engine's"])
    for name in arguments.networks:
        measure_network(name, arguments, folder, outcome)
    outcome.also = f"largest ratio {max(float(row[3]) for row in outcome.rows):.2f}"
    return outcome


def main():
    options = part.parser(__doc__)
    options.add_argument("--precision", default="fp16", choices=["fp16", "fp32"])
    options.add_argument("--networks", nargs="+", default=None, choices=list(SHAPES))
    arguments = options.parse_args()
    arguments.networks = arguments.networks or (["tiny"] if arguments.quick else ["resnet50", "bert"])
    return part.run("ranges", "One engine over a range of sizes", arguments, measure)


if __name__ == "__main__":
    sys.exit(main())
