# SPDX-License-Identifier: Apache-2.0
"""Cases for the com.microsoft ops that exporters and ONNX Runtime's tools write.

The expected values are ONNX Runtime's, whose ops these are.
"""

import dataclasses

import numpy as np
import onnx
import onnxruntime
import precision
from onnx import TensorProto, helper

DOMAIN = "com.microsoft"
RELATIVE, ABSOLUTE = 1e-4, 1e-5
QUANTIZED_STEP = 1  # two right implementations may round a value in the middle to either side


@dataclasses.dataclass(frozen=True)
class ContribCase:
    op: str
    inputs: tuple  # arrays; None where an optional input is absent
    attributes: dict = dataclasses.field(default_factory=dict)
    outputs: tuple = (True,)  # False where an optional output is not asked for
    weights: tuple = ()  # indices of inputs that are initializers, as the tools write them


def model_of(case):
    names = ["" if array is None else f"x{i}" for i, array in enumerate(case.inputs)]
    results = [f"y{i}" if wanted else "" for i, wanted in enumerate(case.outputs)]
    node = helper.make_node(case.op, names, results, domain=DOMAIN, **case.attributes)
    graph = helper.make_graph(
        [node],
        case.op,
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            )
            for i, (name, array) in enumerate(zip(names, case.inputs, strict=True))
            if name and i not in case.weights
        ],
        [onnx.ValueInfoProto(name=name) for name in results if name],
        [onnx.numpy_helper.from_array(case.inputs[i], names[i]) for i in case.weights],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    for output, value in zip(model.graph.output, run_onnxruntime(model, case), strict=True):
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        output.CopyFrom(helper.make_tensor_value_info(output.name, dtype, value.shape))
    return model


def feed_of(case):
    return {
        f"x{i}": array
        for i, array in enumerate(case.inputs)
        if array is not None and i not in case.weights
    }


def run_onnxruntime(model, case):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, feed_of(case))


def check(backend, case):
    model = model_of(case)
    expected = run_onnxruntime(model, case)
    actual = backend.run_model(model, feed_of(case))
    assert len(actual) == len(expected)
    for got, want in zip(actual, expected, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        if want.dtype in (np.int8, np.uint8):
            assert np.abs(got.astype(int) - want.astype(int)).max() <= QUANTIZED_STEP
        else:
            relative, absolute = precision.tolerances(want, RELATIVE, ABSOLUTE)
            np.testing.assert_allclose(got, want, rtol=relative, atol=absolute)


rng = np.random.default_rng(7)


def real(*shape, scale=1.0):
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def whole(dtype, *shape):
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


def below(limit, *shape, dtype=np.int32):
    return rng.integers(0, limit, shape).astype(dtype)


def scale(value):
    return np.array(value, np.float32)


def zero(value, dtype=np.uint8):
    return np.array(value, dtype)


def angles(positions, half):
    """cos and sin caches of a rotary embedding."""
    angle = np.arange(positions)[:, None] / 10_000 ** (np.arange(half) / half)[None]
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


def filled(cache, *lengths):
    """A cache of keys or values with nothing beyond each sample's length."""
    for sample, length in zip(cache, lengths, strict=True):
        sample[:, length:] = 0
    return cache


def packed_int4(outputs, depth, block):
    """Weight of MatMulNBits: two values a byte, blocks along the depth, a scale for each block."""
    blocks = depth // block
    return whole(np.uint8, outputs, blocks, block // 2), np.abs(real(outputs * blocks, scale=0.1))


COS, SIN = angles(16, 4)
WIDE_COS, WIDE_SIN = angles(16, 8)
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.int32)
INT4, INT4_SCALES = packed_int4(6, 64, 32)
U8 = (scale(0.05), zero(120))
U8_OTHER = (scale(0.03), zero(10))
U8_OUT = (scale(0.1), zero(128))

CASES = {
    # Products
    "fused_matmul": ContribCase("FusedMatMul", (real(3, 4), real(4, 5)), {"alpha": 0.5}),
    "fused_matmul_transposed": ContribCase(
        "FusedMatMul", (real(2, 4, 3), real(2, 5, 4)), {"transA": 1, "transB": 1}
    ),
    "fused_matmul_batch_transposed": ContribCase(
        "FusedMatMul", (real(3, 2, 4), real(4, 2, 5)), {"transBatchA": 1, "transBatchB": 1}
    ),
    "fused_matmul_broadcast": ContribCase("FusedMatMul", (real(2, 1, 3, 4), real(3, 4, 5))),
    "fused_gemm_relu": ContribCase(
        "FusedGemm", (real(3, 4), real(4, 5), real(5)), {"activation": "Relu"}
    ),
    "fused_conv_relu": ContribCase(
        "FusedConv",
        (real(1, 3, 8, 8), real(4, 3, 3, 3), real(4)),
        {"activation": "Relu", "pads": [1, 1, 1, 1]},
    ),
    "fused_conv_add_relu": ContribCase(
        "FusedConv",
        (real(1, 3, 8, 8), real(4, 3, 3, 3), real(4), real(1, 4, 6, 6)),
        {"activation": "Relu"},
    ),
    "fused_conv_clip": ContribCase(
        "FusedConv",
        (real(1, 3, 8, 8), real(4, 3, 3, 3), real(4)),
        {"activation": "Clip", "activation_params": [0.0, 6.0]},
    ),
    "matmul_nbits": ContribCase(
        "MatMulNBits",
        (real(2, 3, 64), INT4, INT4_SCALES),
        {"K": 64, "N": 6, "bits": 4, "block_size": 32},
        weights=(1, 2),
    ),
    "matmul_nbits_zero_points": ContribCase(
        "MatMulNBits",
        (real(3, 64), INT4, INT4_SCALES, whole(np.uint8, 6)),
        {"K": 64, "N": 6, "bits": 4, "block_size": 32},
        weights=(1, 2, 3),
    ),
    # Activations
    "gelu": ContribCase("Gelu", (real(3, 7),)),
    "quick_gelu": ContribCase("QuickGelu", (real(3, 7),), {"alpha": 1.702}),
    "fast_gelu": ContribCase("FastGelu", (real(3, 7),)),
    "fast_gelu_bias": ContribCase("FastGelu", (real(3, 7), real(7))),
    "bias_gelu": ContribCase("BiasGelu", (real(2, 3, 7), real(7))),
    # Norms
    "skip_layer_norm": ContribCase(
        "SkipLayerNormalization",
        (real(2, 3, 8), real(2, 3, 8), real(8), real(8)),
        {"epsilon": 1e-5},
    ),
    "skip_layer_norm_bias_sum": ContribCase(
        "SkipLayerNormalization",
        (real(2, 3, 8), real(2, 3, 8), real(8), real(8), real(8)),
        outputs=(True, False, False, True),
    ),
    "skip_layer_norm_broadcast": ContribCase(
        "SkipLayerNormalization", (real(2, 3, 8), real(1, 3, 8), real(8), real(8))
    ),
    "skip_simplified_layer_norm": ContribCase(
        "SkipSimplifiedLayerNormalization",
        (real(2, 3, 8), real(2, 3, 8), real(8)),
        outputs=(True, False, False, True),
    ),
    "embed_layer_norm": ContribCase(
        "EmbedLayerNormalization",
        (below(10, 2, 5), below(2, 2, 5), real(10, 8), real(6, 8), real(2, 8), real(8), real(8), MASK),
        outputs=(True, True),
    ),
    "embed_layer_norm_no_segment": ContribCase(
        "EmbedLayerNormalization",
        (below(10, 2, 5), None, real(10, 8), real(6, 8), None, real(8), real(8)),
        outputs=(True, True),
    ),
    # Attention
    "attention": ContribCase(
        "Attention", (real(2, 5, 8), real(8, 24, scale=0.5), real(24)), {"num_heads": 2}
    ),
    "attention_mask": ContribCase(
        "Attention", (real(2, 5, 8), real(8, 24, scale=0.5), real(24), MASK), {"num_heads": 2}
    ),
    "attention_mask_lengths": ContribCase(
        "Attention",
        (real(2, 5, 8), real(8, 24, scale=0.5), real(24), np.array([5, 3], np.int32)),
        {"num_heads": 2},
    ),
    "attention_causal": ContribCase(
        "Attention",
        (real(2, 5, 8), real(8, 24, scale=0.5), real(24)),
        {"num_heads": 2, "unidirectional": 1},
    ),
    "attention_past": ContribCase(
        "Attention",
        (real(2, 3, 8), real(8, 24, scale=0.5), real(24), None, real(2, 2, 2, 4, 4)),
        {"num_heads": 2, "unidirectional": 1},
        outputs=(True, True),
    ),
    "multi_head_attention": ContribCase(
        "MultiHeadAttention", (real(2, 5, 8), real(2, 6, 8), real(2, 6, 8)), {"num_heads": 2}
    ),
    "multi_head_attention_bias": ContribCase(
        "MultiHeadAttention",
        (real(2, 5, 8), real(2, 5, 8), real(2, 5, 8), real(24)),
        {"num_heads": 2, "scale": 0.3},
    ),
    "multi_head_attention_padding": ContribCase(
        "MultiHeadAttention",
        (real(2, 5, 8), real(2, 5, 8), real(2, 5, 8), None, MASK),
        {"num_heads": 2},
    ),
    "multi_head_attention_added_bias": ContribCase(
        "MultiHeadAttention",
        (real(2, 5, 8), real(2, 5, 8), real(2, 5, 8), None, None, real(2, 2, 5, 5)),
        {"num_heads": 2},
    ),
    "multi_head_attention_causal": ContribCase(
        "MultiHeadAttention",
        (real(2, 5, 8), real(2, 5, 8), real(2, 5, 8)),
        {"num_heads": 2, "unidirectional": 1},
    ),
    "multi_head_attention_past": ContribCase(
        "MultiHeadAttention",
        (
            *(real(2, 1, 8) for _ in range(3)),
            *(None,) * 3,
            *(real(2, 2, 4, 4) for _ in range(2)),
        ),
        {"num_heads": 2},
        outputs=(True, True, True),
    ),
    "group_query_attention": ContribCase(
        "GroupQueryAttention",
        (
            real(1, 3, 32),
            real(1, 3, 16),
            real(1, 3, 16),
            real(1, 2, 4, 8),
            real(1, 2, 4, 8),
            np.array([6], np.int32),
            np.array(7, np.int32),
        ),
        {"num_heads": 4, "kv_num_heads": 2},
        outputs=(True, True, True),
    ),
    # The prompt: nothing is past.
    "group_query_attention_prompt": ContribCase(
        "GroupQueryAttention",
        (
            real(2, 3, 64),
            real(2, 3, 32),
            real(2, 3, 32),
            None,
            None,
            np.array([2, 2], np.int32),
            np.array(3, np.int32),
            WIDE_COS,
            WIDE_SIN,
        ),
        {"num_heads": 4, "kv_num_heads": 2, "do_rotary": 1},
        outputs=(True, True, True),
    ),
    # A step: samples of different lengths, packed operands, all that bends the scores.
    "group_query_attention_step": ContribCase(
        "GroupQueryAttention",
        (
            real(2, 1, 128),
            None,
            None,
            filled(real(2, 2, 6, 16), 6, 3),
            filled(real(2, 2, 6, 16), 6, 3),
            np.array([6, 3], np.int32),
            np.array(7, np.int32),
            WIDE_COS,
            WIDE_SIN,
        ),
        {
            "num_heads": 4,
            "kv_num_heads": 2,
            "do_rotary": 1,
            "rotary_interleaved": 1,
            "local_window_size": 3,
            "softcap": 2.0,
            "scale": 0.5,
        },
        outputs=(True, True, True),
    ),
    "group_query_attention_bias": ContribCase(
        "GroupQueryAttention",
        (
            real(1, 2, 32),
            real(1, 2, 16),
            real(1, 2, 16),
            real(1, 2, 4, 8),
            real(1, 2, 4, 8),
            np.array([5], np.int32),
            np.array(6, np.int32),
            None,
            None,
            None,
            real(1, 4, 2, 6),
        ),
        {"num_heads": 4, "kv_num_heads": 2},
        outputs=(True, True, True),
    ),
    "rotary_embedding": ContribCase(
        "RotaryEmbedding", (real(2, 2, 3, 8), np.array([4], np.int64), COS, SIN)
    ),
    "rotary_embedding_positions": ContribCase(
        "RotaryEmbedding", (real(2, 3, 16), below(16, 2, 3, dtype=np.int64), COS, SIN)
    ),
    "rotary_embedding_interleaved": ContribCase(
        "RotaryEmbedding",
        (real(2, 3, 16), below(16, 2, 3, dtype=np.int64), COS, SIN),
        {"interleaved": 1},
    ),
    # Quantised
    "quantize_linear": ContribCase("QuantizeLinear", (real(3, 5), *U8)),
    "dequantize_linear": ContribCase("DequantizeLinear", (whole(np.int8, 3, 5), scale(0.1), zero(3, np.int8))),
    "dequantize_linear_int32": ContribCase(
        "DequantizeLinear", (below(1000, 3, 5), scale(0.1), zero(0, np.int32))
    ),
    "qlinear_add": ContribCase(
        "QLinearAdd", (whole(np.uint8, 3, 5), *U8, whole(np.uint8, 3, 5), *U8_OTHER, *U8_OUT)
    ),
    "qlinear_add_broadcast_int8": ContribCase(
        "QLinearAdd",
        (
            *(whole(np.int8, 2, 3, 5), scale(0.05), zero(3, np.int8)),
            *(whole(np.int8, 5), scale(0.02), zero(-4, np.int8)),
            *(scale(0.08), zero(1, np.int8)),
        ),
    ),
    "qlinear_mul": ContribCase(
        "QLinearMul", (whole(np.uint8, 3, 5), *U8, whole(np.uint8, 3, 5), *U8_OTHER, *U8_OUT)
    ),
    "qlinear_sigmoid": ContribCase(
        "QLinearSigmoid", (whole(np.uint8, 3, 5), *U8, scale(1 / 256), zero(0)), weights=(1, 2, 3, 4)
    ),
    "qlinear_leaky_relu": ContribCase(
        "QLinearLeakyRelu",
        (whole(np.uint8, 3, 5), *U8, *U8_OTHER),
        {"alpha": 0.1},
        weights=(1, 2, 3, 4),
    ),
    "qlinear_softmax": ContribCase(
        "QLinearSoftmax",
        (whole(np.uint8, 3, 5), *U8, scale(1 / 256), zero(0)),
        {"axis": -1, "opset": 13},
        weights=(1, 2, 3, 4),
    ),
    "qlinear_average_pool": ContribCase(
        "QLinearAveragePool",
        (whole(np.uint8, 1, 2, 6, 6), *U8, *U8_OTHER),
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "qlinear_global_average_pool": ContribCase(
        "QLinearGlobalAveragePool", (whole(np.uint8, 1, 2, 6, 6), *U8, *U8_OTHER), {"channels_last": 0}
    ),
    "qlinear_concat": ContribCase(
        "QLinearConcat",
        (*U8_OUT, whole(np.uint8, 2, 3), *U8, whole(np.uint8, 2, 4), *U8_OTHER),
        {"axis": 1},
        weights=(0, 1, 3, 4, 6, 7),
    ),
    "qlinear_where": ContribCase(
        "QLinearWhere",
        (
            rng.random((3, 5)) < 0.5,
            *(whole(np.uint8, 3, 5), *U8),
            *(whole(np.uint8, 3, 5), *U8_OTHER),
            *U8_OUT,
        ),
    ),
    "qgemm": ContribCase(
        "QGemm",
        (
            *(whole(np.uint8, 3, 4), *U8),
            *(whole(np.int8, 4, 5), scale(0.01), zero(0, np.int8)),
            below(100, 5),
            *(scale(0.1), zero(100)),
        ),
        {"alpha": 1.0},
    ),
    "qgemm_float": ContribCase(
        "QGemm",
        (
            *(whole(np.uint8, 3, 4), *U8),
            *(whole(np.int8, 5, 4), np.abs(real(5, scale=0.01)), np.zeros(5, np.int8)),
            below(100, 5),
        ),
        {"transB": 1},
    ),
    "dynamic_quantize_matmul": ContribCase(
        "DynamicQuantizeMatMul",
        (real(3, 4), whole(np.int8, 4, 5), scale(0.01), zero(0, np.int8), real(5)),
        weights=(1, 2, 3, 4),
    ),
    "dynamic_quantize_matmul_per_column": ContribCase(
        "DynamicQuantizeMatMul",
        (real(2, 3, 4), whole(np.uint8, 4, 5), np.abs(real(5, scale=0.01)), whole(np.uint8, 5)),
        weights=(1, 2, 3),
    ),
    "matmul_integer_to_float": ContribCase(
        "MatMulIntegerToFloat",
        (
            *(whole(np.uint8, 3, 4), whole(np.int8, 4, 5)),
            *(scale(0.05), np.abs(real(5, scale=0.01))),
            *(zero(120), np.zeros(5, np.int8)),
            real(5),
        ),
    ),
}
