# SPDX-License-Identifier: Apache-2.0
"""Arrays of every element type go in and come out as they were."""

import ml_dtypes
import numpy as np
import pytest
from onnx import helper

redline = pytest.importorskip("redline", reason="the redline module is not built")

NAMES = [
    *("float64", "float32", "float16", "bfloat16"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float4_e2m1fn"),
    *("int64", "int32", "int16", "int8", "int4", "int2"),
    *("uint64", "uint32", "uint16", "uint8", "uint4", "uint2", "bool"),
]


def identity(dtype, shape):
    """A model that reshapes to the same shape: something runs, and every type may."""
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", elem_type, shape)],
        [helper.make_tensor_value_info("y", elem_type, shape)],
    )
    return redline.load(helper.make_model(graph, ir_version=13))


@pytest.mark.parametrize("name", NAMES)
def test_round_trip(name):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    x = np.array([[0, 1, -1], [1, -2, 0]]).astype(dtype)
    y = identity(dtype, (2, 3)).run({"x": x})["y"]
    assert y.dtype == dtype
    assert y.tobytes() == x.tobytes()


def test_strings():
    x = np.array([["", "a"], ["Grüße", "日本\0"]], object)
    y = identity(x.dtype, (2, 2)).run({"x": x})["y"]
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda x: x[::-1], lambda x: x[:, ::2]])
def test_layouts(change):
    x = change(np.arange(12, dtype=np.float32).reshape(3, 4))
    y = identity(x.dtype, x.shape).run({"x": x})["y"]
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1)])
def test_shapes(shape):
    x = np.full(shape, 7, np.int64)
    y = identity(x.dtype, shape).run({"x": x})["y"]
    assert y.shape == shape
    assert (y == 7).all()


@pytest.mark.parametrize("dtype", [">i4", "complex64", "M8[s]"])
def test_other_types_are_named(dtype):
    session = identity(np.dtype(np.int32), (2,))
    with pytest.raises(redline.Error, match="'x' has the unsupported dtype"):
        session.run({"x": np.zeros(2, dtype)})


def test_the_result_is_the_callers_own():
    session = identity(np.dtype(np.float32), (2,))
    first = session.run({"x": np.array([1, 2], np.float32)})["y"]
    session.run({"x": np.array([3, 4], np.float32)})
    np.testing.assert_array_equal(first, [1, 2])
