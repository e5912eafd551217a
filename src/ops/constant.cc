// SPDX-License-Identifier: Apache-2.0
#include "ops/constant.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_constant(InferContext& c) {
  const Tensor& value = c.attrs<ConstantAttrs>().value;
  if (!value.defined()) return c.error("has no value");
  c.set_output(0, value.dtype(), Shape::of(value.dims()));
  if (!tracks_contents(value.dims())) return {};
  if (!is_int(value.dtype()) && value.dtype() != DType::kBool) return {};
  std::vector<int64_t> ints = read_ints(value.view());
  c.set_contents(0, SymDims(ints.begin(), ints.end()));
  return {};
}

Status reference_constant(ReferenceContext& c) {
  const Tensor& value = c.attrs<ConstantAttrs>().value;
  with_storage_type(value.dtype(), [&](auto t) {
    using T = decltype(t);
    std::copy_n(value.data<T>(), value.count(), c.output(0).as<T>());
  });
  return {};
}

}  // namespace

void register_op_constant(OpRegistry& registry) {
  registry.add({.name = "constant",
                .inputs = {},
                .outputs = {{"value"}},
                .attrs = attrs_type<ConstantAttrs>(),
                .infer = infer_constant,
                .reference = reference_constant});
}

}  // namespace redline
