// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/control_flow.h"
#include "plan/plan.h"

namespace redline {

// Whether a step is an `if` or a `loop` of tensors of numbers alone. In an engine for a GPU the
// host decides, but what goes in and out of the subgraphs lies on either side: what they capture, a
// loop's states, and what comes of both.
bool is_control_step(const Plan& plan, const PlanStep& step);

// How many states a loop has, 0 of an `if`.
size_t num_states(const PlanStep& step);
// How many outputs of a subgraph a step reads: of a loop's body the condition, all states, and what
// is stacked.
size_t num_results(const PlanStep& step);
// Which output of the step an output of a subgraph becomes; -1: none, or it is one of those that
// a loop stacks, on the host.
int handed_on_as(const PlanStep& step, size_t subgraph_output);

}  // namespace redline
