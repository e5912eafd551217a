// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/plan.h"
#include "tactics/tactic.h"

namespace redline {

// Gives the plan's copies between host and GPU (and its subplans') the kernel that small ones are
// made with; see tactics/cuda/small_copies.h.
Status give_copy_kernel(Plan& plan, const PrepareArgs& gpu);

}  // namespace redline
