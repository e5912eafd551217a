# SPDX-License-Identifier: Apache-2.0
"""redline profile: its table, its JSON, its trace, and what it says to bad input."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from test_cli import make_model, run

F = TensorProto.FLOAT


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.standard_normal((64, 64), np.float32), name) for name in "vw"]
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["p"], name="first"),
        helper.make_node("Softmax", ["p"], ["q"], name="middle"),
        helper.make_node("MatMul", ["q", "w"], ["y"], name="last"),
    ]
    onnx.save(make_model(nodes, [("x", F, ["n", 64])], [("y", F, ["n", 64])], weights), tmp_path / "m.onnx")
    return tmp_path


def profile(*arguments, cwd):
    done = run("profile", *arguments, "--device", "cpu", "--no-tuning-db", "--runs", 5, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_table_and_totals(folder):
    text = profile("m.onnx", "--size", "n=32", cwd=folder)
    head, *lines = text.splitlines()[1:]
    assert head.split()[:4] == ["step", "us", "least", "share"]
    assert [line.split()[0] for line in lines[:3]] == ["0", "1", "2"]
    assert [line.split()[-1] for line in lines[:3]] == ["first", "middle", "last"]
    for part in ("all 3 steps, each alone", "a run takes", "gaps: between the steps", "roofline of cpu", "measured"):
        assert part in text
    assert "timestamps" not in text
    top = profile("m.onnx", "--size", "n=32", "--top", 1, cwd=folder)
    assert "and 2 steps more" in top
    assert sum(name in top for name in ("first", "middle", "last")) == 1


def test_json(folder):
    result = json.loads(profile("m.onnx", "--size", "n=32", "--json", cwd=folder))
    assert {"model", "device", "device_arch", "device_name", "runs", "timestamps", "rates", "steps", "serial_us", "latency"} == set(result)
    assert (result["device"], result["runs"], result["timestamps"]) == ("cpu", 5, False)
    steps = result["steps"]
    assert [step["name"] for step in steps] == ["first", "middle", "last"]
    for step in steps:
        assert 0 < step["us"]["min"] <= step["us"]["median"]
        assert step["tb_s"] == pytest.approx(step["bytes"] / step["us"]["median"] / 1e6)
        assert step["tflop_s"] == pytest.approx(step["flops"] / step["us"]["median"] / 1e6)
        assert step["roofline"] == pytest.approx(step["roofline_us"] / step["us"]["median"])
        assert step["bound"] in ("memory", "arithmetic")
        assert step["device"] == "cpu" and "chain" not in step
    assert steps[0]["flops"] == 2 * 32 * 64 * 64
    assert steps[0]["bytes"] == 4 * (32 * 64 + 64 * 64 + 32 * 64)
    assert steps[1]["bytes"] == 2 * 4 * 32 * 64
    assert sum(step["share"] for step in steps) == pytest.approx(1)
    assert sum(step["us"]["median"] for step in steps) == pytest.approx(result["serial_us"])
    latency = result["latency"]
    parts = [us for name, us in latency.items() if name not in ("run_us", "timed_run_us")]
    assert sum(parts) == pytest.approx(latency["timed_run_us"])
    assert 0 < latency["host_steps_us"] <= latency["timed_run_us"]
    assert latency["copy_in_us"] == latency["kernels_us"] == latency["copy_out_us"] == 0
    assert result["rates"]["cpu"]["tb_s"] > 0 and result["rates"]["cpu"]["products_tflop_s"]["f32"] > 0


def test_trace(folder):
    profile("m.onnx", "--trace", "t.json", cwd=folder)
    events = json.loads((folder / "t.json").read_text())["traceEvents"]
    named = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    spans = [e for e in events if e["ph"] == "X"]
    assert {named[e["tid"]] for e in spans} == {"host"}
    assert [e["name"] for e in spans] == ["prepare", "first", "middle", "last"]
    for before, after in zip(spans, spans[1:]):
        assert before["ts"] + before["dur"] <= after["ts"] + 1e-6
    assert spans[1]["args"]["op"] == "matmul"


def test_engine(folder):
    assert run("build", "m.onnx", "--device", "cpu", "--no-tuning-db", cwd=folder).returncode == 0
    assert len(json.loads(profile("m.engine", "--json", cwd=folder))["steps"]) == 3


@pytest.mark.parametrize(
    "arguments, code, says",
    [
        (["none.onnx"], 1, "cannot open 'none.onnx'"),
        (["m.onnx", "--runs", "0"], 2, "--runs"),
        (["m.onnx", "--nothing"], 2, "--nothing"),
        ([], 2, "model is required"),
        (["m.onnx", "--device", "cpu", "--timestamps"], 1, "leave them out"),
        (["m.engine", "--timestamps"], 1, "give the model instead"),
        (["m.onnx", "--device", "cpu", "--trace", "no/such/folder/t.json"], 1, "no/such/folder"),
        (["m.onnx", "--device", "cpu", "--size", "k=3"], 1, "there are: 'n'"),
        (["m.onnx", "--device", "cpu", "--input", "x=none.npy"], 1, "none.npy"),
    ],
)
def test_bad_input(folder, arguments, code, says):
    run("build", "m.onnx", "--device", "cpu", "--no-tuning-db", cwd=folder)
    done = run("profile", *arguments, cwd=folder)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1


def test_an_engine_for_a_gpu_says_what_it_needs(folder):
    built = run("build", "m.onnx", "--device", "cuda", "--target", "sm_80", "--timestamps", "--no-tuning-db", cwd=folder)
    if "NVRTC" in built.stderr:
        pytest.skip("no NVRTC here")
    assert built.returncode == 0, built.stderr
    done = run("profile", "m.engine", cwd=folder)
    assert done.returncode == 1
    assert "driver" in done.stderr or "built for sm_80" in done.stderr
    refused = run("profile", "m.engine", "--device", "cpu", cwd=folder)
    assert refused.returncode == 1
    assert "was built for a GPU (sm_80), not for the CPU; build it again for that" in refused.stderr
