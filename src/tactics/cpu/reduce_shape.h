// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/cpu/reduce/reduce.h"
#include "tactics/tactic.h"

namespace redline {

// A reduction of [outer][reduced][inner] to [outer][inner].
struct ReduceShape {
  kernels::ReduceOp op = kernels::ReduceOp::kSum;
  int64_t reduced = 1;
  int64_t inner = 1;
};

// Of a problem with a reduction as its op; concrete sizes for the second.
Status supports_reduce(const Problem& problem);
Result<ReduceShape> reduce_shape(const Problem& problem);
// Results worth a thread's while.
int64_t reduce_grain(const ReduceShape& shape);

}  // namespace redline
