// SPDX-License-Identifier: Apache-2.0
#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// nonzero(x): int64[rank, n], the indices of the n elements that are not zero, in row-major order.

Status infer_nonzero(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (c.dtype(0) == DType::kString) return c.input_error(0, "must hold numbers");
  const Shape& in = c.shape(0);
  Dim rank = in.has_rank() ? Dim(in.rank()) : c.fresh_symbol("rank");
  c.set_output(0, DType::kInt64, SymDims{rank, c.fresh_symbol("nonzero")});
  return {};
}

Status reference_nonzero(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  std::vector<int64_t> found = with_wide_type(in.dtype, [&](auto wide) {
    std::vector<int64_t> flat;
    auto values = read_elements<decltype(wide)>(in);
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] != 0) flat.push_back(static_cast<int64_t>(i));
    }
    return flat;
  });
  auto count = static_cast<int64_t>(found.size());
  REDLINE_ASSIGN(TensorView out, output_of_size(c, 0, DType::kInt64, {in.dims.rank(), count}));
  auto* dst = out.as<int64_t>();
  Dims strides = in.dims.strides();
  for (size_t d = 0; d < in.dims.size(); ++d) {
    for (int64_t flat : found) *dst++ = flat / strides[d] % in.dims[d];
  }
  return {};
}

}  // namespace

void register_op_nonzero(OpRegistry& registry) {
  registry.add({.name = "nonzero",
                .inputs = {{"x"}},
                .outputs = {{"indices"}},
                .traits = kTraitDataDependent,
                .infer = infer_nonzero,
                .reference = reference_nonzero});
}

}  // namespace redline
