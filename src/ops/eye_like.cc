// SPDX-License-Identifier: Apache-2.0
#include "ops/eye_like.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_eye_like(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 2));
  DType dtype = c.attrs<EyeLikeAttrs>().dtype.value_or(c.dtype(0));
  if (dtype == DType::kString) return c.error("dtype is str, expected numbers");
  const Shape& in = c.shape(0);
  c.set_output(0, dtype, in.has_rank() ? in : Shape(fresh_dims(c, 2, "eye")));
  return {};
}

Status reference_eye_like(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  REDLINE_ASSIGN(Tensor one, Tensor::create(out.dtype, {}));
  REDLINE_ASSIGN(Tensor zero, Tensor::create(out.dtype, {}));
  const double values[2] = {1, 0};
  write_elements(std::span<const double>(values, 1), one.view());
  write_elements(std::span<const double>(values + 1, 1), zero.view());
  int64_t rows = out.dims[0];
  int64_t cols = out.dims[1];
  int64_t k = std::clamp(c.attrs<EyeLikeAttrs>().k, -rows, cols);
  with_storage_type(out.dtype, [&](auto t) {
    using T = decltype(t);
    std::fill_n(out.as<T>(), out.count(), *zero.data<T>());
    for (int64_t i = std::max<int64_t>(-k, 0); i < rows && i + k < cols; ++i) {
      out.as<T>()[i * cols + i + k] = *one.data<T>();
    }
  });
  return {};
}

}  // namespace

void register_op_eye_like(OpRegistry& registry) {
  registry.add({.name = "eye_like",
                .inputs = {{"matrix"}},
                .outputs = {{"eye"}},
                .attrs = attrs_type<EyeLikeAttrs>(),
                .infer = infer_eye_like,
                .reference = reference_eye_like});
}

}  // namespace redline
