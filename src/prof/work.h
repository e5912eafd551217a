// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/step_timer.h"

namespace redline {

// What a step has to do at least.
struct Work {
  double bytes = 0;  // operands once and results once; of what moves no more than the results
  // A multiplication and an addition are two.
  double matrix_flops = 0;  // of products, convolutions, attention, recurrences
  double other_flops = 0;
  DType matrix_dtype = DType::kFloat32;  // of the first operand of those
};

// Of step `index` in the sizes of the timer's last run.
Work work_of(const Plan& plan, size_t index, const StepTimer& timer);

}  // namespace redline
