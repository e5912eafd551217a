// SPDX-License-Identifier: Apache-2.0
#include "ops/shape.h"

#include <algorithm>

#include "ops/op.h"

namespace redline {
namespace {

// [start, end) clamped to [0, rank], as ONNX Shape-15 has it.
std::pair<int, int> axis_range(const ShapeAttrs& attrs, int rank) {
  auto clamp = [rank](int64_t axis) {
    if (axis < 0) axis += rank;
    return static_cast<int>(std::clamp<int64_t>(axis, 0, rank));
  };
  int start = clamp(attrs.start);
  return {start, std::max(start, attrs.end ? clamp(*attrs.end) : rank)};
}

Status infer_shape(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    c.set_output(0, DType::kInt64, SymDims{c.fresh_symbol("rank")});
    return {};
  }
  auto [start, end] = axis_range(c.attrs<ShapeAttrs>(), in.rank());
  c.set_output(0, DType::kInt64, SymDims{Dim(end - start)});
  c.set_contents(0, SymDims(in.dims().begin() + start, in.dims().begin() + end));
  return {};
}

Status reference_shape(ReferenceContext& c) {
  const Dims& in = c.input(0).dims;
  auto [start, end] = axis_range(c.attrs<ShapeAttrs>(), in.rank());
  std::copy(in.begin() + start, in.begin() + end, c.output(0).as<int64_t>());
  return {};
}

}  // namespace

void register_op_shape(OpRegistry& registry) {
  registry.add({.name = "shape",
                .inputs = {{"data"}},
                .outputs = {{"shape"}},
                .attrs = attrs_type<ShapeAttrs>(),
                .traits = kTraitReadsSizes,
                .infer = infer_shape,
                .reference = reference_shape});
}

}  // namespace redline
