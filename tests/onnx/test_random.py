# SPDX-License-Identifier: Apache-2.0
"""The random ops that ONNX's set has no case for: type, shape, seed and distribution."""

import pathlib
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from random_cases import SIGMAS  # noqa: E402

backend = pytest.importorskip("redline.backend", reason="the redline module is not built")
SHAPE = [300, 200]
COUNT = 60_000


def model_of(op, inputs=(), output_type=TensorProto.FLOAT, **attributes):
    """A model of one node; `inputs` are (name, type, shape)."""
    node = helper.make_node(op, [name for name, _, _ in inputs], ["y"], **attributes)
    graph = helper.make_graph(
        [node],
        op,
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info("y", output_type, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def check_moments(y, mean, deviation):
    y = y.astype(np.float64).ravel()
    assert abs(y.mean() - mean) < SIGMAS * deviation / np.sqrt(y.size)
    assert abs(y.std() - deviation) < 0.02 * deviation
    assert abs(np.corrcoef(y[1:], y[:-1])[0, 1]) < SIGMAS / np.sqrt(y.size)


def check_quantiles(y, quantiles):
    """`quantiles` maps a share to the value that so many draws lie below."""
    for share, value in quantiles.items():
        deviation = np.sqrt(share * (1 - share) / y.size)
        assert abs((y < value).mean() - share) < SIGMAS * deviation


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
@pytest.mark.parametrize("like", [False, True])
def test_uniform(dtype, like):
    bounds = {"low": -2.0, "high": 6.0, "dtype": dtype}
    if like:
        model = model_of("RandomUniformLike", [("x", TensorProto.INT32, SHAPE)], dtype, **bounds)
        (y,) = backend.run_model(model, [np.zeros(SHAPE, np.int32)])
    else:
        (y,) = backend.run_model(model_of("RandomUniform", (), dtype, shape=SHAPE, **bounds), [])
    assert (list(y.shape), y.dtype) == (SHAPE, helper.tensor_dtype_to_np_dtype(dtype))
    assert y.min() >= -2
    assert y.max() <= 6
    check_moments(y, 2, 8 / np.sqrt(12))
    check_quantiles(y, {0.25: 0, 0.5: 2, 0.9: 5.2})


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
@pytest.mark.parametrize("like", [False, True])
def test_normal(dtype, like):
    moments = {"mean": 3.0, "scale": 2.0, "dtype": dtype}
    if like:
        model = model_of("RandomNormalLike", [("x", TensorProto.INT32, SHAPE)], dtype, **moments)
        (y,) = backend.run_model(model, [np.zeros(SHAPE, np.int32)])
    else:
        (y,) = backend.run_model(model_of("RandomNormal", (), dtype, shape=SHAPE, **moments), [])
    assert (list(y.shape), y.dtype) == (SHAPE, helper.tensor_dtype_to_np_dtype(dtype))
    check_moments(y, 3, 2)
    check_quantiles(y, {0.1587: 1, 0.5: 3, 0.8413: 5, 0.97725: 7})


def test_like_takes_the_type_of_its_input():
    model = model_of("RandomNormalLike", [("x", TensorProto.DOUBLE, [2, 3])], TensorProto.DOUBLE)
    (y,) = backend.run_model(model, [np.zeros((2, 3))])
    assert (y.shape, y.dtype) == ((2, 3), np.dtype(np.float64))


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
def test_multinomial(dtype):
    shares = np.array([[0.1, 0.2, 0.7], [0.6, 0.4, 0.0]])
    with np.errstate(divide="ignore"):
        logits = np.log(shares).astype(np.float32)
    inputs = [("x", TensorProto.FLOAT, [2, 3])]
    model = model_of("Multinomial", inputs, dtype, dtype=dtype, sample_size=COUNT)
    (y,) = backend.run_model(model, [logits])
    assert (y.shape, y.dtype) == ((2, COUNT), helper.tensor_dtype_to_np_dtype(dtype))
    for row, expected in zip(y, shares, strict=True):
        found = np.bincount(row, minlength=3) / COUNT
        assert found.size == 3
        deviation = np.sqrt(expected * (1 - expected) / COUNT)
        assert (np.abs(found - expected) <= SIGMAS * deviation).all()


@pytest.mark.parametrize("op", ["RandomUniform", "RandomNormal"])
def test_seed(op):
    def draw(**attributes):
        return backend.run_model(model_of(op, (), shape=[1000], **attributes), [])[0]

    np.testing.assert_array_equal(draw(seed=1.5), draw(seed=1.5))
    assert not np.array_equal(draw(seed=1.5), draw(seed=2.5))
    assert not np.array_equal(draw(), draw())


@pytest.mark.parametrize("op", ["RandomUniform", "RandomNormal"])
def test_nothing_to_draw(op):
    (y,) = backend.run_model(model_of(op, (), shape=[3, 0]), [])
    assert y.shape == (3, 0)
    assert y.dtype == np.float32
    assert onnx.helper.np_dtype_to_tensor_dtype(y.dtype) == TensorProto.FLOAT
