// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unordered_set>

#include "passes/pass.h"

namespace redline {

// Which nodes compute in a 16-bit type, and why the others do not.
struct HalfPlan {
  std::unordered_set<const Node*> lowered;
  std::unordered_set<const Node*> follow;  // read either type, and better the one that is there
  std::unordered_set<const Value*> large;  // may leave the range of the type
  PrecisionReport report;
};
HalfPlan plan_half(const Graph& graph, const PassOptions& options);

// Tensors of f32, which is what gets lowered.
bool is_f32(const Value* value);

}  // namespace redline
