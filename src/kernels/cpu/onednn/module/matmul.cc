// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/convert.h"

namespace redline::kernels::onednn {

Code make_matmul(const MatMul& p, const Options& options, Primitive** out, Error* error) {
  const dnnl_memory_desc_t src = to_dnnl(p.src), weights = to_dnnl(p.weights), dst = to_dnnl(p.dst);
  if (Code c = check_desc(src, 0, "src", error); c != Code::kOk) return c;
  if (src.ndims < 2)
    return fail(Code::kInvalidArgument, error, "src has rank 1, expected 2 or more");
  if (Code c = check_desc(weights, src.ndims, "weights", error); c != Code::kOk) return c;
  if (Code c = check_desc(dst, src.ndims, "dst", error); c != Code::kOk) return c;
  dnnl_memory_desc_t bias = {};
  if (p.has_bias) {
    bias = to_dnnl(p.bias);
    if (Code c = check_desc(bias, src.ndims, "bias", error); c != Code::kOk) return c;
  }
  dnnl_matmul_desc_t desc;
  const dnnl_status_t status =
      dnnl_matmul_desc_init(&desc, &src, &weights, p.has_bias ? &bias : nullptr, &dst);
  if (Code c = check(status, error, "matrix product"); c != Code::kOk) return c;
  return make_primitive(&desc, options, "matrix product",
                        {{Role::kSrc, DNNL_ARG_SRC},
                         {Role::kWeights, DNNL_ARG_WEIGHTS},
                         {Role::kBias, DNNL_ARG_BIAS, p.has_bias},
                         {Role::kDst, DNNL_ARG_DST}},
                        out, error);
}

}  // namespace redline::kernels::onednn
