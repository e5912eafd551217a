// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace redline {

// Host tensors hold a sub-byte element as one byte: signed integers extended, all others with zeros
// above. Packed data, and the byte that ml_dtypes keeps for it, have only the low bits right.

// The byte of a host tensor for the low bits of `bits`.
inline uint8_t widen_sub_byte(DType dtype, uint8_t bits) {
  const int width = dtype_bits(dtype);
  const auto low = static_cast<uint8_t>(bits & ((1 << width) - 1));
  if (dtype != DType::kInt4 && dtype != DType::kInt2) return low;
  const auto sign = static_cast<uint8_t>(1 << (width - 1));
  return static_cast<uint8_t>((low ^ sign) - sign);
}

// The low bits alone, as ml_dtypes keeps them.
inline uint8_t narrow_sub_byte(DType dtype, uint8_t byte) {
  return static_cast<uint8_t>(byte & ((1 << dtype_bits(dtype)) - 1));
}

inline bool is_sub_byte(DType dtype) { return dtype_bits(dtype) > 0 && dtype_bits(dtype) < 8; }

}  // namespace redline
