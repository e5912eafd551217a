// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// identity(x): x itself, a tensor, sequence or optional.

Status infer_identity(InferContext& c) {
  c.set_output(0, c.type(0));
  if (!c.type(0).is_tensor()) return {};
  if (std::optional<SymDims> contents = c.contents(0)) c.set_contents(0, std::move(*contents));
  return {};
}

Status reference_identity(ReferenceContext& c) {
  if (c.input_value(0).kind != HostValue::Kind::kTensor) {
    return c.set_output_value(0, c.input_value(0));
  }
  const TensorView& in = c.input(0);
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    std::copy_n(in.as<const T>(), in.count(), c.output(0).as<T>());
  });
  return {};
}

}  // namespace

void register_op_identity(OpRegistry& registry) {
  registry.add({.name = "identity",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .traits = kTraitPointwise | kTraitMovement | kTraitView | kTraitIdempotent,
                .infer = infer_identity,
                .reference = reference_identity});
}

}  // namespace redline
