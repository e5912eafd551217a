# SPDX-License-Identifier: Apache-2.0
"""Bad models and bad inputs: one error each, which says what is wrong, where, and what was expected."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

redline = pytest.importorskip("redline", reason="the redline module is not built")

F32, I64 = TensorProto.FLOAT, TensorProto.INT64


def value(name, dtype=F32, shape=(2, 3)):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs=None, outputs=None, weights=(), opset=17, **fields):
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x")] if inputs is None else inputs,
        [value("y")] if outputs is None else outputs,
        list(weights),
    )
    opsets = [helper.make_opsetid("", opset)] if isinstance(opset, int) else opset
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **fields)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs, outputs, name=f"the_{op.lower()}", **attributes)


def error_of(call, *arguments):
    with pytest.raises(Exception) as caught:
        call(*arguments)
    assert not isinstance(caught.value, (MemoryError, SystemError))
    return str(caught.value)


RELU = model([node("Relu", ["x"], ["y"])])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(share):
    content = RELU.SerializeToString()
    error_of(redline.load, content[: int(share * len(content))])


def test_empty():
    error_of(redline.load, b"")


@pytest.mark.parametrize("seed", range(20))
def test_random_bytes(seed):
    error_of(redline.load, np.random.default_rng(seed).bytes(1000))


def test_no_such_file(tmp_path):
    path = tmp_path / "none.onnx"
    assert str(path) in error_of(redline.load, path)


def test_a_bad_file_is_named(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"\xff" * 100)
    assert "bad.onnx" in error_of(redline.load, path)


def test_cycle():
    nodes = [node("Relu", ["b"], ["a"]), node("Sigmoid", ["a"], ["b"]), node("Abs", ["b"], ["y"])]
    message = error_of(redline.load, model(nodes))
    assert "the_relu" in message or "'b'" in message


def test_undefined_name():
    message = error_of(redline.load, model([node("Relu", ["nowhere"], ["y"])]))
    assert "nowhere" in message
    assert "the_relu" in message


def test_undefined_output():
    message = error_of(redline.load, model([node("Relu", ["x"], ["z"])]))
    assert "y" in message


def test_name_defined_twice():
    nodes = [node("Relu", ["x"], ["y"]), node("Abs", ["x"], ["y"])]
    message = error_of(redline.load, model(nodes))
    assert "'y'" in message or "the_abs" in message


def test_input_defined_twice():
    error_of(redline.load, model([node("Relu", ["x"], ["y"])], inputs=[value("x"), value("x")]))


def test_type_mismatch():
    nodes = [node("Add", ["x", "i"], ["y"])]
    message = error_of(redline.load, model(nodes, inputs=[value("x"), value("i", I64)]))
    assert "the_add" in message


def test_shape_mismatch():
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    message = error_of(redline.load, model(nodes, inputs=[value("x"), value("w", F32, (4, 5))]))
    assert "the_matmul" in message


def test_rank_mismatch():
    nodes = [node("Transpose", ["x"], ["y"], perm=[0, 1, 2])]
    assert "the_transpose" in error_of(redline.load, model(nodes))


@pytest.mark.parametrize("dims", [[-1, 3], [2**62, 2**62], [2**40], [1, 2**63 - 1]])
def test_weight_dims(dims):
    weight = TensorProto(name="w", data_type=F32, dims=dims, raw_data=b"\0" * 8)
    message = error_of(redline.load, model([node("Add", ["x", "w"], ["y"])], weights=[weight]))
    assert "'w'" in message or "the_add" in message


def test_weight_data_too_short():
    weight = TensorProto(name="w", data_type=F32, dims=[2, 3], raw_data=b"\0" * 23)
    message = error_of(redline.load, model([node("Add", ["x", "w"], ["y"])], weights=[weight]))
    assert "w" in message


def test_weight_type_unknown():
    weight = TensorProto(name="w", data_type=999, dims=[2, 3], raw_data=b"\0" * 24)
    message = error_of(redline.load, model([node("Add", ["x", "w"], ["y"])], weights=[weight]))
    assert "w" in message


def test_huge_reshape():
    shape = numpy_helper.from_array(np.array([2**40, 2**40], np.int64), "s")
    nodes = [node("Expand", ["x", "s"], ["y"])]
    error_of(redline.load, model(nodes, outputs=[value("y", F32, None)], weights=[shape]))


def external(location, **fields):
    weight = TensorProto(name="w", data_type=F32, dims=[2, 3])
    weight.data_location = TensorProto.EXTERNAL
    for key, text in {"location": location, **fields}.items():
        weight.external_data.add(key=key, value=str(text))
    return model([node("Add", ["x", "w"], ["y"])], weights=[weight])


@pytest.mark.parametrize("place", ["above", "absolute", "symlink", "symlinked_folder"])
def test_external_data_outside_the_folder(tmp_path, place):
    secret = tmp_path / "secret"
    secret.write_bytes(b"\0" * 24)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    (folder / "folder").symlink_to(tmp_path)
    location = {
        "above": "../secret",
        "absolute": str(secret),
        "symlink": "link",
        "symlinked_folder": "folder/secret",
    }[place]
    onnx.save(external(location), folder / "m.onnx")
    message = error_of(redline.load, folder / "m.onnx")
    assert "w" in message
    assert location in message


def test_external_data_inside_the_folder(tmp_path):
    (tmp_path / "data").mkdir()
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "data" / "w.bin").write_bytes(b"\0" * 8 + weight.tobytes())
    onnx.save(external("data/w.bin", offset=8, length=24), tmp_path / "m.onnx")
    session = redline.load(tmp_path / "m.onnx")
    y = session.run({"x": np.ones((2, 3), np.float32)})["y"]
    np.testing.assert_array_equal(y, weight + 1)


@pytest.mark.parametrize(
    "fields",
    [{"offset": 1000}, {"offset": -1}, {"length": 25}, {"offset": 2**63}, {"length": "many"}],
)
def test_external_data_beyond_the_file(tmp_path, fields):
    (tmp_path / "w.bin").write_bytes(b"\0" * 24)
    onnx.save(external("w.bin", **fields), tmp_path / "m.onnx")
    assert "w" in error_of(redline.load, tmp_path / "m.onnx")


def test_external_data_missing(tmp_path):
    onnx.save(external("nowhere.bin"), tmp_path / "m.onnx")
    assert "nowhere.bin" in error_of(redline.load, tmp_path / "m.onnx")


def test_unknown_op():
    message = error_of(redline.load, model([node("Relo", ["x"], ["y"])]))
    assert "Relo" in message
    assert "the_relo" in message
    assert "17" in message
    assert "Relu" in message


def test_unknown_domain():
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 3)]
    message = error_of(
        redline.load, model([node("Magic", ["x"], ["y"], domain="my.domain")], opset=opsets)
    )
    assert "my.domain" in message
    assert "Magic" in message


def test_all_unknown_ops_are_reported_at_once():
    nodes = [node("Foo", ["x"], ["a"]), node("Bar", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    message = error_of(redline.load, model(nodes))
    assert "the_foo" in message
    assert "the_bar" in message
    assert "the_relu" not in message


@pytest.mark.parametrize("opset", [0, 99, 2**31])
def test_unsupported_opset(opset):
    assert str(opset) in error_of(redline.load, model([node("Relu", ["x"], ["y"])], opset=opset))


def test_no_opset():
    error_of(redline.load, model([node("Relu", ["x"], ["y"])], opset=[]))


def test_missing_attribute():
    nodes = [node("Concat", ["x", "x"], ["y"])]
    message = error_of(redline.load, model(nodes, outputs=[value("y", F32, None)]))
    assert "the_concat" in message
    assert "axis" in message


def test_attribute_of_the_wrong_type():
    message = error_of(redline.load, model([node("Softmax", ["x"], ["y"], axis="last")]))
    assert "the_softmax" in message


def test_deeply_nested_graphs():
    inner = helper.make_graph([node("Relu", ["x"], ["r"])], "g", [], [value("r")])
    for _ in range(200):
        branch = node("If", ["c"], ["r"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([branch], "g", [], [value("r")])
        if inner.ByteSize() > 1 << 20:
            break
    inputs = [value("x"), value("c", TensorProto.BOOL, [])]
    outer = node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    try:
        redline.load(model([outer], inputs=inputs))
    except Exception as error:
        assert str(error)


@pytest.fixture(scope="module")
def session():
    x, y = value("x", F32, ("n", 3)), value("y", F32, ("n", 3))
    return redline.load(model([node("Relu", ["x"], ["y"])], inputs=[x], outputs=[y]))


def feed(array, name="x"):
    return {name: array}


def test_right_inputs_run(session):
    y = session.run(feed(np.array([[-1, 0, 1]], np.float32)))["y"]
    np.testing.assert_array_equal(y, [[0, 0, 1]])


def test_missing_input(session):
    assert "'x'" in error_of(session.run, {})


def test_extra_input(session):
    array = np.zeros((1, 3), np.float32)
    assert "'z'" in error_of(session.run, {"x": array, "z": array})


def test_input_of_another_type(session):
    message = error_of(session.run, feed(np.zeros((1, 3))))
    assert "x" in message
    assert "64" in message
    assert "32" in message


def test_input_of_another_rank(session):
    assert "x" in error_of(session.run, feed(np.zeros(3, np.float32)))


def test_input_of_another_size(session):
    message = error_of(session.run, feed(np.zeros((1, 4), np.float32)))
    assert "x" in message
    assert "3" in message
    assert "4" in message


@pytest.mark.parametrize("bad", [None, "text", object(), [[1, 2], [3]]])
def test_input_that_is_no_array(session, bad):
    error_of(session.run, feed(bad))


def test_a_session_goes_on_after_an_error(session):
    error_of(session.run, feed(np.zeros((1, 4), np.float32)))
    assert session.run(feed(np.ones((5, 3), np.float32)))["y"].shape == (5, 3)


def test_symbols_that_must_agree():
    inputs = [value("x", F32, ("n", 3)), value("z", F32, ("n", 3))]
    both = redline.load(model([node("Add", ["x", "z"], ["y"])], inputs=inputs))
    feeds = {"x": np.zeros((2, 3), np.float32), "z": np.zeros((4, 3), np.float32)}
    assert "n" in error_of(both.run, feeds)


@pytest.mark.parametrize("name", ["?", "-1", "None", ""])
def test_names_that_exporters_give_to_any_size_need_not_agree(name):
    x, y = value("x", F32, (name, 3, name)), value("y", F32, (name, 3, name))
    relu = redline.load(model([node("Relu", ["x"], ["y"])], inputs=[x], outputs=[y]))
    assert relu.run({"x": np.zeros((2, 3, 4), np.float32)})["y"].shape == (2, 3, 4)


@pytest.mark.parametrize("axis", [2, -3, 10**12, -(2**63)])
def test_an_axis_that_only_the_run_tells(axis):
    inputs = [value("x"), value("axis", I64, ())]
    session = redline.load(model([node("CumSum", ["x", "axis"], ["y"])], inputs=inputs))
    feeds = {"x": np.ones((2, 3), np.float32), "axis": np.array(axis, np.int64)}
    assert "axis" in error_of(session.run, feeds)
    feeds["axis"] = np.array(-1, np.int64)
    assert session.run(feeds)["y"][1].tolist() == [1, 2, 3]


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "cuda:", "cudax", "none"])
def test_device(device):
    assert f"unknown device '{device}'" in error_of(lambda: redline.load(RELU, device=device))


def test_device_that_is_not_here():
    error = error_of(lambda: redline.load(RELU, device="cuda:99"))
    assert "99" in error or "no NVIDIA driver" in error
