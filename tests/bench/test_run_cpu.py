# SPDX-License-Identifier: Apache-2.0
"""bench/run_cpu.py on made runtimes: what it times, compares and prints."""

import json
import pathlib
import sys
import types

import numpy as np
import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "bench"))

import models  # noqa: E402
import run_cpu  # noqa: E402

MODEL = models.Model(
    name="made",
    load=lambda: b"content",
    cases={"x": lambda: {"x": np.array([1.0, -4.0])}},
    timed=("x",),
    decide=lambda outputs: None,
)


def runtime(factor):
    def prepare(model, feed, threads):
        assert (model, threads) == (b"content", 2)
        return lambda inputs: [inputs["x"] * factor]

    return types.SimpleNamespace(prepare=prepare, VERSION="1")


@pytest.fixture
def quick(monkeypatch):
    for name in ("PAUSE_SECONDS", "WARM_UP_SECONDS", "SECONDS"):
        monkeypatch.setattr(run_cpu, name, 0)


def times(median, difference=0.0):
    return run_cpu.Times(median, median, median, median, 30, difference)


def test_measures_each_runtime_as_often_and_compares_with_onnxruntime(quick):
    runtimes = {"redline": runtime(1.5), "onnxruntime": runtime(2), "openvino": runtime(2)}
    measured = run_cpu.measure(MODEL, "x", runtimes, 2, 30)
    assert {n: t.runs for n, t in measured.items()} == dict.fromkeys(runtimes, 30)
    assert measured["redline"].difference == pytest.approx(0.25)
    assert measured["openvino"].difference == 0


def test_another_shape_is_an_infinite_difference():
    assert run_cpu.relative_difference([np.zeros(2)], [np.zeros((1, 2))]) == np.inf


def test_times_are_quartiles_in_milliseconds():
    found = run_cpu.Times.of([0.001, 0.002, 0.003, 0.004, 0.005], 0)
    assert (found.min_ms, found.p25_ms, found.median_ms, found.p75_ms) == (1, 2, 3, 4)


def test_summary_is_the_geometric_mean():
    results = {
        ("a", "x"): {"redline": times(1.0), "onnxruntime": times(2.0)},
        ("b", "x"): {"redline": times(4.0), "onnxruntime": times(2.0)},
    }
    names = ["redline", "onnxruntime"]
    assert run_cpu.summary(results, names) == ["Redline / onnxruntime: geometric mean 1.00, worst 2.00"]
    lines = run_cpu.table(results, names).split("\n")
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1


def test_what_is_written_can_be_read(tmp_path):
    results = {("a", "x"): {"redline": times(1.0), "onnxruntime": times(2.0)}}
    about = run_cpu.environment({"redline": runtime(1), "onnxruntime": runtime(1)}, 2)
    text = run_cpu.report(about, results, ["redline", "onnxruntime"])
    run_cpu.write(tmp_path, about, results, text)
    read = json.loads((tmp_path / "cpu.json").read_text())
    assert read["results"][0]["redline"]["median_ms"] == 1
    assert read["cpu"] in (tmp_path / "cpu.md").read_text()


def test_the_default_models_exist():
    assert set(run_cpu.NAMES) <= set(models.names())
