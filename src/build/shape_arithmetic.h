// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "plan/plan.h"

namespace redline {

// Whether each step of the plan computes, from sizes that only the run tells, a handful of numbers:
// the host has those sizes and wants the numbers, so such steps are its own even beside a GPU.
// `sized`: of each value, whether its sizes follow from the inputs'.
std::vector<bool> shape_arithmetic(const Plan& plan, const std::vector<bool>& sized);

}  // namespace redline
