// SPDX-License-Identifier: Apache-2.0
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// string_concat(x, y): x's text followed by y's, element by element, broadcast.

Status infer_string_concat(InferContext& c) {
  for (size_t i = 0; i < 2; ++i) {
    REDLINE_TRY(c.expect_tensor(i));
    if (c.dtype(i) != DType::kString) return c.input_error(i, "must hold strings");
  }
  Shape shapes[] = {c.shape(0), c.shape(1)};
  REDLINE_ASSIGN(Shape shape, broadcast_shapes(shapes));
  c.set_output(0, DType::kString, std::move(shape));
  return {};
}

Status reference_string_concat(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  const auto* x = c.input(0).as<const std::string>();
  const auto* y = c.input(1).as<const std::string>();
  Dims strides[2] = {broadcast_strides(c.input(0).dims, out.dims),
                     broadcast_strides(c.input(1).dims, out.dims)};
  for_each_offset(out.dims, strides, [&](int64_t i, const int64_t(&offset)[2]) {
    out.as<std::string>()[i] = x[offset[0]] + y[offset[1]];
  });
  return {};
}

}  // namespace

void register_op_string_concat(OpRegistry& registry) {
  registry.add({.name = "string_concat",
                .inputs = {{"x"}, {"y"}},
                .outputs = {{"z"}},
                .traits = kTraitPointwise,
                .infer = infer_string_concat,
                .reference = reference_string_concat});
}

}  // namespace redline
