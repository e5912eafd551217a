// SPDX-License-Identifier: Apache-2.0
// Normalisations along one axis.
#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

Code make_lrn(const Lrn& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (p.size < 1 || p.size % 2 == 0) {
    // ONNX's window of an even size is not centred as oneDNN's is.
    return fail(Code::kUnsupported, error, "a window of %lld channels; an odd size is supported",
                static_cast<long long>(p.size));
  }
  dnnl_lrn_desc_t desc;
  const dnnl_status_t status = dnnl_lrn_forward_desc_init(
      &desc, dnnl_forward_inference, dnnl_lrn_across_channels, &src, p.size, p.alpha, p.beta, p.k);
  if (Code c = check(status, error, "channel normalisation"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "channel normalisation",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

Code make_softmax(const Softmax& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (p.axis < 0 || p.axis >= src.ndims) {
    return fail(Code::kInvalidArgument, error, "axis %d of a tensor of rank %d", p.axis, src.ndims);
  }
  dnnl_softmax_v2_desc_t desc;
  const dnnl_status_t status = dnnl_softmax_v2_forward_desc_init(
      &desc, dnnl_forward_inference, p.log ? dnnl_softmax_log : dnnl_softmax_accurate, &src, &src,
      p.axis);
  if (Code c = check(status, error, "softmax"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "softmax",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

Code make_layer_norm(const LayerNorm& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  unsigned flags = 0;
  if (p.has_scale) flags |= dnnl_use_scale;
  if (p.has_shift) flags |= dnnl_use_shift;
  dnnl_layer_normalization_desc_t desc;
  const dnnl_status_t status = dnnl_layer_normalization_forward_desc_init(
      &desc, dnnl_forward_inference, &src, nullptr, p.epsilon, flags);
  if (Code c = check(status, error, "layer normalisation"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "layer normalisation",
                        {{Role::kSrc, DNNL_ARG_SRC},
                         {Role::kScale, DNNL_ARG_SCALE, p.has_scale},
                         {Role::kShift, DNNL_ARG_SHIFT, p.has_shift},
                         {Role::kDst, DNNL_ARG_DST}},
                        out, error);
}

}  // namespace redline::kernels::onednn
