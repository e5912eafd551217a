// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "ir/graph.h"

namespace redline {

// True when the nodes (of one graph, in its order) can become one: nothing outside of them both
// depends on one and is read by another, and what reads their results comes after the last.
bool can_fuse(std::span<Node* const> nodes);

// Replaces the nodes by one `fused` node at the place of the last. Its inputs are what they read
// from outside in order of first reading; one-element constants become part of the body. Its
// outputs are what is read outside. Nodes that are `fused` already are taken apart first.
// can_fuse() must hold.
Result<Node*> fuse_nodes(Graph& graph, std::span<Node* const> nodes);

}  // namespace redline
