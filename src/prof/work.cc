// SPDX-License-Identifier: Apache-2.0
#include "prof/work.h"

#include "plan/step_work.h"

namespace redline {

Work work_of(const Plan& plan, size_t index, const StepTimer& timer) {
  return work_of_step(plan, plan.steps[index], [&](int value) {
    const Tensor* tensor = timer.value(value);
    if (tensor == nullptr) return plan.values[static_cast<size_t>(value)].type;
    return Type::tensor(tensor->dtype(), Shape::of(tensor->dims()));
  });
}

}  // namespace redline
