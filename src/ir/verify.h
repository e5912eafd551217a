// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/status.h"
#include "ir/graph.h"

namespace redline {

// Checks an outermost graph: each operand is made before it is read and is visible there, uses are
// exactly the readings, every node has the operands, attributes and subgraphs of its op, and the
// stored types neither contradict nor lag behind what the ops' rules infer. The error lists every
// fault found (up to a number), so that one run shows them all.
Status verify(const Graph& graph);

}  // namespace redline
