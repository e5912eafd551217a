// SPDX-License-Identifier: Apache-2.0
#include "prof/work.h"

namespace redline {

Work work_of(const Plan& plan, size_t index, const StepTimer& timer) {
  const PlanStep& step = plan.steps[index];
  auto describe = [&](int value) {
    if (value < 0) return Type();
    const Tensor* tensor = timer.value(value);
    if (tensor == nullptr) return plan.values[static_cast<size_t>(value)].type;
    return Type::tensor(tensor->dtype(), Shape::of(tensor->dims()));
  };
  std::vector<Type> inputs;
  std::vector<Type> outputs;
  std::vector<const Tensor*> constants;
  for (int value : step.outputs) outputs.push_back(describe(value));
  for (int value : step.inputs) {
    inputs.push_back(describe(value));
    const PlanConstant* constant = constant_of(plan, value);
    bool plain = constant != nullptr && constant->recipe.empty();
    constants.push_back(plain ? &constant->data : nullptr);
  }
  return work_of(*step.op, step.attrs, inputs, outputs, constants);
}

}  // namespace redline
