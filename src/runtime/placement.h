// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "plan/memory_plan.h"
#include "plan/plan.h"
#include "plan/step_order.h"

namespace redline {

// What is known of a plan when the sizes of its inputs are.
struct SizedPlan {
  const Plan& plan;
  std::span<const Dims> dims;       // of each sized value; their bytes can be added up
  const std::vector<bool>& sized;   // one a value: its sizes follow from the inputs'
  const std::vector<bool>& output;  // one a value: the caller gets it
  std::vector<bool> dynamic;        // one a step: it asks for its sizes during the run
  // Which steps may run side by side; their values then share no memory.
  const StepOrder& order;
};

// Where the values of a plan lie for one set of sizes. A part of a value (split, slice, one index
// of gather) is a view where its elements lie together; the operands of a concat are made in its
// result where they lie together there, and none of them has a place already. Neither is done
// where it would need more memory than copying, nor on a GPU where a part would not lie at a
// multiple of 16 bytes, which its kernels count on.
struct Placement {
  std::vector<int> root;           // of each value: the value whose memory it lies in
  std::vector<size_t> offset;      // and where in it, in bytes
  std::vector<bool> elided;        // of each step: its results are in place without running it
  std::vector<int> item_of_value;  // index into the plan of its space, -1: not in an arena
  MemoryPlan host;
  MemoryPlan device;
};

Placement plan_placement(const SizedPlan& sized);

}  // namespace redline
