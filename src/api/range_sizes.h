// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "base/status.h"
#include "build/build.h"
#include "redline/redline.h"

namespace redline {

// Which sizes an engine for these ranges is to be good at beside the likeliest ones: both ends
// first, then some between the likeliest and either, nearest the ends first. From one to the next
// the product of all sizes at most doubles, before they are rounded to 2^k or 3 * 2^k, as sizes of
// users are; but no more than five are between. Invalid argument if the three of a range fall.
Result<std::vector<BuildOptions::SymbolValues>> range_sizes(
    std::span<const BuildSettings::SizeRange> ranges);

}  // namespace redline
