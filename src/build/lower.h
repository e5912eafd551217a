// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ir/graph.h"
#include "plan/plan.h"

namespace redline {

// The graph as steps in its own order. Ops that only rename elements become views; subgraphs become
// plans of their own that take what they read from outside as further inputs. Every step is left to
// the reference; choose_tactics() replaces that where a tactic is better.
Result<Plan> lower_graph(const Graph& graph);

}  // namespace redline
