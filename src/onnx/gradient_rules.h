// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "onnx/import_rule.h"

namespace redline {

using ValueMap = std::unordered_map<const Value*, Value*>;

// Reverse-mode differentiation: dy/dx for each x of `xs`, where `nodes`, in their order, compute y.
// The graph of `c` gets the nodes that compute it. Zeros for an x that y does not depend on. A node
// on the way that has no derivative, or none that is known here, is an error that names it.
Result<std::vector<Value*>> differentiate(ImportContext& c, std::span<Node* const> nodes, Value* y,
                                          std::span<Value* const> xs);

}  // namespace redline
