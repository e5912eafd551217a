// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "ir/graph.h"
#include "ops/body.h"

namespace redline {

// True when the nodes (of one graph, in its order) can become one: nothing outside of them both
// depends on one and is read by another, and what reads their results comes after the last.
bool can_fuse(std::span<Node* const> nodes);

// A region before it is made: its inputs are what the nodes read from outside, in order of first
// reading; one-element constants become part of the body. Its outputs are what is read outside.
struct RegionDraft {
  std::shared_ptr<const Body> body;
  std::vector<Value*> inputs;
  std::vector<Value*> outputs;  // as the nodes make them now
};
// Nodes that are `fused` already are taken apart.
Result<RegionDraft> draft_region(std::span<Node* const> nodes);

// Replaces the nodes by one `fused` node at the place of the last. can_fuse() must hold.
Result<Node*> fuse_nodes(Graph& graph, std::span<Node* const> nodes);

}  // namespace redline
