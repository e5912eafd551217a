// SPDX-License-Identifier: Apache-2.0
#include "ops/transpose.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

std::vector<int> axis_order(const TransposeAttrs& attrs, int rank) {
  std::vector<int> order(attrs.perm.begin(), attrs.perm.end());
  if (attrs.perm.empty()) {
    for (int i = rank - 1; i >= 0; --i) order.push_back(i);
  }
  return order;
}

Dims permuted(const Dims& dims, const std::vector<int>& order) {
  Dims result;
  for (int axis : order) result.push_back(dims[static_cast<size_t>(axis)]);
  return result;
}

Status infer_transpose(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const auto& attrs = c.attrs<TransposeAttrs>();
  const Shape& in = c.shape(0);
  auto perm_rank = static_cast<int>(attrs.perm.size());
  if (in.has_rank() && perm_rank > 0 && perm_rank != in.rank()) {
    return c.error(str_cat("perm has ", perm_rank, " axes, the data has rank ", in.rank()));
  }
  REDLINE_TRY(check_output_rank(c, perm_rank));
  for (int64_t axis : attrs.perm) {
    if (axis < 0) return c.error(str_cat("perm holds ", axis));
  }
  REDLINE_TRY(normalize_axes(c, attrs.perm, perm_rank).status());
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0),
                 perm_rank > 0 ? Shape(fresh_dims(c, perm_rank, "transpose")) : Shape());
    return {};
  }
  std::vector<int> order = axis_order(attrs, in.rank());
  SymDims out;
  for (int axis : order) out.push_back(in[axis]);
  c.set_output(0, c.dtype(0), std::move(out));
  std::optional<Dims> dims = in.as_static();
  std::optional<SymDims> contents = c.contents(0);
  if (dims && contents) {
    SymDims moved(contents->size());
    copy_strided(contents->data(), permuted(dims->strides(), order), permuted(*dims, order),
                 moved.data());
    c.set_contents(0, std::move(moved));
  }
  return {};
}

Status reference_transpose(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  std::vector<int> order = axis_order(c.attrs<TransposeAttrs>(), in.dims.rank());
  copy_strided(in, 0, permuted(in.dims.strides(), order), c.output(0).dims, c.output(0));
  return {};
}

}  // namespace

void register_op_transpose(OpRegistry& registry) {
  registry.add({.name = "transpose",
                .inputs = {{"data"}},
                .outputs = {{"transposed"}},
                .attrs = attrs_type<TransposeAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_transpose,
                .reference = reference_transpose});
}

}  // namespace redline
