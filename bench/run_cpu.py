#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""CPU latency of Redline, ONNX Runtime and OpenVINO on real models, in one run.

The runtimes take turns in short blocks, so that a change of clock or load meets all of them alike. A
block begins with a pause and an uncounted run: worker threads of the runtime before may still spin.
"""

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import subprocess
import sys
import time

import models
import numpy as np
import peers

ROOT = pathlib.Path(__file__).resolve().parents[1]
BLOCK_RUNS = 5
PAUSE_SECONDS = 0.02
WARM_UP_SECONDS = 0.5
SECONDS = 1.0  # at least this long, and at least --runs, for each runtime and case
TOLERANCE = 1e-4
# What is measured by default; --models names others.
NAMES = [
    "ppocr_det",
    "ppocr_cls",
    "ppocr_rec",
    "magika",
    "minilm",
    "light_resnet50",
    "light_densenet121",
    "light_squeezenet",
    "light_shufflenet",
    "light_inception_v2",
]


@dataclasses.dataclass(frozen=True)
class Times:
    median_ms: float
    p25_ms: float
    p75_ms: float
    min_ms: float
    runs: int
    difference: float  # largest from ONNX Runtime, relative to its largest value

    @classmethod
    def of(cls, seconds, difference):
        ms = 1e3 * np.array(seconds)
        low, median, high = np.percentile(ms, [25, 50, 75])
        return cls(median, low, high, ms.min(), ms.size, difference)


def measure(model, case, runtimes, threads, least_runs):
    """{runtime: Times} for one input of one model."""
    content, feed = model.load(), model.cases[case]()
    runs = {name: peer.prepare(content, feed, threads) for name, peer in runtimes.items()}
    outputs = {name: [np.array(o) for o in run(feed)] for name, run in runs.items()}
    seconds = {name: [] for name in runs}
    for name, run in runs.items():
        end = time.perf_counter() + WARM_UP_SECONDS
        while time.perf_counter() < end:
            run(feed)
    while any(len(s) < least_runs or sum(s) < SECONDS for s in seconds.values()):
        for name, run in runs.items():
            time.sleep(PAUSE_SECONDS)
            run(feed)
            for _ in range(BLOCK_RUNS):
                start = time.perf_counter()
                run(feed)
                seconds[name].append(time.perf_counter() - start)
    expected = outputs["onnxruntime"]
    return {name: Times.of(s, relative_difference(outputs[name], expected)) for name, s in seconds.items()}


def relative_difference(outputs, expected):
    if [o.shape for o in outputs] != [e.shape for e in expected]:
        return math.inf
    return max(
        float(np.abs(o - e).max() / np.abs(e).max()) for o, e in zip(outputs, expected, strict=True)
    )


def table(results, names):
    """Markdown: a row for each model and input."""
    header = ["model", "input", *(f"{n} ms (quartiles)" for n in names), "Redline / ORT", "difference"]
    rows = [header, ["---"] * 2 + ["---:"] * (len(header) - 2)]
    for (model, case), times in results.items():
        cells = [
            f"{t.median_ms:.2f} ({t.p25_ms:.2f}–{t.p75_ms:.2f})" for t in (times[n] for n in names)
        ]
        rows.append([model, case, *cells, f"{ratio(times):.2f}", f"{times['redline'].difference:.0e}"])
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    rows[1] = ["-" * w if i < 2 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    padded = ([cell.ljust(w) for cell, w in zip(row, widths, strict=True)] for row in rows)
    return "\n".join("| " + " | ".join(row) + " |" for row in padded)


def ratio(times, peer="onnxruntime"):
    return times["redline"].median_ms / times[peer].median_ms


def summary(results, names):
    lines = []
    for peer in names[1:]:
        ratios = [ratio(times, peer) for times in results.values()]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        lines.append(f"Redline / {peer}: geometric mean {mean:.2f}, worst {max(ratios):.2f}")
    return lines


def report(about, results, names):
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{about['cpu']}, {about['threads']} threads; {versions}.",
        f"Commit {about['commit']}, {about['date']}, load {about['load']:.1f}.",
        "",
        table(results, names),
        "",
        *(f"- {line}" for line in summary(results, names)),
    ]
    return "\n".join(lines)


def write(folder, about, results, text):
    folder.mkdir(parents=True, exist_ok=True)
    entries = [
        {"model": model, "input": case, **{n: dataclasses.asdict(t) for n, t in times.items()}}
        for (model, case), times in results.items()
    ]
    (folder / "cpu.json").write_text(json.dumps({**about, "results": entries}, indent=1) + "\n")
    (folder / "cpu.md").write_text(f"# CPU latency\n\n{text}\n")


def environment(runtimes, threads):
    def git(*arguments):
        result = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        return result.stdout.strip()

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else ""),
        "load": os.getloadavg()[0],
        "versions": {name: peer.VERSION for name, peer in runtimes.items()},
    }


def cpu_name():
    """The model name, and the vector extensions, by which hypervisors' vague names are told apart."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    fields = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = fields.get("flags", "").split()
    known = [f for f in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile") if f in flags]
    numbers = f"family {fields.get('cpu family')}, model {fields.get('model')}"
    return f"{fields.get('model name')} ({numbers}; {', '.join(known)})"


def load_peers():
    found = {}
    for name in peers.ORDER:
        try:
            found[name] = peers.load(name)
        except ModuleNotFoundError as error:
            if name != "openvino":
                sys.exit(f"bench: {error}")
            print("bench: openvino is not installed, so it is left out", file=sys.stderr)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=models.names(), metavar="NAME")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runs", type=int, default=30, help="at least so many of each (%(default)s)")
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        help="folder for cpu.json and cpu.md (default: bench/results, unless --models is given)",
    )
    arguments = parser.parse_args()
    output = arguments.output or (None if arguments.models else ROOT / "bench" / "results")

    runtimes = load_peers()
    about = environment(runtimes, arguments.threads)
    results = {}
    for name in arguments.models or NAMES:
        model = models.get(name)
        for case in model.timed:
            times = measure(model, case, runtimes, arguments.threads, arguments.runs)
            results[name, case] = times
            print(name, case, *(f"{n} {t.median_ms:.2f} ms" for n, t in times.items()), file=sys.stderr)

    text = report(about, results, list(runtimes))
    print(text)
    if output:
        write(output, about, results, text)
    wrong = [k for k, times in results.items() if not times["redline"].difference <= TOLERANCE]
    if wrong:
        sys.exit(f"bench: Redline differs from ONNX Runtime by more than {TOLERANCE}: {wrong}")


if __name__ == "__main__":
    main()
