// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ops/op.h"

// Products whose attribute `tf32` is set round their f32 operands to tf32 before they multiply;
// sums and results are f32. It is what the ops mean, so references do it too.
namespace redline {

// The nearest number of f32's range with 11 bits, ties away from zero.
inline float round_to_tf32(float value) {
  if (!std::isfinite(value)) return value;
  return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + 0x1000U) & ~0x1fffU);
}

// An operand as the product takes it.
template <class W>
std::vector<W> factors(std::vector<W> values, bool tf32) {
  if (!tf32) return values;
  for (W& value : values) value = static_cast<W>(round_to_tf32(static_cast<float>(value)));
  return values;
}

inline Status check_tf32(const InferContext& c, bool tf32) {
  if (!tf32 || c.dtype(0) == DType::kFloat32) return {};
  return c.error(str_cat("tf32 rounds f32 operands, not ", dtype_name(c.dtype(0))));
}

}  // namespace redline
