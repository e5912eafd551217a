// SPDX-License-Identifier: Apache-2.0
#include "build/copy_kernel.h"

#include "build/choose_tactics.h"
#include "tactics/cuda/small_copies.h"

namespace redline {
namespace {

void give(Plan& plan, const std::vector<std::shared_ptr<const PlanKernel>>& kernels) {
  for (PlanStep& step : plan.steps) {
    if (step.is_copy()) step.kernels = kernels;
    for (const auto& subplan : step.subplans) give(*subplan, kernels);
  }
}

}  // namespace

Status give_copy_kernel(Plan& plan, const PrepareArgs& gpu) {
  REDLINE_ASSIGN(auto compiled, gpu.compiler->get(SmallCopies::source(*gpu.gpu)));
  give(plan, {keep_kernel(compiled)});
  return {};
}

}  // namespace redline
