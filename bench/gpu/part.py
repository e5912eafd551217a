# SPDX-License-Identifier: Apache-2.0
"""What the parts of ./dev gpu-test that are Python programs share: options, models, the verdict.

A part prints its table, ends with exit code 1 when something misses its bar, and writes its table and one line
for bench/results/gpu_test.md to the folder that --output names. All of them run with `--device cpu --quick` too,
on small models that need neither torch nor a GPU: that is how their own code is tested.
"""

import argparse
import dataclasses
import pathlib
import sys
import tempfile
import time

import numpy as np
import onnx

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "bench" / "gpu")]

TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2}


@dataclasses.dataclass
class Outcome:
    """What a part found: one row for each case, and what missed its bar in words."""

    head: list
    rows: list = dataclasses.field(default_factory=list)
    failures: list = dataclasses.field(default_factory=list)
    also: str = ""  # beside the number of cases, in one line
    cases: int = 0  # 0: as many as rows

    def add(self, row, failures=()):
        self.rows.append([str(cell) for cell in row])
        self.failures += failures
        print("| " + " | ".join(self.rows[-1]) + " |", flush=True)

    def table(self):
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def relative(got, want):
    """The largest difference as a part of the largest value; infinite for what cannot be compared."""
    if got.shape != want.shape:
        return float("inf")
    difference = np.max(np.abs(got.astype(np.float64) - want), initial=0)
    return float(difference / max(np.max(np.abs(want), initial=0), 1e-30)) if np.isfinite(difference) else float("inf")


def fix_sizes(path, sizes, to):
    """The same model for these sizes alone."""
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
            elif dim.dim_param:
                dim.ClearField("dim_param")
    onnx.save(model, to)


def parser(description):
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options.add_argument("--redline", help="the program, for the parts that start it")
    options.add_argument("--output", type=pathlib.Path, help="folder for the table and the line of the record")
    options.add_argument("--quick", action="store_true", help="small models and few runs: tests the part itself")
    return options


def run(name, title, arguments, measure):
    """Calls measure(arguments, folder), prints and writes; the exit code."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="redline-") as folder:
        outcome = measure(arguments, pathlib.Path(folder))
    seconds = time.perf_counter() - started
    text = f"{outcome.table()}\n\n" + "".join(f"- misses: {failure}\n" for failure in outcome.failures)
    print(f"\n{title}\n\n{text}", flush=True)
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / f"{name}.md").write_text(text)
        cells = (outcome.cases or len(outcome.rows), len(outcome.failures), outcome.also, round(seconds))
        (arguments.output / f"{name}.row").write_text("\t".join(map(str, cells)) + "\n")
    return 1 if outcome.failures else 0
