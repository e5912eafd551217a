# SPDX-License-Identifier: Apache-2.0
"""Forms that older opsets gave to spatial and pointwise ops, against ONNX Runtime.

ONNX's own cases hold only the newest form of most ops.
"""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

onnxruntime = pytest.importorskip("onnxruntime", reason="the expected values are ONNX Runtime's")
backend = pytest.importorskip("redline.backend", reason="the redline module is not built")

rng = np.random.default_rng(3)


def real(*shape):
    return rng.standard_normal(shape).astype(np.float32)


IMAGE = real(2, 3, 7, 6)
BOXES = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3], [0, 2.05, 1, 3]]], np.float32)
SCORES = np.array([[[0.6, 0.9, 0.5, 0.7]]], np.float32)
# name: (op, opset, inputs, attributes, number of outputs, indices of constant inputs)
FORMS = {
    "upsample_7": ("Upsample", 7, [IMAGE], {"scales": [1.0, 1.0, 2.0, 3.0]}, 1, ()),
    "upsample_7_linear": (
        *("Upsample", 7, [IMAGE], {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}),
        *(1, ()),
    ),
    "upsample_9": ("Upsample", 9, [IMAGE, np.float32([1, 1, 2, 2])], {}, 1, (1,)),
    "upsample_9_fraction": ("Upsample", 9, [IMAGE, np.float32([1, 1, 1.5, 2.3])], {}, 1, ()),
    "resize_10": ("Resize", 10, [IMAGE, np.float32([1, 1, 0.5, 2])], {}, 1, (1,)),
    "resize_10_linear": (
        *("Resize", 10, [IMAGE, np.float32([1, 1, 1.7, 2.2])], {"mode": "linear"}),
        *(1, (1,)),
    ),
    "resize_11_scales": (
        *("Resize", 11, [IMAGE, np.float32([]), np.float32([1, 1, 2, 0.6])]),
        *({"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, 1, (1, 2)),
    ),
    "resize_11_sizes": (
        *("Resize", 11, [IMAGE, np.float32([]), np.float32([]), np.int64([2, 3, 9, 5])]),
        *({"mode": "cubic", "coordinate_transformation_mode": "align_corners"}, 1, (1, 2, 3)),
    ),
    "resize_11_tf_half_pixel_for_nn": (
        *("Resize", 11, [IMAGE, np.float32([]), np.float32([1, 1, 2, 2])]),
        *({"coordinate_transformation_mode": "tf_half_pixel_for_nn", "nearest_mode": "floor"},),
        *(1, (1, 2)),
    ),
    "clip_6": ("Clip", 6, [IMAGE], {"min": -0.5, "max": 0.25}, 1, ()),
    "clip_6_lower": ("Clip", 6, [IMAGE], {"min": 0.0}, 1, ()),
    "dropout_7": ("Dropout", 7, [IMAGE], {"ratio": 0.3}, 1, ()),
    "dropout_10": ("Dropout", 10, [IMAGE], {"ratio": 0.3}, 1, ()),
    "roi_align_10": (
        *("RoiAlign", 10, [IMAGE, np.float32([[0, 0, 4, 4], [1, 2, 5, 6]]), np.int64([0, 1])]),
        *({"output_height": 2, "output_width": 3, "sampling_ratio": 2}, 1, ()),
    ),
    "roi_align_16": (
        *("RoiAlign", 16, [IMAGE, np.float32([[0, 0, 4, 4], [1, 2, 5, 6]]), np.int64([0, 1])]),
        *({"output_height": 2, "output_width": 3}, 1, ()),
    ),
    "grid_sample_16": (
        *("GridSample", 16, [IMAGE, rng.uniform(-1.2, 1.2, (2, 4, 5, 2)).astype(np.float32)]),
        *({"mode": "bicubic", "padding_mode": "border"}, 1, ()),
    ),
    "grid_sample_16_reflection": (
        *("GridSample", 16, [IMAGE, rng.uniform(-2, 2, (2, 4, 5, 2)).astype(np.float32)]),
        *({"mode": "bilinear", "padding_mode": "reflection", "align_corners": 1}, 1, ()),
    ),
    "grid_sample_16_cubic_reflection": (
        *("GridSample", 16, [IMAGE, rng.uniform(-2, 2, (2, 4, 5, 2)).astype(np.float32)]),
        *({"mode": "bicubic", "padding_mode": "reflection"}, 1, ()),
    ),
    "non_max_suppression_10": (
        *("NonMaxSuppression", 10, [BOXES, SCORES, np.int64([3]), np.float32([0.5])]),
        *({}, 1, ()),
    ),
    "max_roi_pool": (
        *("MaxRoiPool", 8, [IMAGE, np.float32([[0, 0, 0, 4, 4], [1, 1, 2, 5, 6]])]),
        *({"pooled_shape": [2, 3], "spatial_scale": 0.8}, 1, ()),
    ),
    "max_pool_8_indices": (
        *("MaxPool", 8, [IMAGE], {"kernel_shape": [3, 2], "storage_order": 1, "strides": [2, 2]}),
        *(2, ()),
    ),
    "average_pool_7": (
        *("AveragePool", 7, [IMAGE], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
        *(1, ()),
    ),
    "lp_pool_2": ("LpPool", 2, [IMAGE], {"kernel_shape": [3, 3], "p": 3}, 1, ()),
    "global_lp_pool_2": ("GlobalLpPool", 2, [IMAGE], {"p": 3}, 1, ()),
    "dft_17": ("DFT", 17, [real(2, 9, 5, 1)], {"axis": 2, "onesided": 1}, 1, ()),
    "sum_8": ("Sum", 8, [real(2, 1, 3), real(4, 1), real(3)], {}, 1, ()),
    "mean_8": ("Mean", 8, [real(2, 1, 3), real(4, 1), real(3)], {}, 1, ()),
    "prelu_7": ("PRelu", 7, [IMAGE, real(3, 1, 1)], {}, 1, ()),
    "cast_9_string": ("Cast", 9, [np.array([1, -20], np.int64)], {"to": TensorProto.STRING}, 1, ()),
    "quantize_10": ("QuantizeLinear", 10, [IMAGE, np.float32(0.02), np.uint8(128)], {}, 1, ()),
    "quantize_13_axis": (
        *("QuantizeLinear", 13, [IMAGE, np.float32([0.1, 0.02, 0.3]), np.int8([0, 3, -4])]),
        *({"axis": -3}, 1, ()),
    ),
    "gemm_7": ("Gemm", 7, [real(3, 4), real(5, 4), real(5)], {"transB": 1, "alpha": 0.5}, 1, ()),
    "conv_transpose_11": (
        *("ConvTranspose", 11, [IMAGE, real(3, 2, 3, 3), real(2)]),
        *({"strides": [2, 3], "output_shape": [14, 18], "auto_pad": "SAME_LOWER"}, 1, ()),
    ),
    "conv_same_lower": (
        *("Conv", 11, [IMAGE, real(4, 3, 4, 3)], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        *(1, ()),
    ),
}


def model_of(op, opset, inputs, attributes, num_outputs, constants):
    names = [f"x{i}" for i in range(len(inputs))]
    results = [f"y{i}" for i in range(num_outputs)]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, inputs, strict=True)
    ]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, **attributes)],
        op,
        [info for i, info in enumerate(infos) if i not in constants],
        [onnx.ValueInfoProto(name=name) for name in results],
        [onnx.numpy_helper.from_array(inputs[i], names[i]) for i in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("name", FORMS)
def test_form(name):
    op, opset, inputs, attributes, num_outputs, constants = FORMS[name]
    inputs = [np.asarray(x) for x in inputs]
    model = model_of(op, opset, inputs, attributes, num_outputs, constants)
    feed = {f"x{i}": x for i, x in enumerate(inputs) if i not in constants}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = session.run(None, feed)
    for output, value in zip(model.graph.output, expected, strict=True):
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        output.CopyFrom(helper.make_tensor_value_info(output.name, dtype, value.shape))

    actual = backend.run_model(model, feed)

    for got, want in zip(actual, expected, strict=True):
        assert got.shape == want.shape
        if want.dtype == object:
            assert got.tolist() == want.tolist()
        else:
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
