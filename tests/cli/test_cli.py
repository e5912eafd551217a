# SPDX-License-Identifier: Apache-2.0
"""The redline program as a user meets it: results, one-line errors, exit codes, nothing half-written."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
import redline
from onnx import TensorProto, helper, numpy_helper

# The module lies in build/<preset>/python/redline, the program in build/<preset>/bin.
PROGRAM = pathlib.Path(redline.__file__).parents[2] / "bin" / "redline"


# Under AddressSanitizer the interpreter's own leaks are not looked for, the program's are.
ENVIRONMENT = os.environ | {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "").replace("detect_leaks=0", "")}


def run(*arguments, cwd=None, **variables):
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], cwd=cwd, env=ENVIRONMENT | variables, capture_output=True, text=True, timeout=120
    )


def make_model(nodes, inputs, outputs, initializers=(), opset=21):
    def info(name, dtype, shape):
        return helper.make_tensor_value_info(name, dtype, shape)

    graph = helper.make_graph(nodes, "g", [info(*i) for i in inputs], [info(*o) for o in outputs], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


F = TensorProto.FLOAT


@pytest.fixture
def folder(tmp_path):
    weights = numpy_helper.from_array(np.array([1, -2, 3], np.float32), "w")
    nodes = [helper.make_node("Add", ["x", "w"], ["s"], name="sum"), helper.make_node("Relu", ["s"], ["a/y"])]
    onnx.save(make_model(nodes, [("x", F, ["n", 3])], [("a/y", F, ["n", 3])], [weights]), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", np.array([[1, 1, 1], [-5, 5, -5]], np.float32))
    return tmp_path


def test_build_run_and_inspect(folder):
    assert run("build", "m.onnx", cwd=folder).returncode == 0
    for file in ("m.engine", "m.onnx"):
        done = run("run", file, "--input", "x=x.npy", "--output-dir", "out", cwd=folder)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(folder / "out" / "a_y.npy"), [[2, 0, 4], [0, 3, 0]])
    info = json.loads(run("inspect", "m.engine", "--json", cwd=folder).stdout)
    assert info["inputs"] == [{"name": "x", "type": "f32[n,3]"}]
    assert [step["op"] for step in info["steps"]] == ["fused"]


def test_report_and_tuning_database(folder):
    first = json.loads(run("build", "m.onnx", "--tuning-db", "t.jsonl", "--json", cwd=folder).stdout)
    (problem,) = first["report"]["problems"]
    chosen = problem["candidates"][problem["chosen"]]
    assert (chosen["verdict"], chosen["from_database"], problem["steps"]) == ("right", False, 1)
    assert chosen["us"] > 0
    again = json.loads(run("build", "m.onnx", "--tuning-db", "t.jsonl", "--json", cwd=folder).stdout)
    assert again["report"]["problems"][0]["candidates"][problem["chosen"]]["from_database"]
    assert again["report"]["check_seconds"] == 0
    stages = {stage["stage"]: stage["seconds"] for stage in again["report"]["stages"]}
    assert {"import", "passes", "passes/cse", "choose", "choose/pack", "save"} <= set(stages)
    assert sum(s for name, s in stages.items() if "/" not in name) <= again["seconds"] <= 60
    assert sum(s for name, s in stages.items() if name.startswith("passes/") and name.count("/") == 1) <= stages["passes"]
    step = json.loads(run("inspect", "m.engine", "--json", cwd=folder).stdout)["steps"][0]
    assert (step["us"], step["error"]) == (chosen["us"], chosen["error"])
    assert "right" in run("build", "m.onnx", "--no-tuning-db", "--report", cwd=folder).stdout
    assert run("build", "m.onnx", "--no-tuning-db", "--tuning-db", "t.jsonl", cwd=folder).returncode == 2


def test_precision(folder):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="p"), helper.make_node("Exp", ["h"], ["y"], name="e")]
    weights = numpy_helper.from_array(np.full((3, 3), 0.5, np.float32), "w")
    onnx.save(make_model(nodes, [("x", F, ["n", 3])], [("y", F, ["n", 3])], [weights]), folder / "p.onnx")
    built = run("build", "p.onnx", "--fp16", "--no-tuning-db", "--report", cwd=folder)
    assert "1 nodes compute in f16; range check: run once" in built.stdout
    assert "1 exp stay in f32: its results spread too far" in built.stdout
    done = run("run", "p.engine", "--input", "x=x.npy", "--output-dir", "out", cwd=folder)
    assert done.returncode == 0, done.stderr
    y = np.load(folder / "out" / "y.npy")
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.exp([[1.5] * 3, [-2.5] * 3]), rtol=1e-2)
    compared = run("compare", "p.onnx", "--bf16", "--no-tuning-db", "--input", "x=x.npy", "--json", cwd=folder)
    assert json.loads(compared.stdout)["tolerance"] == 1e-1
    assert compared.returncode == 0
    assert [v["op"] for v in json.loads(compared.stdout)["values"]] == ["matmul", "fused"]
    assert "f16[n,3]" in run("opt", "--all", "--fp16", "p.onnx", cwd=folder).stdout
    assert "the CPU computes" in run("compare", "p.onnx", "--tf32", cwd=folder).stderr
    built = run("build", "p.onnx", "--tf32", "--device", "cpu", "--no-tuning-db", "--report", cwd=folder)
    assert "asked for tf32, computes in f32" in built.stdout
    assert "{tf32=1}" in run("opt", "--all", "--tf32", "p.onnx", cwd=folder).stdout
    assert "tf32" not in run("opt", "--all", "p.onnx", cwd=folder).stdout
    built = run("build", "p.onnx", "--tf32", "--device", "cuda", "--target", "sm_80", "--no-tuning-db", "--report", cwd=folder)
    if "NVRTC" not in built.stderr:
        assert "1 nodes compute in tf32; range check: not run" in built.stdout
        assert "(tf32)" in run("inspect", "p.engine", cwd=folder).stdout
    assert run("build", "p.onnx", "--fp16", "--no-tuning-db", cwd=folder).returncode == 0
    assert "is an engine already" in run("run", "p.engine", "--fp16", cwd=folder).stderr
    assert run("build", "p.onnx", "--fp16", "--bf16", cwd=folder).returncode == 2


def test_tune(folder):
    run("build", "m.onnx", "--tuning-db", "a.jsonl", cwd=folder)
    run("build", "m.onnx", "--tuning-db", "b.jsonl", "--size", "n=9", cwd=folder)
    assert "2 records" in run("tune", "merge", "c.jsonl", "a.jsonl", "b.jsonl", "a.jsonl", cwd=folder).stdout
    records = json.loads(run("tune", "list", "--tuning-db", "c.jsonl", "--json", cwd=folder).stdout)
    assert [r["verdict"] for r in records] == ["right", "right"]
    explained = run("tune", "explain", "f32[9,3]", "--tuning-db", "c.jsonl", cwd=folder).stdout
    assert "f32[9,3]" in explained and "f32[1,3]" not in explained
    missing = run("tune", "explain", "no such thing", "--tuning-db", "c.jsonl", cwd=folder)
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert run("tune", cwd=folder).returncode == 2
    shipped = json.loads(run("tune", "list", "--shipped", "sm_90a", "--json", cwd=folder).stdout)
    assert len(shipped) > 50 and all(r["us"] > 0 for r in shipped)
    assert shipped[0]["problem"] in run("tune", "explain", shipped[0]["problem"], "--shipped", "sm_90", cwd=folder).stdout
    for arch, why in (("sm_80", "nothing is shipped for sm_80"), ("sm_12", "sm_12")):
        done = run("tune", "list", "--shipped", arch, cwd=folder)
        assert done.returncode == 1 and why in done.stderr
    kept = (folder / "c.jsonl").read_bytes()
    (folder / "text.jsonl").write_text("no record\n")
    os.mkfifo(folder / "pipe")
    for other, why in ((".", "not a file"), ("pipe", "not a file"), ("text.jsonl", "none of its 1 lines is a record")):
        for command in (("merge", "c.jsonl", "a.jsonl", other), ("list", "--tuning-db", other)):
            done = run("tune", *command, cwd=folder)
            assert done.returncode == 1 and why in done.stderr, (command, done.stderr)
    assert (folder / "c.jsonl").read_bytes() == kept
    done = run("build", "m.onnx", "--tuning-db", "pipe", cwd=folder)
    assert done.returncode == 0 and "tuning database is not read: pipe: not a file" in done.stderr
    done = run("tune", "prior", "none.jsonl", "c.jsonl", "--arch", "sm_90", cwd=folder)
    assert done.returncode == 1 and "no record of sm_90" in done.stderr and not (folder / "none.jsonl").exists()


def test_the_cache_lies_where_variables_say(folder):
    base = {"HOME": str(folder / "home"), "XDG_CACHE_HOME": "", "REDLINE_CACHE": ""}
    for variables, where in (
        ({}, "home/.cache/redline"),
        ({"XDG_CACHE_HOME": "relative"}, "home/.cache/redline"),
        ({"XDG_CACHE_HOME": str(folder / "xdg")}, "xdg/redline"),
        ({"XDG_CACHE_HOME": str(folder / "xdg"), "REDLINE_CACHE": str(folder / "own")}, "own"),
    ):
        assert run("build", "m.onnx", cwd=folder, **base | variables).returncode == 0
        assert (folder / where / "tuning.jsonl").stat().st_size > 0
        shutil.rmtree(folder / where)


def test_files_that_end_at_once(folder):
    run("build", "m.onnx", "--no-tuning-db", cwd=folder)
    for length, why in ((0, "the file is empty"), (1, "it ends inside its header"), (9, "it ends inside its header")):
        (folder / "cut").write_bytes((folder / "m.engine").read_bytes()[:length])
        for verb in ("run", "inspect", "check"):
            done = run(verb, "cut", cwd=folder)
            assert done.returncode == 1
            assert (why if verb != "check" or length == 0 else "is an engine, expected an ONNX model") in done.stderr


def test_what_cannot_be_meant_is_refused(folder):
    wrong_usage = (("--build-time", "nan"), ("--build-time", "-1"), ("--size", "n=99999999999999999999"),
                   ("--shapes", "n=1..2..99999999999999999999"), ("--shapes", "n=1..2"), ("--shapes", "n=-1..2..3"))
    for arguments in wrong_usage:
        done = run("build", "m.onnx", *arguments, cwd=folder)
        assert done.returncode == 2 and arguments[1] in done.stderr, arguments
    assert run("bench", "m.onnx", "--duration", "nan", cwd=folder).returncode == 2
    assert run("profile", "m.onnx", "--top", "-1", cwd=folder).returncode == 2
    refused = ((("--size", "n=2", "--size", "n=3"), "as 2 and as 3"), (("--check-range",), "only fp16"),
               (("--shapes", "n=1..2..3", "--shapes", "n=1..2..4"), "given twice"), (("--size", "z=3"), "there are: 'n'"))
    for arguments, why in refused:
        done = run("build", "m.onnx", *arguments, cwd=folder)
        assert done.returncode == 1 and why in done.stderr, arguments
    assert run("build", "m.onnx", "--shapes", "n=1..2..3", "--size", "n=9", cwd=folder).returncode == 0
    done = run("run", "m.engine", "--shapes", "n=1..2..3", cwd=folder)
    assert done.returncode == 1 and "chosen when it was built" in done.stderr


def test_verbose_says_what_was_chosen(folder):
    quiet = run("build", "m.onnx", "--device", "cpu", cwd=folder)
    assert quiet.stderr == "" and "MB for cpu, built in" in quiet.stdout
    assert "pass dce" in run("build", "m.onnx", "--verbose", cwd=folder).stderr


def test_random_inputs_are_seeded(folder):
    outputs = []
    for seed in (1, 1, 2):
        assert run("run", "m.onnx", "--seed", seed, "--size", "n=4", "--output-dir", "o", cwd=folder).returncode == 0
        outputs.append(np.load(folder / "o" / "a_y.npy"))
    assert outputs[0].shape == (4, 3)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_bench(folder):
    done = run("bench", "m.onnx", "--duration", "0.05", "--json", cwd=folder)
    latency = json.loads(done.stdout)["latency_ms"]
    order = ["min", "median", "p90", "p95", "p99", "p99.9", "max"]
    assert [latency[a] <= latency[b] for a, b in zip(order, order[1:])] == [True] * 6
    assert "throughput" in run("bench", "m.onnx", "--duration", "0.05", cwd=folder).stdout


def test_check_and_compare(folder):
    assert "2 nodes, 100.0% supported" in run("check", "m.onnx", cwd=folder).stdout
    assert json.loads(run("compare", "m.onnx", "--json", cwd=folder).stdout)["over_tolerance"] == 0


def test_check_lists_every_problem(folder):
    nodes = [helper.make_node("Reluu", ["x"], ["y"], name="first"), helper.make_node("Fancy", ["x"], ["z"], domain="my.dom")]
    onnx.save(make_model(nodes, [("x", F, [2])], [("y", F, None), ("z", F, None)]), folder / "bad.onnx")
    done = run("check", "bad.onnx", "--json", cwd=folder)
    problems = json.loads(done.stdout)["problems"]
    assert done.returncode == 1
    assert [(p["node"], p["op"], p["domain"], p["nearest"]) for p in problems][0] == ("first", "Reluu", "", "Relu")
    assert problems[1]["domain"] == "my.dom"


def test_opt_prints_text_that_reads_back(folder):
    text = run("opt", "m.onnx", "--all", cwd=folder).stdout
    (folder / "g.ir").write_text(text)
    assert run("opt", "g.ir", cwd=folder).stdout == text
    assert "fuse_tail" in run("opt", "--list").stdout
    assert run("opt", "--pass=dce", "--pass", "cse,dce", "g.ir", cwd=folder).stdout == text
    assert json.loads(run("opt", "g.ir", "--json", cwd=folder).stdout)["graph"] == text
    assert "no pass is called 'nope'" in run("opt", "g.ir", "--pass=nope", cwd=folder).stderr


BAD_RUNS = {
    "type": ("x=d.npy", "input 'x' has element type f64, expected f32"),
    "rank": ("x=r.npy", "input 'x' has rank 1 [3], expected f32[n,3]"),
    "size": ("x=s.npy", "input 'x' has size 4 at axis 1, expected 3"),
    "name": ("q=x.npy", "the model has no input 'q'; its inputs are: 'x'"),
    "file": ("x=none.npy", "cannot open 'none.npy'"),
    "damaged": ("x=bad.npy", "'bad.npy'"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_inputs(folder, case):
    np.save(folder / "d.npy", np.zeros((1, 3)))
    np.save(folder / "r.npy", np.zeros(3, np.float32))
    np.save(folder / "s.npy", np.zeros((1, 4), np.float32))
    (folder / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{")
    argument, message = BAD_RUNS[case]
    done = run("run", "m.onnx", "--input", argument, "--output-dir", "out", cwd=folder)
    assert done.returncode == 1
    assert message in done.stderr and done.stderr.count("\n") == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run"], ["run", "m.onnx", "--input", "x"],
                                       ["run", "m.onnx", "--no-such-flag"], ["run", "m.onnx", "--size", "n=-1"],
                                       ["bench", "m.onnx", "--duration", "0"], ["bench", "m.onnx", "--duration", "-1"]])
def test_wrong_usage_is_exit_code_2(folder, arguments):
    done = run(*arguments, cwd=folder)
    assert done.returncode == 2 and done.stderr


def test_options_may_come_before_the_model(folder):
    done = run("run", "--input", "x=x.npy", "--size", "n=2", "m.onnx", cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_size_or_input_that_means_nothing(folder):
    for verb in ("run", "bench", "build"):
        done = run(verb, "m.onnx", "--size", "q=3", cwd=folder)
        assert done.returncode == 1 and "no size of an input is called 'q'; there are: 'n'" in done.stderr
    done = run("run", "m.onnx", "--input", "x=x.npy", "--input", "x=x.npy", cwd=folder)
    assert done.returncode == 1 and "input 'x' is given twice" in done.stderr
    assert sorted(os.listdir(folder)) == ["m.onnx", "x.npy"]


@pytest.mark.parametrize("verb", ["build", "check", "compare", "opt"])
def test_an_engine_where_a_model_is_expected(folder, verb):
    run("build", "m.onnx", cwd=folder)
    done = run(verb, "m.engine", cwd=folder)
    assert done.returncode == 1 and "m.engine: is an engine" in done.stderr and done.stderr.count("\n") == 1


def test_a_limit_on_file_sizes(folder):
    weights = numpy_helper.from_array(np.random.default_rng(0).random(1 << 20, np.float32), "w")
    onnx.save(make_model([helper.make_node("Add", ["x", "w"], ["y"])], [("x", F, [1])], [("y", F, None)], [weights]),
              folder / "big.onnx")
    limit = f"ulimit -f 1000; exec '{PROGRAM}' build big.onnx -o big.engine"
    done = subprocess.run(["bash", "-c", limit], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1 and "cannot write 'big.engine': File too large" in done.stderr
    assert sorted(os.listdir(folder)) == ["big.onnx", "m.onnx", "x.npy"]


def test_full_disk_and_missing_folder(folder):
    done = run("build", "m.onnx", "-o", "/dev/full", cwd=folder)
    assert done.returncode == 1 and "the disk is full" in done.stderr
    done = run("build", "m.onnx", "-o", folder / "no" / "m.engine", cwd=folder)
    assert done.returncode == 1 and "No such file or directory" in done.stderr
    assert sorted(os.listdir(folder)) == ["m.onnx", "x.npy"]


def test_damaged_engines(folder):
    run("build", "m.onnx", cwd=folder)
    whole = (folder / "m.engine").read_bytes()
    (folder / "m.engine").write_bytes(whole[:300])
    assert "engine is damaged" in run("run", "m.engine", cwd=folder).stderr
    (folder / "m.engine").write_bytes(whole[:400] + bytes([whole[400] ^ 4]) + whole[401:])
    done = run("run", "m.engine", cwd=folder)
    assert done.returncode == 1 and "build it again" in done.stderr


def test_other_device(folder):
    done = run("run", "m.onnx", "--device", "tpu", cwd=folder)
    assert done.returncode == 1 and "unknown device 'tpu'; expected cpu, cuda" in done.stderr
    run("build", "m.onnx", "--device", "cpu", cwd=folder)
    done = run("run", "m.engine", "--device", "cuda", cwd=folder)
    assert done.returncode == 1 and "built for the CPU, not for 'cuda'" in done.stderr


@pytest.mark.skipif(len(redline.devices()) > 1, reason="a GPU is here")
def test_no_gpu(folder):
    done = run("run", "m.onnx", "--device", "cuda", cwd=folder)
    assert done.returncode == 1 and "NVIDIA driver" in done.stderr
    done = run("run", "m.onnx", "--device", "auto", "--output-dir", "o", "--verbose", cwd=folder)
    assert done.returncode == 0 and "using the CPU: " in done.stderr


def test_an_engine_for_a_gpu_elsewhere(folder):
    """It is built without a GPU, can be looked at, and says why it does not run."""
    done = run("build", "m.onnx", "--device", "cuda", "--target", "sm_80", cwd=folder)
    if "NVRTC" in done.stderr:
        pytest.skip("no NVRTC to compile kernels with")
    assert done.returncode == 0, done.stderr
    done = run("inspect", "m.engine", "--json", cwd=folder)
    engine = json.loads(done.stdout)
    assert engine["device"] == "cuda" and engine["device_arch"] == "sm_80"
    assert any("kernels" in step for step in engine["steps"])
    done = run("run", "m.engine", cwd=folder)
    assert done.returncode == 1 and ("sm_80" in done.stderr or "driver" in done.stderr)
    done = run("run", "m.engine", "--device", "cpu", cwd=folder)
    assert done.returncode == 1 and "built for a GPU (sm_80)" in done.stderr
    done = run("build", "m.onnx", "--device", "cuda", "--target", "sm_12", cwd=folder)
    assert done.returncode == 1 and "sm_12" in done.stderr


def test_a_gpu_elsewhere_is_chosen_for_by_records(folder):
    """What was measured on such a GPU decides, not what is preferred."""
    weights = numpy_helper.from_array(np.ones((256, 512), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(make_model([node], [("x", F, [128, 256])], [("y", F, [128, 512])], [weights]), folder / "p.onnx")
    build = ["build", "p.onnx", "--fp16", "--device", "cuda", "--target", "sm_90a", "--json"]
    done = run(*build, "--no-tuning-db", cwd=folder)
    if "NVRTC" in done.stderr:
        pytest.skip("no NVRTC to compile kernels with")
    report = json.loads(done.stdout)["report"]
    problem = next(p for p in report["problems"] if "matmul" in p["problem"])
    index = problem["chosen"] + 2
    other = problem["candidates"][index]
    record = {"problem": problem["problem"], "config": other["config"], "verdict": "right", "us": 5, "error": 0}
    versions = [f"{other['tactic']}@{version}" for version in range(1, 40)]  # the report does not say which
    lines = [json.dumps(record | {"tactic": tactic, "device": "H100, sm_90a"}) for tactic in versions]
    (folder / "here.jsonl").write_text("\n".join(lines))
    report = json.loads(run(*build, "--tuning-db", "here.jsonl", cwd=folder).stdout)["report"]
    informed = next(p for p in report["problems"] if p["problem"] == problem["problem"])
    assert informed["chosen"] == index and informed["reason"].startswith("from the database")


def test_regret_of_what_is_ranked_first(folder):
    weights = numpy_helper.from_array(np.ones((64, 32), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    onnx.save(make_model(nodes, [("x", F, [16, 64])], [("y", F, [16, 32])], [weights]), folder / "p.onnx")
    report = json.loads(run("build", "p.onnx", "--device", "cpu", "--no-tuning-db", "--json", cwd=folder).stdout)["report"]
    (problem,) = report["problems"]
    timed = [c["us"] for c in problem["candidates"] if "us" in c]
    if len(timed) < 2:
        pytest.skip("products have one tactic here")
    chosen = problem["candidates"][problem["chosen"]]["us"]
    assert problem["first_pick_us"] == timed[0] >= chosen > 0
    assert report["regret"] == {"first_picks_us": timed[0], "chosen_us": chosen}
    assert "(regret " in run("build", "p.onnx", "--device", "cpu", "--no-tuning-db", "--report", cwd=folder).stdout


def test_a_kernel_that_does_not_compile(folder):
    """Another way is taken, without a GPU too, and said; without any, the build fails."""
    weights = numpy_helper.from_array(np.ones((256, 512), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(make_model([node], [("x", F, [64, 256])], [("y", F, [64, 512])], [weights]), folder / "p.onnx")
    compiler = {"REDLINE_NVRTC": str(PROGRAM.parents[1] / "lib" / "libfake_nvrtc.so"), "REDLINE_CACHE": "/proc/none"}
    build = ["build", "p.onnx", "--fp16", "--device", "cuda", *FOR_H100, "--json"]

    def candidates_of(done):
        assert done.returncode == 0, done.stderr
        (problem,) = [p for p in json.loads(done.stdout)["report"]["problems"] if "matmul" in p["problem"]]
        return problem["chosen"], problem["candidates"]

    first, candidates = candidates_of(run(*build, cwd=folder, **compiler))
    compiler["FAKE_NVRTC_FAILS"] = run("kernels", "p.engine", cwd=folder).stdout.split("cuda.gemm")[1].split()[0]
    done = run(*build, cwd=folder, FAKE_NVRTC_FAILURES="1", **compiler)
    other, now = candidates_of(done)
    assert other != first and now[other]["verdict"] != "refused"
    assert now[first]["verdict"] == "refused" and "does not compile for sm_90a" in now[first]["reason"]
    assert f"cuda.gemm {{{candidates[first]['config']}}} cannot be made" in done.stderr
    done = run(*build, cwd=folder, **compiler)
    assert done.returncode == 1 and "does not compile for sm_90a" in done.stderr


def test_side_streams(folder):
    nodes = [helper.make_node("Softmax", [x], [y], axis=0) for x, y in (("a", "y"), ("b", "z"))]
    wide = [256, 256]  # of which neither keeps an H100 busy
    model = make_model(nodes, [("a", F, wide), ("b", F, wide)], [("y", F, wide), ("z", F, wide)], [])
    onnx.save(model, folder / "p.onnx")
    build = ["build", "p.onnx", "--device", "cuda", "--target", "sm_90a", "--no-tuning-db", "--report"]
    for option, count, why in (
        ([], 2, "predicted, there is no GPU, 1 ways tried, "),
        (["--side-streams"], 2, "as asked for, not measured\n"),
        (["--no-side-streams"], 1, "not asked for\n"),
    ):
        done = run(*build, *option, cwd=folder)
        if "NVRTC" in done.stderr:
            pytest.skip("no NVRTC to compile kernels with")
        assert f"streams {count}: {why}" in done.stdout
        shown = run("inspect", "p.engine", cwd=folder).stdout
        assert f"streams {count}\n" in shown
        assert ("(stream 1)" in shown) == (count == 2)
    done = run("inspect", "p.engine", "--side-streams", cwd=folder)
    assert "its streams were chosen when it was built" in done.stderr


def test_shapes_give_variants(folder):
    weights = numpy_helper.from_array(np.ones((256, 512), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(make_model([node], [("x", F, ["n", 256])], [("y", F, ["n", 512])], [weights]), folder / "p.onnx")
    build = ["build", "p.onnx", "--fp16", "--device", "cuda", "--target", "sm_90a", "--no-tuning-db"]
    done = run(*build, "--shapes", "n=1..64..2048", cwd=folder)
    if "NVRTC" in done.stderr:
        pytest.skip("no NVRTC to compile kernels with")
    steps = json.loads(run("inspect", "p.engine", "--json", cwd=folder).stdout)["steps"]
    assert any(variant["config"] != step["config"] for step in steps for variant in step.get("variants", []))
    assert run(*build, "--size", "n=64", cwd=folder).returncode == 0
    steps = json.loads(run("inspect", "p.engine", "--json", cwd=folder).stdout)["steps"]
    assert not any("variants" in step for step in steps)
    for wrong in ("n=1..2", "n=1..2..x", "n=-1..2..3", "n=1..2..3..4"):
        done = run(*build, "--shapes", wrong, cwd=folder)
        assert done.returncode == 2 and "MIN..OPT..MAX" in done.stderr, wrong
    done = run(*build, "--shapes", "n=5..2..9", cwd=folder)
    assert done.returncode == 1 and "do not fall" in done.stderr
    assert run("build", "p.onnx", "--shapes", "n=1..64..2048", cwd=folder).returncode == 0


def kernels_of(*arguments, cwd):
    done = run("kernels", *arguments, "--json", cwd=cwd)
    if "NVRTC" in done.stderr:
        pytest.skip("no NVRTC to compile kernels with")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FOR_H100 = ["--target", "sm_90a", "--no-tuning-db"]


def test_kernels_say_what_they_take(folder):
    weights = numpy_helper.from_array(np.ones((256, 512), np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="p"), helper.make_node("Softmax", ["h"], ["y"], name="s")]
    onnx.save(make_model(nodes, [("x", F, [128, 256])], [("y", F, [128, 512])], [weights]), folder / "p.onnx")
    kernels = kernels_of("p.onnx", "--fp16", *FOR_H100, cwd=folder)
    for kernel in kernels:  # 64 warps, 32 blocks, 64 K registers and 228 KB of shared memory
        warps = -(-kernel["threads"] // 32)
        shared = kernel["shared_bytes"] + kernel["dynamic_shared_bytes"]
        assert 0 < kernel["registers"] <= 255 and 0 < kernel["resident_blocks"] <= 32
        assert kernel["occupancy"] == kernel["resident_blocks"] * warps / 64 <= 1
        assert kernel["resident_blocks"] * (shared + 1024) <= 228 << 10
        assert kernel["resident_blocks"] * warps * 32 * kernel["registers"] <= 64 << 10
    (product,) = (k for k in kernels if k["tactic"] == "cuda.gemm")
    assert product["dynamic_shared_bytes"] > 0 and product["entry"] != product["tactic"]
    assert int(product["config"]["tile_rows"]) > 0
    text = run("kernels", "p.onnx", "--fp16", *FOR_H100, cwd=folder).stdout
    heading, *lines = text.splitlines()
    assert heading.split()[:6] == ["step", "op", "tactic", "kernel", "elements", "threads"]
    (line,) = (line for line in lines if "cuda.gemm" in line)
    for part in (product["entry"], f"{100 * product['occupancy']:.1f}%", f"tile_rows={product['config']['tile_rows']}"):
        assert f" {part} " in line
    assert f" {product['shared_bytes'] + product['dynamic_shared_bytes']} " in line
    assert run("build", "p.onnx", "--fp16", *FOR_H100, cwd=folder).returncode == 0
    assert kernels_of("p.engine", cwd=folder) == kernels
    done = run("kernels", "p.engine", "--target", "sm_80", cwd=folder)
    assert done.returncode == 1 and "its target was chosen when it was built" in done.stderr


def test_kernels_of_variants(folder):
    """Each has the numbers of elements that it is for, and all sizes have one."""
    weights = numpy_helper.from_array(np.ones((256, 512), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(make_model([node], [("x", F, ["n", 256])], [("y", F, ["n", 512])], [weights]), folder / "p.onnx")
    arguments = ["p.onnx", "--fp16", *FOR_H100, "--shapes", "n=1..64..2048"]
    products = [k for k in kernels_of(*arguments, cwd=folder) if k["tactic"] == "cuda.gemm"]
    assert len({json.dumps(k["config"]) for k in products}) > 1
    served = sorted({n for k in products for n in k["elements"]})
    assert served[0] == 512 and 64 * 512 in served and served[-1] == 2048 * 512
    text = run("kernels", *arguments, cwd=folder).stdout
    assert f"..{2048 * 512} " in text or f" {2048 * 512} " in text
    assert not any("elements" in k for k in kernels_of("p.onnx", "--fp16", *FOR_H100, cwd=folder))


def test_kernels_of_subgraphs(folder):
    def branch(op):
        node = helper.make_node(op, ["x"], ["z"], name=f"in_{op}")
        return helper.make_graph([node], op, [], [helper.make_tensor_value_info("z", F, ["n", 256])])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("Relu"), else_branch=branch("Exp"))
    inputs = [("x", F, ["n", 256]), ("c", TensorProto.BOOL, [])]
    onnx.save(make_model([node], inputs, [("y", F, ["n", 256])]), folder / "if.onnx")
    kernels = kernels_of("if.onnx", *FOR_H100, cwd=folder)
    numbers = {k["step"]: k["number"] for k in kernels if k["tactic"] == "cuda.pointwise"}
    assert numbers == {"in_Relu": "0.0.1", "in_Exp": "0.1.1"}
    assert "in_Exp" in run("kernels", "if.onnx", *FOR_H100, cwd=folder).stdout
    shown = run("inspect", "if.onnx", *FOR_H100, cwd=folder).stdout
    assert "in_Relu" in shown and "in_Exp" in shown and "0.1.1" in shown


def test_no_kernels(folder):
    assert run("build", "m.onnx", "--device", "cpu", cwd=folder).returncode == 0
    assert run("kernels", "m.engine", cwd=folder).stdout == "no kernels of a GPU: the engine is for the CPU\n"
    node = helper.make_node("StringConcat", ["x", "x"], ["y"])
    string = TensorProto.STRING
    onnx.save(make_model([node], [("x", string, ["n"])], [("y", string, ["n"])]), folder / "s.onnx")
    assert kernels_of("s.onnx", *FOR_H100, cwd=folder) == []
    shown = run("kernels", "s.onnx", *FOR_H100, cwd=folder).stdout
    assert shown == "no kernels of a GPU: all steps of the engine run on the host\n"


def test_tune_prior(folder):
    record = {"problem": "p", "tactic": "t@1", "config": "", "verdict": "right", "error": 0}
    measured = (("A, sm_90a", 5), ("B, sm_90a", 4), ("C, sm_80", 1))
    lines = [json.dumps(record | {"device": device, "us": us}) for device, us in measured]
    (folder / "there.jsonl").write_text("\n".join(lines))
    assert run("tune", "prior", "here.jsonl", "there.jsonl", "--arch", "sm_90", cwd=folder).returncode == 0
    (line,) = (folder / "here.jsonl").read_text().splitlines()
    assert json.loads(line) == record | {"device": "H100, sm_90a", "us": 4}
    done = run("tune", "prior", "n.jsonl", "there.jsonl", "--arch", "sm_12", cwd=folder)
    assert done.returncode == 1 and "sm_12" in done.stderr and not (folder / "n.jsonl").exists()


def test_interrupt_leaves_nothing(folder):
    process = subprocess.Popen([PROGRAM, "bench", "m.onnx", "--duration", "60"], cwd=folder, stdout=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=10)
    assert process.returncode == 0 and b"throughput" in output  # what was measured until then
    assert sorted(os.listdir(folder)) == ["m.onnx", "x.npy"]


def test_help_has_an_example():
    for verb in ("build", "run", "bench", "check", "inspect", "kernels", "opt", "compare", "version"):
        done = run(verb, "--help")
        assert done.returncode == 0 and f"redline {verb}" in done.stdout
