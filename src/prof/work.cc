// SPDX-License-Identifier: Apache-2.0
#include "prof/work.h"

#include <algorithm>

#include "ops/fused.h"

namespace redline {
namespace {

void add_flops(const OpDef& op, const Attrs& attrs, std::span<const Type> inputs,
               std::span<const Type> outputs, Work& work) {
  if (op.cost == nullptr) return;
  double flops = op.cost(inputs, outputs, attrs).flops;
  if (op.has(kTraitPointwise) || op.has(kTraitReduction)) {
    work.other_flops += flops;
    return;
  }
  work.matrix_flops += flops;
  work.matrix_dtype = inputs[0].dtype;
}

}  // namespace

Work work_of(const Plan& plan, size_t index, const StepTimer& timer) {
  const PlanStep& step = plan.steps[index];
  Work work;
  bool known = true;
  auto describe = [&](int value, std::vector<Type>& types) -> double {
    const Tensor* tensor = timer.value(value);
    types.emplace_back();
    known &= tensor != nullptr || value < 0;
    if (tensor == nullptr) return 0;
    types.back() = Type::tensor(tensor->dtype(), Shape::of(tensor->dims()));
    return static_cast<double>(tensor->bytes());
  };
  std::vector<Type> inputs;
  std::vector<Type> outputs;
  for (int value : step.outputs) work.bytes += describe(value, outputs);
  double results = work.bytes;
  std::vector<const Tensor*> constants;
  for (int value : step.inputs) {
    double bytes = describe(value, inputs);
    if (step.op->has(kTraitReadsSizes)) bytes = 0;
    work.bytes += step.op->has(kTraitMovement) ? std::min(bytes, results) : bytes;
    const PlanConstant* constant = constant_of(plan, value);
    bool plain = constant != nullptr && constant->recipe.empty();
    constants.push_back(plain ? &constant->data : nullptr);
  }
  if (!known || !step.subplans.empty()) return work;
  if (step.op->name == "fused") {
    const Body& body = *step.attrs.as<FusedAttrs>().body;
    // Without types nothing is said.
    static_cast<void>(
        visit_body(body, inputs, constants, [&](const BodyNode& node, auto own, auto made) {
          add_flops(*node.op, node.attrs, own, made, work);
        }));
  } else {
    add_flops(*step.op, step.attrs, inputs, outputs, work);
  }
  return work;
}

}  // namespace redline
