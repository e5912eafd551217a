// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "core/dims.h"

namespace redline {

// Flat indices of the elements to check, ascending: all of a small tensor; else the corners, the
// first and last few along each axis (where blocked loops end), and seeded random ones.
std::vector<int64_t> sample_elements(const Dims& dims, uint64_t seed);

}  // namespace redline
