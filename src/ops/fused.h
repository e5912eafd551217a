// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "ops/body.h"

namespace redline {

// fused(inputs...) -> outputs...: a region of ops that one kernel carries out: at most one anchor
// (convolution, product, reduction, normalisation, ...) with pointwise ops before and behind it.
// Its meaning is the body, run node by node, with f16 and bf16 values inside kept in f32: they are
// rounded where they leave it and where a cast says so.
struct FusedAttrs {
  std::shared_ptr<const Body> body;
  template <class V>
  void fields(V& v) {
    v("body", body);
  }
};

// The node of the body that is not pointwise (nor a constant): the anchor; null when all are
// pointwise. With several such nodes, the first.
const BodyNode* find_anchor(const Body& body);

// What each value of the body is, given the types of the region's inputs; `constants` may hold the
// values of constant inputs (null elsewhere).
Result<std::vector<Type>> infer_body(const Body& body, std::span<const Type> inputs,
                                     std::span<const Tensor* const> constants = {});

// Calls visit for each node of the body with the types of its operands (an absent one's is empty)
// and of its results. Fails where infer_body() does, and then calls nothing.
using BodyVisitor = std::function<void(const BodyNode& node, std::span<const Type> operands,
                                       std::span<const Type> results)>;
Status visit_body(const Body& body, std::span<const Type> inputs,
                  std::span<const Tensor* const> constants, const BodyVisitor& visit);

}  // namespace redline
