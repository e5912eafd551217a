// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "kernels/cpu/pointwise/program.h"
#include "tactics/tactic.h"

namespace redline {

// A pointwise op, or a region of them, for concrete sizes.
struct PointwiseStep {
  kernels::PointwiseCode code;
  kernels::PointwiseLayout layout;
  std::vector<size_t> inputs;  // those that are present
  int64_t grain = 0;           // elements worth a thread's while
};

Status supports_pointwise(const Problem& problem);
Result<PointwiseStep> make_pointwise_step(const Problem& problem);

}  // namespace redline
