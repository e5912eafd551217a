// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "tactics/tactic.h"

namespace redline {

// What a problem is checked with: the model's own constants, seeded random values elsewhere;
// indices of a gather lie within its data. With `small_ints` other integers are 0 or 1, which is
// good as an index, a mask and a count. Numbers that are not
// constants are in [-scale, scale). Absent inputs are undefined tensors. Sizes are concrete.
Result<std::vector<Tensor>> make_check_inputs(const Problem& problem, uint64_t seed,
                                              bool small_ints, double scale = 1);

}  // namespace redline
