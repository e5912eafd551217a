// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/plan.h"
#include "tactics/tactic.h"

namespace redline {

// Whether every step may be run the way the plan says, as far as that can be told before sizes are
// known: a plan may come from a file that somebody made up, and what reads the file knows no
// tactics. Subplans are left out: each has an executor of its own, which asks again.
Status check_plan(const Plan& plan, const TacticRegistry& tactics, bool has_gpu);

// What a step's tactic was asked when the engine was built: sizes that may vary are kDynamicDim.
// `inputs` are the step's or a variant's.
Problem problem_of(const Plan& plan, const PlanStep& step, std::span<const int> inputs);

// Whether an op's rule, asked for known sizes, agrees with what the plan declares of its result.
// `dims` are the declared sizes in numbers, null where they are not known yet.
Status check_result(const PlanStep& step, const PlanValue& declared, const Type& inferred,
                    const Dims* dims);

// Whether a value that a step made is of the kind and element type that the plan declares.
Status check_made(const PlanValue& declared, const HostValue& value);

}  // namespace redline
