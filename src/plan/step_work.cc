// SPDX-License-Identifier: Apache-2.0
#include "plan/step_work.h"

namespace redline {

Work work_of_step(const Plan& plan, const PlanStep& step,
                  const std::function<Type(int value)>& type_of) {
  std::vector<Type> inputs;
  std::vector<Type> outputs;
  std::vector<const Tensor*> constants;
  for (int value : step.inputs) {
    inputs.push_back(value < 0 ? Type() : type_of(value));
    const PlanConstant* constant = constant_of(plan, value);
    bool plain = constant != nullptr && constant->recipe.empty();
    constants.push_back(plain ? &constant->data : nullptr);
  }
  for (int value : step.outputs) outputs.push_back(value < 0 ? Type() : type_of(value));
  return work_of(*step.op, step.attrs, inputs, outputs, constants);
}

}  // namespace redline
