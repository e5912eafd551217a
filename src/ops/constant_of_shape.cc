// SPDX-License-Identifier: Apache-2.0
#include "ops/constant_of_shape.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_constant_of_shape(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 1));
  const std::optional<Tensor>& value = c.attrs<ConstantOfShapeAttrs>().value;
  if (value && (!value->defined() || value->count() != 1)) {
    return c.error("the value must have one element");
  }
  DType dtype = value ? value->dtype() : DType::kFloat32;
  std::optional<SymDims> dims = c.contents(0);
  std::optional<int64_t> rank = const_length(c, 0);
  if (dims) rank = static_cast<int64_t>(dims->size());
  c.set_output(0, dtype, Shape());
  if (!rank) return {};
  REDLINE_TRY(check_output_rank(c, *rank));
  if (!dims) {
    c.set_output(0, dtype, fresh_dims(c, *rank, "fill"));
    return {};
  }
  for (const Dim& dim : *dims) {
    if (dim.is_const() && dim.value() < 0) {
      return c.input_error(0, str_cat("holds the size ", dim.value()));
    }
  }
  Shape shape(std::move(*dims));
  std::optional<Dims> known = shape.as_static();
  if (known && checked_count({known->begin(), known->end()}).value_or(INT64_MAX) <= 1024 && value &&
      (is_int(dtype) || dtype == DType::kBool)) {
    c.set_contents(0, SymDims(static_cast<size_t>(known->count()), read_ints(value->view())[0]));
  }
  c.set_output(0, dtype, std::move(shape));
  return {};
}

Status reference_constant_of_shape(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  const std::optional<Tensor>& value = c.attrs<ConstantOfShapeAttrs>().value;
  with_storage_type(out.dtype, [&](auto t) {
    using T = decltype(t);
    std::fill_n(out.as<T>(), out.count(), value ? *value->data<T>() : T{});
  });
  return {};
}

}  // namespace

void register_op_constant_of_shape(OpRegistry& registry) {
  registry.add({.name = "constant_of_shape",
                .inputs = {{"shape"}},
                .outputs = {{"filled"}},
                .attrs = attrs_type<ConstantOfShapeAttrs>(),
                .infer = infer_constant_of_shape,
                .reference = reference_constant_of_shape});
}

}  // namespace redline
