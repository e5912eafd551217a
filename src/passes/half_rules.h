// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ir/graph.h"

namespace redline {

// What a 16-bit float type means for an op, kernels being taken to compute in f32 inside.
enum class HalfUse : uint8_t {
  kGains,    // products and the like, which are what hardware does faster
  kCarries,  // safe; worth it between ops that gain
  kFollows,  // reads either type with the same result, makes no f32
  kKeeps,    // stays in f32
};

struct HalfRule {
  HalfUse use = HalfUse::kKeeps;
  std::string_view reason;  // of kKeeps
};

// What the op and its attributes tell; ranges of values are another matter (value_range.h).
HalfRule half_rule(const Node& node);

// False for operands that say where or how much, and stay f32 beside half data: coordinates,
// scales, statistics.
bool is_half_operand(const Node& node, size_t operand);
// The operand's values act the same when cut to the type's range: bounds, additive masks.
bool may_saturate(const Node& node, size_t operand);
// The operand's values are added to others, beside which tiny ones vanish without harm.
bool is_added(const Node& node, size_t operand);
// Made of one operand of its size, often to be small beside 1: as a result of the graph, which is
// f32, it costs no more in f32 and keeps what it has of small numbers.
bool is_final_step(const Node& node);
// The results are small whatever the operands are.
bool settles(const Node& node);

}  // namespace redline
