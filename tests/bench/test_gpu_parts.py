# SPDX-License-Identifier: Apache-2.0
"""The programs of bench/gpu on the CPU with small models: what they do there is what they do on a GPU."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


def run(name, tmp_path, *more):
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    # The module lies in build/<preset>/python/redline.
    program = pathlib.Path(redline.__file__).parents[2] / "bin" / "redline"
    if not program.exists():
        pytest.skip(f"{program} is not built")
    command = [sys.executable, ROOT / "bench" / "gpu" / f"{name}.py", "--device", "cpu", "--quick", "--redline", program]
    done = subprocess.run([*command, "--output", tmp_path, *more], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    cases, failed, _, seconds = (tmp_path / f"{name}.row").read_text().rstrip("\n").split("\t")
    assert int(cases) > 0 and int(failed) == 0 and int(seconds) >= 0
    return (tmp_path / f"{name}.md").read_text()


@pytest.mark.parametrize("name", ["ranges", "sessions", "load", "host", "faults", "real_models", "cross", "memory", "steps", "runtime", "device_io"])
def test_part_passes_on_the_cpu(name, tmp_path):
    assert run(name, tmp_path).startswith("| ")


def test_layers_are_taken_from_an_engine(tmp_path):
    redline = pytest.importorskip("redline", reason="the redline module is not built")
    builder = redline.GraphBuilder()
    builder.output(builder.op("relu", [builder.input("x", "float16", [3])]), "y")
    try:
        redline.build(builder, device="cuda", target="sm_90a", tuning_database=False)
    except redline.Error as error:
        pytest.skip(f"GPU kernels cannot be compiled here: {error}")
    table = run("layers", tmp_path)
    assert "| tiny | 2x10x8 | 1 | - |" in table and "(0 of 1 steps)" in table


def test_what_misses_its_bar_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench" / "gpu"), *sys.path])
    import part

    arguments = part.parser("").parse_args(["--device", "cpu", "--output", str(tmp_path)])

    def measure(arguments, folder):
        outcome = part.Outcome(["what", "us"], also="said")
        outcome.add(["a", 1])
        outcome.add(["b", 2], ["b: too slow"])
        return outcome

    assert part.run("made", "Made", arguments, measure) == 1
    assert (tmp_path / "made.row").read_text().startswith("2\t1\tsaid\t")
    assert "- misses: b: too slow" in capsys.readouterr().out


def test_differences_are_of_the_largest_value(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench" / "gpu"), *sys.path])
    import numpy as np
    import part

    want = np.array([1.0, -4.0])
    assert part.relative(np.array([1.0, -3.0]), want) == 0.25
    assert part.relative(np.array([np.nan, -4.0]), want) == float("inf")
    assert part.relative(np.zeros(3), want) == float("inf")


def test_a_wrong_place_in_a_region_is_a_miss(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "bench" / "gpu"), *sys.path])
    import memory
    import regions

    numbers = memory.Numbers(1 << 12)
    for region in regions.all_of(1 << 10, ["f32"]):
        if region.name != "transpose [0, 2, 1] of 1000x512":
            continue
        feed = [region.values(numbers, 0, 7)]
        got = feed[0].transpose(0, 2, 1).copy()
        assert memory.miss(region, feed, got) == 0
        got[0, 0, 0], got[0, 1, 0] = got[0, 1, 0], got[0, 0, 0]
        assert memory.miss(region, feed, got) > memory.TOLERANCE["f32"]
        return
    raise AssertionError("no such region")
