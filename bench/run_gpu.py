#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GPU times of Redline and its peers on the same networks, weights and inputs, in one run.

Each runtime's whole network is one CUDA graph; what is timed are replays with the inputs on the GPU. PyTorch
runs eagerly and through torch.compile (its default mode), in fp16, channels-last for images, ONNX Runtime's CUDA provider
in fp16 where it is installed (peers/*_gpu.py). Redline's outputs
in fp16 are compared with PyTorch's in f32: they may differ by 2e-2 of the largest value, or by as much as PyTorch's
own in fp16 do (random weights make some networks touchy). Needs a GPU, torch, torchvision, transformers, onnx and numpy.
"""

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bench" / "gpu"), str(ROOT / "bench")]
import networks  # noqa: E402
import peers  # noqa: E402
from peers import torch_graph  # noqa: E402

TOLERANCE = 2e-2


def redline(program, *arguments, **options):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, **options)
    if done.returncode:
        how = f"exit code {done.returncode}" if done.returncode > 0 else f"signal {-done.returncode}"
        raise RuntimeError(f"redline {arguments[0]}: {how}: {done.stderr.strip()[-1500:]}")
    return done.stdout


@dataclasses.dataclass
class Network:
    """What a peer is given."""

    module: object
    inputs: object
    folder: pathlib.Path

    def export(self, half=False):
        module, x = self.module, self.inputs
        if half:
            module, x = module.cuda().half(), x.cuda().half() if x.is_floating_point() else x.cuda()
        path = self.folder / ("half.onnx" if half else "m.onnx")
        torch.onnx.export(module, (x,), path, input_names=["x"], output_names=["y"], opset_version=17, dynamo=False)
        return path


def run_redline(program, model, inputs, folder, precision, records):
    """Builds with empty caches, then with warm ones, runs and times. The file `records` gets what was measured."""
    engine, cache = folder / "m.engine", folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    env = dict(os.environ, XDG_CACHE_HOME=str(cache))
    flags = ["--device", "cuda", f"--{precision}"]
    result = {}
    for kind in ("cold", "warm"):
        start = time.perf_counter()
        report = json.loads(redline(program, "build", model, "-o", engine, *flags, "--json", env=env))
        result[f"{kind}_build_s"] = time.perf_counter() - start
        if kind == "cold":
            result |= {key: report["report"][key] for key in ("timing_seconds", "check_seconds")}
    if records:
        with open(records, "ab") as file:
            file.write((cache / "redline" / "tuning.jsonl").read_bytes())
    np.save(folder / "x.npy", inputs.numpy())
    redline(program, "run", engine, "--input", f"x={folder / 'x.npy'}", "--output-dir", folder / "out")
    result["y"] = np.load(folder / "out" / "y.npy")
    timed = json.loads(redline(program, "bench", engine, "--input", f"x={folder / 'x.npy'}", "--duration", 0.5, "--json"))
    result["us"] = timed["kernels_us"]["median"]
    result["spread"] = [timed["kernels_us"]["min"], timed["kernels_us"]["max"]]
    result["end_to_end_ms"] = timed["latency_ms"]["median"]
    steps = json.loads(redline(program, "inspect", engine, "--json"))["steps"]
    result["steps"] = [{k: s.get(k) for k in ("op", "tactic", "us", "error", "config")} | {"kernels": len(s.get("kernels", []))}
                       for s in steps if s["tactic"] != "view"]
    return result


def run_peer(peer, network):
    ready = peer.prepare(network)
    times = torch_graph.time_us(ready)
    return {"us": statistics.median(times), "spread": [min(times), max(times)], "build_s": ready.build_s, "y": ready.output()}


@torch.no_grad()
def expected(module, inputs):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    y = module.cuda()(inputs.cuda()).cpu().numpy()
    module.cpu()
    return y


def relative(y, want):
    return float(np.max(np.abs(y.astype(np.float64) - want)) / np.max(np.abs(want)))


def measure(name, arguments, found):
    """`found`: the peers that are installed, by name."""
    module, make_inputs = networks.make(name)
    torch.manual_seed(11)
    inputs = make_inputs()
    row = {"name": name}
    want = expected(module, inputs)
    with tempfile.TemporaryDirectory() as folder:
        network = Network(module, inputs, pathlib.Path(folder))
        try:
            ours = run_redline(arguments.redline, network.export(), inputs, network.folder, arguments.precision, arguments.records)
            ours["difference"] = relative(ours.pop("y"), want)
            row["redline"] = ours
        except (RuntimeError, KeyError, FileNotFoundError) as error:
            row["redline_error"] = str(error)
        for peer in arguments.peers:
            if peer not in found:
                row[peer] = None
                continue
            if peer == "compile" and name not in arguments.compile:
                continue
            try:
                result = run_peer(found[peer], network)
                result["difference"] = relative(result.pop("y"), want)
                row[peer] = result
            except Exception as error:  # a peer that fails is a row without it
                row[f"{peer}_error"] = str(error)[-500:]
    return row


def table(rows, peers):
    def misses(row):
        peer = f" ({row['eager']['difference']:.1e})" if row.get("eager") else ""
        return f"{row['redline']['difference']:.1e}{peer}"

    head = ["network", "redline us (min-max)", *[f"{p} us (min-max)" for p in peers], *[f"redline / {p}" for p in peers],
            "difference (eager's)", "cold build s", "warm build s", "end to end ms"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]

    def times(row, runtime):
        result = row.get(runtime)
        if runtime in row and result is None:
            return "not installed"
        return f"{result['us']:.1f} ({result['spread'][0]:.1f}-{result['spread'][1]:.1f})" if result else "-"

    for row in rows:
        ours = row.get("redline")
        cells = [row["name"], times(row, "redline"), *[times(row, p) for p in peers]]
        cells += [f"{ours['us'] / row[p]['us']:.2f}" if ours and row.get(p) else "-" for p in peers]
        cells += [misses(row), f"{ours['cold_build_s']:.1f}", f"{ours['warm_build_s']:.1f}",
                  f"{ours['end_to_end_ms']:.3f}"] if ours else ["-"] * 4
        lines.append("| " + " | ".join(cells) + " |")
    for row in rows:
        lines += [f"\n{row['name']}: {what}: {row[what]}" for what in row if what.endswith("_error")]
    return "\n".join(lines)


def load_peers(names):
    found = {}
    for name in names:
        try:
            found[name] = peers.load(name, "gpu")
        except ImportError as error:
            print(f"{name} is not measured: {error}", file=sys.stderr)
    return found


def about(found):
    versions = dict.fromkeys([f"torch {torch.__version__}", *[peer.VERSION for peer in found.values()]])
    driver = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True,
                            text=True).stdout.strip()
    commit = os.environ.get("REDLINE_COMMIT") or subprocess.run(
        ["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return f"{driver}; {', '.join(versions)}; commit {commit or 'unknown'}; {now}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=networks.NAMES, help="e.g. resnet50_b1; all when none is named")
    parser.add_argument("--redline", required=True, help="the built program")
    parser.add_argument("--precision", default="fp16", choices=["fp16", "bf16", "fp32"])
    parser.add_argument("--peers", nargs="*", default=peers.GPU_ORDER, choices=peers.GPU_ORDER)
    parser.add_argument("--compile", nargs="*", default=["resnet50_b1", "bert_s128_b1"],
                        help="the networks that torch.compile takes half a minute each for")
    parser.add_argument("--records", type=pathlib.Path, help="file to add the measured times of kernels to")
    parser.add_argument("--output", type=pathlib.Path, help="folder for gpu.md and gpu.json")
    arguments = parser.parse_args()
    rows, found = [], load_peers(arguments.peers)
    for name in arguments.networks:
        rows.append(measure(name, arguments, found))
        print(table(rows[-1:], arguments.peers).splitlines()[-1], flush=True)
    text = f"# GPU times, {arguments.precision}\n\n{about(found)}\n\n{table(rows, arguments.peers)}\n"
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "gpu.md").write_text(text)
        (arguments.output / "gpu.json").write_text(json.dumps({"about": about(found), "rows": rows}, indent=1))
    print(text)
    def is_right(row):
        limit = max(TOLERANCE, (row.get("eager") or {}).get("difference", 0))
        return "redline" in row and row["redline"]["difference"] <= limit

    wrong = [row["name"] for row in rows if not is_right(row)]
    if wrong:
        print("not run, or different: " + ", ".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
