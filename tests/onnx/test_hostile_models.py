# SPDX-License-Identifier: Apache-2.0
"""Small models that ask for much: refused with a reason or imported, soon, and without a crash."""

import pathlib
import subprocess

import pytest
import redline
from onnx import TensorProto, helper

PROGRAM = pathlib.Path(redline.__file__).parents[2] / "bin" / "redline"
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("f", 1)]
SECONDS = 60  # of a slow machine under a sanitizer; all take under a second elsewhere


def check(tmp_path, model):
    path = tmp_path / "m.onnx"
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    done = subprocess.run([PROGRAM, "check", path], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout + done.stderr


def floats(name):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1])


def model_of(nodes, functions=(), initializers=(), sparse=(), inputs=("x",), output="y"):
    graph = helper.make_graph(
        nodes, "g", [floats(i) for i in inputs], [floats(output)], initializers, sparse_initializer=sparse
    )
    return helper.make_model(graph, functions=list(functions), opset_imports=OPSETS)


def function(name, nodes):
    return helper.make_function("f", name, ["a"], ["b"], nodes, OPSETS)


def call(name, source, target):
    return helper.make_node(name, [source], [target], domain="f")


def test_functions_that_double(tmp_path):
    functions = [function(f"f{i}", [call(f"f{i + 1}", "a", "c"), call(f"f{i + 1}", "c", "b")]) for i in range(40)]
    functions.append(function("f40", [helper.make_node("Neg", ["a"], ["b"])]))
    assert "too many nodes" in check(tmp_path, model_of([call("f0", "x", "y")], functions))


def test_a_function_that_calls_itself_twice(tmp_path):
    own = function("f0", [call("f0", "a", "c"), call("f0", "c", "b")])
    assert "calls itself" in check(tmp_path, model_of([call("f0", "x", "y")], [own]))


def test_functions_that_call_each_other(tmp_path):
    functions = [function("f0", [call("f1", "a", "b")]), function("f1", [call("f0", "a", "b")])]
    assert "calls itself" in check(tmp_path, model_of([call("f0", "x", "y")], functions))


def test_subgraphs_that_functions_nest(tmp_path):
    def branch(name, target):
        return helper.make_graph([call(name, "a", target)], "t", [], [floats(target)])

    functions = []
    for i in range(60):
        chosen = helper.make_node(
            "If", ["c"], ["b"], then_branch=branch(f"f{i + 1}", "t"), else_branch=branch("f60", "e")
        )
        functions.append(function(f"f{i}", [helper.make_node("Constant", [], ["k"], value_int=1)]))
        functions[-1].node.extend([helper.make_node("Cast", ["k"], ["c"], to=TensorProto.BOOL), chosen])
    functions.append(function("f60", [helper.make_node("Neg", ["a"], ["b"])]))
    said = check(tmp_path, model_of([call("f0", "x", "y")], functions))
    assert "nest deeper than" in said


@pytest.mark.parametrize("depth", [16, 31])
def test_loops_in_loops(tmp_path, depth):
    def loop(level):
        if level == 0:
            return helper.make_node("Concat", ["x", "x"], ["y0"], axis=0)
        grows = helper.make_tensor_value_info(f"s{level}", TensorProto.FLOAT, None)
        result = helper.make_tensor_value_info(f"r{level}", TensorProto.FLOAT, None)
        nodes = [
            loop(level - 1),
            helper.make_node("Identity", [f"ci{level}"], [f"co{level}"]),
            helper.make_node("Concat", [f"s{level}", f"y{level - 1}"], [f"r{level}"], axis=0),
        ]
        condition = [helper.make_tensor_value_info(f"c{way}{level}", TensorProto.BOOL, []) for way in "io"]
        trip = helper.make_tensor_value_info(f"i{level}", TensorProto.INT64, [])
        body = helper.make_graph(nodes, "b", [trip, condition[0], grows], [condition[1], result])
        return helper.make_node("Loop", ["n", "", "x"], [f"y{level}"], body=body)

    trips = helper.make_tensor("n", TensorProto.INT64, [], [2])
    assert "Loop" in check(tmp_path, model_of([loop(depth)], initializers=[trips], output=f"y{depth}"))


def test_thousands_of_unknown_ops(tmp_path):
    nodes = [helper.make_node(f"Op{i}", ["x"], [f"v{i}"]) for i in range(20000)]
    assert "Op19999" in check(tmp_path, model_of(nodes, output="v0"))


def test_thousands_of_attributes(tmp_path):
    node = helper.make_node("Neg", ["x"], ["y"])
    node.attribute.extend(helper.make_attribute(f"a{i}", i) for i in range(60000))
    assert "has 60000 attributes" in check(tmp_path, model_of([node]))


def test_a_long_chain_from_its_end(tmp_path):
    names = ["x", *(f"v{i}" for i in range(1, 20000)), "y"]
    nodes = [helper.make_node("Neg", [a], [b]) for a, b in zip(names, names[1:])]
    assert "20000" in check(tmp_path, model_of(nodes[::-1]))


def test_a_sparse_tensor_of_gigabytes(tmp_path):
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [500_000_000])
    model = model_of([helper.make_node("Neg", ["w"], ["y"])], sparse=[sparse], inputs=())
    assert "when made dense" in check(tmp_path, model)


def test_sizes_that_double_without_end(tmp_path):
    names = ["x", *(f"v{i}" for i in range(1, 3000)), "y"]
    nodes = [helper.make_node("Concat", [a, a], [b], axis=0) for a, b in zip(names, names[1:])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    check(tmp_path, helper.make_model(graph, opset_imports=OPSETS))


def test_names_with_a_zero_byte(tmp_path):
    node = helper.make_node("Neg", ["x\0"], ["y\0z"], name="a\0b")
    assert "Neg" in check(tmp_path, model_of([node], inputs=("x\0",), output="y\0z"))
