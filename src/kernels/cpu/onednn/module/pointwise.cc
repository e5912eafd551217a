// SPDX-License-Identifier: Apache-2.0
// Pointwise steps, data movement, resizing and reductions.
#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

Code make_eltwise(const EltwiseProblem& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  dnnl_eltwise_desc_t desc;
  const dnnl_status_t status = dnnl_eltwise_forward_desc_init(
      &desc, dnnl_forward_inference, to_dnnl(p.eltwise), &src, p.alpha, p.beta);
  if (Code c = check(status, error, "pointwise function"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "pointwise function",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

Code make_binary(const BinaryProblem& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src0 = to_dnnl(p.src0), src1 = to_dnnl(p.src1), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src0, 0, "src0", error); c != Code::kOk) return c;
  if (Code c = check_desc(src1, src0.ndims, "src1", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, src0.ndims, "dst", error); c != Code::kOk) return c;
  dnnl_binary_desc_t desc;
  const dnnl_status_t status = dnnl_binary_desc_init(&desc, to_dnnl(p.binary), &src0, &src1, &dst);
  if (Code c = check(status, error, "binary function"); c != Code::kOk) return c;
  return make_primitive(
      &desc, options, "binary function",
      {{Role::kSrc, DNNL_ARG_SRC_0}, {Role::kSrc, DNNL_ARG_SRC_1}, {Role::kDst, DNNL_ARG_DST}}, out,
      error);
}

Code make_resize(const Resize& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, src.ndims, "dst", error); c != Code::kOk) return c;
  if (src.ndims < 3 || src.ndims > kMaxSpatial + 2) {
    return fail(Code::kUnsupported, error, "resizing rank %d; 3 to 5 is supported", src.ndims);
  }
  dnnl_resampling_desc_t desc;
  const auto kind =
      p.kind == ResizeKind::kNearest ? dnnl_resampling_nearest : dnnl_resampling_linear;
  const dnnl_status_t status =
      dnnl_resampling_forward_desc_init(&desc, dnnl_forward_inference, kind, nullptr, &src, &dst);
  if (Code c = check(status, error, "resize"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "resize",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

Code make_reduce(const Reduce& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, src.ndims, "dst", error); c != Code::kOk) return c;
  dnnl_alg_kind_t kind = dnnl_alg_kind_undef;
  switch (p.kind) {
    case ReduceKind::kSum:
      kind = dnnl_reduction_sum;
      break;
    case ReduceKind::kMean:
      kind = dnnl_reduction_mean;
      break;
    case ReduceKind::kMax:
      kind = dnnl_reduction_max;
      break;
    case ReduceKind::kMin:
      kind = dnnl_reduction_min;
      break;
  }
  dnnl_reduction_desc_t desc;
  const dnnl_status_t status = dnnl_reduction_desc_init(&desc, kind, &src, &dst, 0.f, 0.f);
  if (Code c = check(status, error, "reduction"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "reduction",
                        {{Role::kSrc, DNNL_ARG_SRC}, {Role::kDst, DNNL_ARG_DST}}, out, error);
}

Code make_reorder(const Reorder& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, src.ndims, "dst", error); c != Code::kOk) return c;
  if (cpu_engine() == nullptr) return fail(Code::kInternal, error, "oneDNN has no CPU engine");
  dnnl_primitive_attr_t attr = nullptr;
  if (Code c = make_attributes(options, &attr, error); c != Code::kOk) return c;
  TeamSize team(options.threads);
  dnnl_primitive_desc_t desc = nullptr;
  const dnnl_status_t status =
      dnnl_reorder_primitive_desc_create(&desc, &src, cpu_engine(), &dst, cpu_engine(), attr);
  dnnl_primitive_attr_destroy(attr);
  if (Code c = check(status, error, "reorder"); c != Code::kOk) return c;
  return finish_primitive(desc, options, "reorder",
                          {{Role::kSrc, DNNL_ARG_FROM}, {Role::kDst, DNNL_ARG_TO}}, out, error);
}

Code make_concat(const Concat& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t dst = to_dnnl(p.dst);
  if (Code c = check_desc(dst, 0, "dst", error); c != Code::kOk) return c;
  if (p.count < 1 || p.srcs == nullptr || p.axis < 0 || p.axis >= dst.ndims) {
    return fail(Code::kInvalidArgument, error, "concat of %d tensors along axis %d of rank %d",
                p.count, p.axis, dst.ndims);
  }
  std::vector<dnnl_memory_desc_t> srcs;
  std::vector<SlotSpec> slots;
  for (int i = 0; i < p.count; ++i) {
    srcs.push_back(to_dnnl(p.srcs[i]));
    if (Code c = check_desc(srcs.back(), dst.ndims, "src", error); c != Code::kOk) return c;
    slots.push_back({Role::kSrc, DNNL_ARG_MULTIPLE_SRC + i});
  }
  slots.push_back({Role::kDst, DNNL_ARG_DST});
  if (cpu_engine() == nullptr) return fail(Code::kInternal, error, "oneDNN has no CPU engine");
  dnnl_primitive_attr_t attr = nullptr;
  if (Code c = make_attributes(options, &attr, error); c != Code::kOk) return c;
  TeamSize team(options.threads);
  dnnl_primitive_desc_t desc = nullptr;
  const dnnl_status_t status = dnnl_concat_primitive_desc_create(&desc, &dst, p.count, p.axis,
                                                                 srcs.data(), attr, cpu_engine());
  dnnl_primitive_attr_destroy(attr);
  if (Code c = check(status, error, "concat"); c != Code::kOk) return c;
  return finish_primitive(desc, options, "concat", slots, out, error);
}

}  // namespace redline::kernels::onednn
