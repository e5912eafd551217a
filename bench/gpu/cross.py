#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Engines that are built where no GPU is seen, for the one that is here, beside engines that are tuned on it.

A cross-build chooses by the shipped records of data/tuning, and without one for a problem by preference; its bar is 1.1
of the tuned engine's time. The second cross-build has the records of the tuned build (`redline tune prior`): what it
would be with those shipped. `--records FOLDER` keeps them there, as the file that data/tuning wants.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import part
import sized

LIMIT = 1.1
ROUNDS = 7
CASES = [("resnet50", {"batch": 1}), ("bert", {"batch": 1, "seq": 128})]


class Builder:
    def __init__(self, arguments, folder):
        self.program, self.folder, self.arguments = arguments.redline, folder, arguments
        self.database = folder / "tuning.jsonl"
        # Kernels are cached for both: the cubins do not depend on how they were chosen.
        self.environment = dict(os.environ, XDG_CACHE_HOME=str(folder / "cache"))

    def call(self, *command, hidden=False):
        environment = self.environment | ({"CUDA_VISIBLE_DEVICES": ""} if hidden else {})
        done = subprocess.run([self.program, *map(str, command)], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError(f"redline {command[0]}: {done.stderr.strip()[-500:]}")
        return done.stdout

    def tuned(self, model):
        engine = self.folder / "tuned.engine"
        self.call("build", model, "-o", engine, "--device", self.arguments.device, "--fp16", "--tuning-db", self.database)
        return engine

    def crossed(self, model, name, *more):
        """An engine for the architecture, and how many problems were chosen by records."""
        engine = self.folder / f"{name}.engine"
        target = ["--target", self.arguments.arch] if self.arguments.device == "cuda" else []
        out = self.call("build", model, "-o", engine, "--device", self.arguments.device, *target, "--fp16", "--json", *more, hidden=True)
        problems = json.loads(out)["report"]["problems"]
        return engine, f"{sum('database' in p['reason'] for p in problems)}/{len(problems)}"


def measure(arguments, folder):
    import redline

    outcome = part.Outcome(["network", "tuned here us", "built elsewhere us", "ratio", "by records", "difference",
                            "with the tuned build's records us", "ratio", "by records"])
    builder = Builder(arguments, pathlib.Path(folder))
    prior = pathlib.Path(folder) / f"{arguments.arch}.jsonl"
    for name, sizes in [("tiny", {"batch": 1, "seq": 16})] if arguments.quick else CASES:
        network = sized.load(name, folder)
        model = pathlib.Path(folder) / "static.onnx"
        part.fix_sizes(network.path, sizes, model)
        tuned = builder.tuned(model)
        if arguments.device == "cuda":
            builder.call("tune", "prior", prior, builder.database, "--arch", arguments.arch)
        else:
            prior.write_text("")  # a CPU has no records of an architecture
        shipped, by_shipped = builder.crossed(model, "shipped", "--no-tuning-db")
        informed, by_own = builder.crossed(model, "informed", "--tuning-db", prior)
        feed = network.feed(sizes)
        want, sessions, errors = network.expected(feed), [], []
        for engine in (tuned, shipped, informed):
            sessions.append(redline.load(engine, device=arguments.device))
            errors.append(part.relative(next(iter(sessions[-1].run(feed).values())), want))
        rounds = [[session.time_kernels() for session in sessions] for _ in range(ROUNDS + 1)][1:]
        us = [statistics.median(column) for column in zip(*rounds, strict=True)]
        ratios = [x / us[0] if us[0] else 0.0 for x in us]
        limit = max(part.TOLERANCE["fp16"], part.relative(network.expected(feed, True), want))
        failures = [f"{name}: differs by {error:.1e}" for error in errors if error > limit]
        failures += [f"{name}: {ratios[1]:.2f} of the tuned engine's time"] if ratios[1] > LIMIT else []
        outcome.add([f"{name} b1 fp16", f"{us[0]:.1f}", f"{us[1]:.1f}", f"{ratios[1]:.2f}", by_shipped, f"{max(errors):.1e}",
                     f"{us[2]:.1f}", f"{ratios[2]:.2f}", by_own], failures)
    if arguments.records:
        arguments.records.mkdir(parents=True, exist_ok=True)
        (arguments.records / prior.name).write_bytes(prior.read_bytes())
    outcome.also = "ratios " + ", ".join(row[3] for row in outcome.rows)
    return outcome


def main():
    options = part.parser(__doc__)
    options.add_argument("--arch", default="sm_90a")
    options.add_argument("--records", type=pathlib.Path, help="folder for the records that a cross-build needs")
    return part.run("cross", "Built elsewhere", options.parse_args(), measure)


if __name__ == "__main__":
    sys.exit(main())
