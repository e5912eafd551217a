// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "ops/attrs.h"
#include "ops/op.h"

namespace redline {

// One op inside a fused region. Operands are indices: 0..num_inputs-1 are the region's inputs, then
// the results of the nodes in order (every output of a node takes one index); -1 is an absent
// operand.
struct BodyNode {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<int> inputs;
  int num_outputs = 1;
};

// The inside of a fused region: a short straight-line program of ops. Small constants are nodes
// (op `constant`), so that the printed body tells the whole computation.
struct Body {
  int num_inputs = 0;
  std::vector<BodyNode> nodes;
  std::vector<int> outputs;
};

bool operator==(const Body& a, const Body& b);
uint64_t hash_body(const Body& body);
// "{2 in; 2 = conv(0, 1) {group=2}; 3 = relu(2); return 3}"
std::string body_to_string(const Body& body);

}  // namespace redline
