// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "plan/plan.h"
#include "tactics/tactic.h"

namespace redline {

// Whether the value's sizes follow from those of the plan's inputs, for each value of the plan.
// What is no tensor of numbers has none.
std::vector<bool> sized_values(const Plan& plan);

// Gives each value the space that its maker writes to, and puts copies where it is read on the
// other side: inputs are uploaded first, other values right before their first reader there, and
// outputs are downloaded last. Constants have a value of their own on each side that reads them.
void insert_copies(Plan& plan, const TacticRegistry& tactics, const OpDef& identity);

}  // namespace redline
