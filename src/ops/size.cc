// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

namespace redline {
namespace {

// size(data): the number of elements as an int64 scalar.

Status infer_size(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  c.set_output(0, DType::kInt64, SymDims{});
  if (std::optional<Dim> count = c.shape(0).count()) c.set_contents(0, {*count});
  return {};
}

Status reference_size(ReferenceContext& c) {
  *c.output(0).as<int64_t>() = c.input(0).count();
  return {};
}

}  // namespace

void register_op_size(OpRegistry& registry) {
  registry.add({.name = "size",
                .inputs = {{"data"}},
                .outputs = {{"size"}},
                .traits = kTraitReadsSizes,
                .infer = infer_size,
                .reference = reference_size});
}

}  // namespace redline
