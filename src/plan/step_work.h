// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "ops/work.h"
#include "plan/plan.h"

namespace redline {

// What a step has to do, where type_of() says what its operands and results are.
Work work_of_step(const Plan& plan, const PlanStep& step,
                  const std::function<Type(int value)>& type_of);

}  // namespace redline
