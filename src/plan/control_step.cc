// SPDX-License-Identifier: Apache-2.0
#include "plan/control_step.h"

#include <algorithm>

namespace redline {
namespace {

bool is_numbers(const Plan& plan, int value) {
  if (value < 0) return false;
  const Type& type = plan.values[static_cast<size_t>(value)].type;
  return type.is_tensor() && type.dtype != DType::kString;
}

bool is_loop(const PlanStep& step) { return step.op->name == "loop"; }

}  // namespace

size_t num_states(const PlanStep& step) {
  return is_loop(step) && step.inputs.size() > kFirstState ? step.inputs.size() - kFirstState : 0;
}

size_t num_results(const PlanStep& step) {
  if (!is_loop(step)) return step.outputs.size();
  return 1 + std::max(num_states(step), step.outputs.size());
}

int handed_on_as(const PlanStep& step, size_t subgraph_output) {
  size_t first = is_loop(step) ? 1 : 0;  // the condition
  size_t most = is_loop(step) ? num_states(step) : step.outputs.size();
  if (subgraph_output < first || subgraph_output - first >= most) return -1;
  size_t output = subgraph_output - first;
  return output < step.outputs.size() ? static_cast<int>(output) : -1;
}

bool is_control_step(const Plan& plan, const PlanStep& step) {
  size_t subgraphs = is_loop(step) ? 1 : step.op->name == "if" ? 2 : 0;
  if (subgraphs == 0 || !step.tactic.empty() || step.subplans.size() != subgraphs ||
      step.captures.size() != subgraphs) {
    return false;
  }
  for (int output : step.outputs) {
    if (!is_numbers(plan, output)) return false;
  }
  for (size_t i = kFirstState; i < step.inputs.size(); ++i) {
    if (!is_numbers(plan, step.inputs[i])) return false;
  }
  size_t own_inputs = is_loop(step) ? kFirstState + num_states(step) : 0;
  for (size_t s = 0; s < subgraphs; ++s) {
    const Plan& body = *step.subplans[s];
    for (int value : step.captures[s]) {
      if (!plan.values[static_cast<size_t>(value)].type.is_tensor()) return false;
    }
    if (body.inputs.size() != own_inputs + step.captures[s].size()) return false;
    if (body.outputs.size() < num_results(step)) return false;
    for (size_t i = 0; i < num_results(step); ++i) {
      if (!is_numbers(body, body.outputs[i].value)) return false;
    }
  }
  return true;
}

}  // namespace redline
