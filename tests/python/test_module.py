# SPDX-License-Identifier: Apache-2.0
"""The Python package as a module: what it exports, its types, threads, callbacks, DLPack."""

import ast
import inspect
import pathlib
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

import redline
from redline import _redline

FOLDER = pathlib.Path(redline.__file__).parent
STUB = FOLDER / "_redline.pyi"
F = TensorProto.FLOAT


def model(op, inputs, output, **attributes):
    infos = [helper.make_tensor_value_info(name, F, shape) for name, shape in inputs.items()]
    graph = helper.make_graph([helper.make_node(op, list(inputs), ["y"], name="the_node", **attributes)],
                              "g", infos, [helper.make_tensor_value_info("y", F, output)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


# Exports


@pytest.mark.skipif(not STUB.exists(), reason="a sanitized module exports its run time's symbols")
def test_only_the_entry_point_is_exported():
    out = subprocess.run(["nm", "-D", "--defined-only", _redline.__file__],
                         capture_output=True, text=True, check=True).stdout
    assert [line.split()[-1] for line in out.splitlines()] == ["PyInit__redline"]


def test_no_protobuf_inside():
    out = subprocess.run(["nm", "-DC", _redline.__file__], capture_output=True, text=True, check=True).stdout
    assert "protobuf" not in out
    assert "protobuf" not in subprocess.run(["ldd", _redline.__file__], capture_output=True, text=True).stdout


# Types


def members_of_stub():
    """{"Session.run": parameter names}, {"Session"}, ... of the stub."""
    found = {}
    for statement in ast.parse(STUB.read_text()).body:
        if isinstance(statement, ast.FunctionDef):
            found[statement.name] = [a.arg for a in statement.args.args]
        if isinstance(statement, ast.AnnAssign):
            found[statement.target.id] = None
        if isinstance(statement, ast.ClassDef):
            found[statement.name] = None
            for member in statement.body:
                if isinstance(member, ast.FunctionDef):
                    found[f"{statement.name}.{member.name}"] = [a.arg for a in member.args.args]
    return found


@pytest.mark.skipif(not STUB.exists(), reason="a sanitized build makes no stub")
def test_stub_and_module_agree():
    stub = members_of_stub()
    module = set()
    for name, thing in vars(_redline).items():
        if name.startswith("__") and name != "__version__":
            continue
        module.add(name)
        if isinstance(thing, type) and thing is not _redline.Error:
            module |= {f"{name}.{member}" for member in vars(thing) if not member.startswith("_")}
    public = {n for n in stub if not n.split(".")[-1].startswith("_") or n == "__version__"}
    assert public == module
    assert stub["Session.run"] == ["self", "inputs", "outputs"]
    assert "typing.Any" in STUB.read_text() or "Any" in STUB.read_text()


@pytest.mark.skipif(not STUB.exists(), reason="a sanitized build makes no stub")
def test_every_function_of_the_stub_is_annotated():
    for statement in ast.walk(ast.parse(STUB.read_text())):
        if isinstance(statement, ast.FunctionDef):
            assert statement.returns is not None, statement.name
            for argument in statement.args.args:
                assert argument.arg == "self" or argument.annotation is not None, statement.name


def test_the_package_is_typed():
    assert (FOLDER / "py.typed").exists()
    for name in redline.__all__:
        thing = getattr(redline, name)
        if inspect.isfunction(thing):
            signature = inspect.signature(thing)
            assert signature.return_annotation is not inspect.Signature.empty
            for parameter in signature.parameters.values():
                assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter})"


# Threads


def slow_session():
    n = 1200
    engine = redline.build(model("MatMul", {"a": [n, n], "b": [n, n]}, [n, n]), opt_level=0, threads=1)
    return engine, {name: np.ones((n, n), np.float32) for name in "ab"}


def test_the_gil_is_released_while_running():
    engine, inputs = slow_session()
    session = engine.create_session()
    seconds = []

    def run():
        start = time.perf_counter()
        session.run(inputs)
        seconds.append(time.perf_counter() - start)

    thread = threading.Thread(target=run)
    thread.start()
    last, longest_gap = time.perf_counter(), 0.0
    while thread.is_alive():
        time.sleep(0.001)
        now = time.perf_counter()
        longest_gap = max(longest_gap, now - last)
        last = now
    assert seconds[0] > 0.1, "too quick to tell"
    assert longest_gap < 0.5 * seconds[0]


def test_a_session_in_use_is_refused_to_another_thread():
    engine, inputs = slow_session()
    session = engine.create_session()
    thread = threading.Thread(target=session.run, args=(inputs,))
    thread.start()
    refused = 0
    while thread.is_alive():
        try:
            session.run({name: x[:0] for name, x in inputs.items()})
        except redline.Error as error:
            refused += "is running in another thread" in str(error)
        time.sleep(0.005)
    assert refused > 0
    np.testing.assert_array_equal(session.run(inputs)["y"][0, :3], [1200, 1200, 1200])


def test_sessions_of_one_engine_in_many_threads():
    engine = redline.build(model("Add", {"a": ["n"], "b": ["n"]}, ["n"]))
    wrong = []

    def work(number):
        session = engine.create_session()
        for n in range(1, 50):
            a = np.full(n, number, np.float32)
            if not np.array_equal(session.run({"a": a, "b": a})["y"], 2 * a):
                wrong.append((number, n))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Callbacks and errors


def test_progress_may_cancel():
    with pytest.raises(redline.Error) as caught:
        redline.build(model("Relu", {"x": [2]}, [2]), progress=lambda phase, fraction: False)
    assert caught.value.code == "cancelled"


def test_an_exception_of_progress_comes_out():
    def progress(phase, fraction):
        raise KeyError(phase)

    with pytest.raises(KeyError, match="import"):
        redline.build(model("Relu", {"x": [2]}, [2]), progress=progress)


def test_callbacks_are_let_go():
    class Progress:
        def __call__(self, phase, fraction):
            pass

    progress, log = Progress(), Progress()
    before = sys.getrefcount(progress), sys.getrefcount(log)
    engine = redline.build(model("Relu", {"x": [2]}, [2]), progress=progress, log=log)
    assert sys.getrefcount(progress) == before[0]
    del engine
    assert sys.getrefcount(log) == before[1]


def test_verbose_messages_are_asked_for():
    relu = model("Relu", {"x": ["n"]}, ["n"])
    messages = []
    redline.build(relu, log=lambda *message: messages.append(message), device="cpu")
    assert messages == []
    redline.build(relu, log=lambda *message: messages.append(message), device="cpu", verbose=True)
    assert any(severity == "verbose" and "pass dce" in text for severity, text in messages)


@pytest.mark.parametrize("options, why", [
    ({"shapes": {"z": (1, 2, 3)}}, "no size of an input is called 'z'; there are: 'n'"), ({"sizes": {"z": 3}}, "called 'z'"),
    ({"sizes": {"n": -3}}, "size of 'n' is -3"), ({"opt_level": 9}, "level is 9, expected 0 to 5"),
    ({"build_time": -1}, "build time is -1"), ({"build_time": float("nan")}, "build time is"),
    ({"check_range": True}, "only fp16"), ({"shapes": {"n": (3, 2, 1)}}, "do not fall")])
def test_settings_that_no_build_can_follow(options, why):
    with pytest.raises(redline.Error, match=why):
        redline.build(model("Relu", {"x": ["n"]}, ["n"]), **options)


def test_the_record_of_an_error(tmp_path):
    bad = model("Reluu", {"x": [2]}, [2])
    path = tmp_path / "bad.onnx"
    path.write_bytes(bad.SerializeToString())
    with pytest.raises(redline.Error) as caught:
        redline.load(path)
    assert (caught.value.code, caught.value.node) == ("unsupported", "the_node")
    assert caught.value.position == str(path)


def test_the_builder_names_the_position():
    builder = redline.GraphBuilder()
    x = builder.input("x", "float32", [2, 3])
    builder.set_position("net.txt:7")
    with pytest.raises(redline.Error) as caught:
        builder.op("matmul", [x, x], name="product")
    assert (caught.value.position, caught.value.node) == ("net.txt:7", "product")


def test_a_graph_is_built_with_options(tmp_path):
    builder = redline.GraphBuilder()
    builder.output(builder.op("relu", [builder.input("x", "float16", [3])]), "y")
    engine = redline.build(builder, tmp_path / "m.engine", "cpu", opt_level=0)
    assert [step["tactic"] for step in redline.inspect(engine)["steps"]] == ["reference"]
    for session in (engine.create_session(), redline.load(tmp_path / "m.engine", device="cpu")):
        np.testing.assert_array_equal(session.run({"x": np.array([-1, 0, 2], np.float16)})["y"], [0, 0, 2])
    with pytest.raises(redline.Error, match="built its graph already"):
        redline.build(builder, device="cpu")


# DLPack


class Foreign:
    """Another library's tensor: DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack_in_and_out():
    session = redline.load(model("Relu", {"x": [2, 3]}, [2, 3]))
    x = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)
    y = session.run({"x": Foreign(x)})["y"]
    np.testing.assert_array_equal(np.from_dlpack(Foreign(y)), np.maximum(x, 0))


class OnGpu:
    """An array that says it is in the memory of a GPU."""

    def __dlpack__(self, **options):
        raise AssertionError("asked for its memory")

    def __dlpack_device__(self):
        return 2, 1


def test_a_cpu_engine_refuses_what_is_on_a_gpu():
    session = redline.load(model("Relu", {"x": [2]}, [2]), device="cpu")
    x = np.array([-1, 2], np.float32)
    with pytest.raises(redline.Error, match="input 'x' is in the memory of GPU 1, and the engine is for the CPU"):
        session.run({"x": OnGpu()})
    with pytest.raises(redline.Error, match="output 'y' cannot be kept on a GPU: the engine is for the CPU"):
        session.run({"x": x}, outputs="device")
    with pytest.raises(ValueError, match="expected 'host' or 'device'"):
        session.run({"x": x}, outputs="gpu")
    np.testing.assert_array_equal(session.run({"x": x})["y"], [0, 2])


def test_inputs_with_strides_and_without_writing():
    session = redline.load(model("Neg", {"x": [3, 2]}, [3, 2]))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(session.run({"x": x.T})["y"], -x.T)
    x.flags.writeable = False
    np.testing.assert_array_equal(session.run({"x": x.reshape(3, 2)})["y"], -x.reshape(3, 2))


def test_contiguous_inputs_are_not_copied():
    """An input of 256 MB, whose sum is a number: the peak of memory does not grow by its size."""
    script = (
        "import resource, numpy, redline, sys\n"
        "b = redline.GraphBuilder()\n"
        "x = b.input('x', 'uint8', ['n'])\n"
        "b.output(b.op('gather', [x, b.constant(numpy.array([5]))], axis=0), 'y')\n"
        "session = b.build().create_session()\n"
        "x = numpy.ones(256 << 20, numpy.uint8)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert session.run({'x': x})['y'] == 1\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 << 10  # kilobytes


def test_outputs_are_kept_apart_from_the_next_run():
    session = redline.load(model("Relu", {"x": [2]}, [2]))
    first = session.run({"x": np.array([1, 2], np.float32)})["y"]
    session.run({"x": np.array([3, 4], np.float32)})
    np.testing.assert_array_equal(first, [1, 2])


# Profiles


def test_a_profile_has_each_step_and_the_parts_of_a_run():
    session = redline.load(model("Relu", {"x": [4, 8]}, [4, 8]), device="cpu", tuning_database=False)
    x = np.ones((4, 8), np.float32)
    profile = redline.profile(session, {"x": x}, runs=3)
    assert [(step["name"], step["bytes"]) for step in profile["steps"]] == [("the_node", 2 * 4 * 32)]
    assert (profile["runs"], profile["timestamps"]) == (3, False)
    assert [event["name"] for event in profile["timeline"]] == ["prepare", "the_node"]
    np.testing.assert_array_equal(session.run({"x": x})["y"], x)
    with pytest.raises(redline.Error, match="1 to 100000 runs, not 0"):
        redline.profile(session, {"x": x}, runs=0)
    with pytest.raises(redline.Error, match="input 'x'"):
        redline.profile(session, {"x": x[:2]})
    with pytest.raises(redline.Error, match="leave them out"):
        redline.build(model("Relu", {"x": [4]}, [4]), device="cpu", timestamps=True)


def test_side_streams():
    for given in (None, True, False):
        engine = redline.build(model("Relu", {"x": [4]}, [4]), device="cpu", side_streams=given)
        assert redline.build_report(engine)["streams"]["count"] == 1
