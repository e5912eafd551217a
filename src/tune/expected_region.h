// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "tactics/tactic.h"
#include "tune/check.h"

namespace redline {

// Expected values of an op or a region at single elements, without computing the rest: anchors by
// their `reference_at`, pointwise ops on the operands that these elements read. Null when the
// region has a part for which that does not work.
Result<std::optional<std::vector<Expectation::Output>>> expect_elements(
    const Problem& problem, std::span<const Tensor> inputs, uint64_t seed);

}  // namespace redline
