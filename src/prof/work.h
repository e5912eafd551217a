// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/work.h"
#include "runtime/step_timer.h"

namespace redline {

// Of step `index` in the sizes of the timer's last run.
Work work_of(const Plan& plan, size_t index, const StepTimer& timer);

}  // namespace redline
