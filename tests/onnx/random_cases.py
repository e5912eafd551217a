# SPDX-License-Identifier: Apache-2.0
"""Cases whose expected output is one draw of a random generator: tested by what must hold of any draw.

Type, shape, the values that may occur, the share of each, no dependence of neighbours, and the seed:
with one, two sessions draw the same; without, they differ.
"""

import numpy as np
import onnx

SAMPLES = 60_000
SIGMAS = 5  # a right generator fails one check in two million


def check_bernoulli(backend, model, inputs):
    (x,) = inputs
    # ONNX's function body compares the wrong way round: it gives 1 with probability 1 - p, against
    # the op's text. The expanded cases must do what their graph says.
    one = 0 if any(node.op_type == "Greater" for node in model.graph.node) else 1
    (y,) = backend.run_model(model, [x])
    dtype = onnx.helper.tensor_dtype_to_np_dtype(model.graph.output[0].type.tensor_type.elem_type)
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert set(np.unique(y)) <= {0, 1}

    large = enlarge(model, "x", (SAMPLES,))
    for share in (0, 0.3, 1) if one else (0.3, 1):
        inputs = [np.full(SAMPLES, share, x.dtype)]
        (y,) = backend.run_model(large, inputs)
        check_share(y == one, share)
        if 0 < share < 1:
            check_seed(backend, large, inputs, y)


def check_dropout(backend, model, inputs):
    x, ratio, training = inputs
    assert training
    first = backend.run_model(model, inputs)
    check_dropped(x, float(ratio), first)

    shape = (SAMPLES // 60, *x.shape[:1], 20)
    x = np.random.default_rng(0).uniform(1, 2, shape).astype(x.dtype)
    large = enlarge(model, "x", shape)
    outputs = backend.run_model(large, [x, ratio, training])
    check_dropped(x, float(ratio), outputs)
    check_share(outputs[0].ravel() == 0, float(ratio))
    check_seed(backend, large, [x, ratio, training], outputs[0])


def check_dropped(x, ratio, outputs):
    y, *masks = outputs
    assert (y.shape, y.dtype) == (x.shape, x.dtype)
    for mask in masks:
        assert (mask.shape, mask.dtype) == (x.shape, np.dtype(bool))
        np.testing.assert_array_equal(mask, y != 0)
    np.testing.assert_allclose(y, np.where(y != 0, x / (1 - ratio), 0), rtol=1e-6)


def check_share(hits, share):
    """So many hits as independent draws would give, and no more often next to each other."""
    deviation = np.sqrt(share * (1 - share) / hits.size)
    assert abs(hits.mean() - share) <= SIGMAS * deviation
    pairs = hits[1:] & hits[:-1]
    assert abs(pairs.mean() - share**2) <= 2 * SIGMAS * np.sqrt(share**2 / hits.size)


def check_seed(backend, model, inputs, first):
    seeded = any(a.name == "seed" for node in model.graph.node for a in node.attribute)
    second = backend.run_model(model, inputs)[0]
    assert np.array_equal(first, second) == seeded


def enlarge(model, name, shape):
    """The model for another size of the input; the outputs follow."""
    large = onnx.ModelProto()
    large.CopyFrom(model)
    for value in [*large.graph.input, *large.graph.output]:
        if value.name == name or value in large.graph.output:
            dtype = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, dtype, shape))
    return large


CHECKS = {
    "node/test_bernoulli": check_bernoulli,
    "node/test_bernoulli_double": check_bernoulli,
    "node/test_bernoulli_double_expanded": check_bernoulli,
    "node/test_bernoulli_expanded": check_bernoulli,
    "node/test_bernoulli_seed": check_bernoulli,
    "node/test_bernoulli_seed_expanded": check_bernoulli,
    "node/test_training_dropout": check_dropout,
    "node/test_training_dropout_default": check_dropout,
    "node/test_training_dropout_default_mask": check_dropout,
    "node/test_training_dropout_mask": check_dropout,
}
