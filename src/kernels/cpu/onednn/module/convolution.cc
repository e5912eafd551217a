// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {
namespace {

// oneDNN counts the elements skipped, ONNX the step.
void copy_dilations(const int64_t* from, int spatial, dnnl_dims_t to) {
  for (int i = 0; i < spatial; ++i) to[i] = from[i] - 1;
}

Code check_window(int spatial, const int64_t* strides, const int64_t* dilations, Error* error) {
  if (spatial < 1 || spatial > kMaxSpatial) {
    return fail(Code::kInvalidArgument, error, "%d spatial dims, expected 1 to %d", spatial,
                kMaxSpatial);
  }
  for (int i = 0; i < spatial; ++i) {
    if (strides[i] < 1 || dilations[i] < 1) {
      return fail(Code::kInvalidArgument, error, "spatial dim %d has stride %lld and dilation %lld",
                  i, static_cast<long long>(strides[i]), static_cast<long long>(dilations[i]));
    }
  }
  return Code::kOk;
}

}  // namespace

Code make_convolution(const Convolution& p, const Options& options, Primitive** out, Error* error) {
  if (Code c = check_window(p.spatial, p.strides, p.dilations, error); c != Code::kOk) return c;
  const int rank = p.spatial + 2;
  const dnnl_memory_desc_t src = to_dnnl(p.src), weights = to_dnnl(p.weights), dst = to_dnnl(p.dst);
  dnnl_memory_desc_t bias = {};
  if (Code c = check_desc(src, rank, "src", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, rank, "dst", error); c != Code::kOk) return c;
  if (p.groups < 1) return fail(Code::kInvalidArgument, error, "a convolution of no groups");
  const int weights_rank = rank + (p.groups > 1 ? 1 : 0);
  if (Code c = check_desc(weights, weights_rank, "weights", error); c != Code::kOk) return c;
  if (p.groups > 1 && weights.dims[0] != p.groups) {
    return fail(Code::kInvalidArgument, error, "weights have %lld groups, expected %lld",
                static_cast<long long>(weights.dims[0]), static_cast<long long>(p.groups));
  }
  if (p.has_bias) {
    bias = to_dnnl(p.bias);
    if (Code c = check_desc(bias, 1, "bias", error); c != Code::kOk) return c;
  }
  dnnl_dims_t dilations;
  copy_dilations(p.dilations, p.spatial, dilations);
  const dnnl_memory_desc_t* bias_desc = p.has_bias ? &bias : nullptr;
  const std::vector<SlotSpec> slots = {{Role::kSrc, DNNL_ARG_SRC},
                                       {Role::kWeights, DNNL_ARG_WEIGHTS},
                                       {Role::kBias, DNNL_ARG_BIAS, p.has_bias},
                                       {Role::kDst, DNNL_ARG_DST}};
  if (p.transposed) {
    // oneDNN's own needs 24 to 60 times as long for these.
    if (make_block_transposed_convolution(p, options, out, error) == Code::kOk) return Code::kOk;
    dnnl_deconvolution_desc_t desc;
    const dnnl_status_t status = dnnl_dilated_deconvolution_forward_desc_init(
        &desc, dnnl_forward_inference,
        p.winograd ? dnnl_deconvolution_winograd : dnnl_deconvolution_direct, &src, &weights,
        bias_desc, &dst, p.strides, dilations, p.pads_begin, p.pads_end);
    if (Code c = check(status, error, "transposed convolution"); c != Code::kOk) return c;
    return make_primitive(&desc, options, "transposed convolution", slots, out, error);
  }
  dnnl_convolution_desc_t desc;
  const dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
      &desc, dnnl_forward_inference,
      p.winograd ? dnnl_convolution_winograd : dnnl_convolution_direct, &src, &weights, bias_desc,
      &dst, p.strides, dilations, p.pads_begin, p.pads_end);
  if (Code c = check(status, error, "convolution"); c != Code::kOk) return c;
  return make_primitive(&desc, options, p.winograd ? "Winograd convolution" : "convolution", slots,
                        out, error);
}

Code make_pool(const Pool& p, const Options& options, Primitive** out, Error* error) {
  if (Code c = check_window(p.spatial, p.strides, p.dilations, error); c != Code::kOk) return c;
  const dnnl_memory_desc_t src = to_dnnl(p.src), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src, p.spatial + 2, "src", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, p.spatial + 2, "dst", error); c != Code::kOk) return c;
  for (int i = 0; i < p.spatial; ++i) {
    // oneDNN would divide by the size of an empty window.
    if (p.kernel[i] < 1 || p.pads_begin[i] < 0 || p.pads_begin[i] >= p.kernel[i] * p.dilations[i] ||
        p.pads_end[i] >= p.kernel[i] * p.dilations[i]) {
      return fail(Code::kInvalidArgument, error, "pool window %lld cannot have pads %lld and %lld",
                  static_cast<long long>(p.kernel[i]), static_cast<long long>(p.pads_begin[i]),
                  static_cast<long long>(p.pads_end[i]));
    }
  }
  const dnnl_alg_kind_t kind = p.kind == PoolKind::kMax ? dnnl_pooling_max
                               : p.kind == PoolKind::kAverageIncludePad
                                   ? dnnl_pooling_avg_include_padding
                                   : dnnl_pooling_avg_exclude_padding;
  dnnl_dims_t dilations;
  copy_dilations(p.dilations, p.spatial, dilations);
  dnnl_pooling_v2_desc_t desc;
  const dnnl_status_t status =
      dnnl_pooling_v2_forward_desc_init(&desc, dnnl_forward_inference, kind, &src, &dst, p.strides,
                                        p.kernel, dilations, p.pads_begin, p.pads_end);
  if (Code c = check(status, error, "pool"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "pool",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

}  // namespace redline::kernels::onednn
