// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <limits>

#include "core/dtype.h"

namespace redline {

// The integers that an integer type (or bool) holds, as int64 (for u64: up to its maximum clamped
// to that of int64) and as uint64.
constexpr int64_t int_min(DType dtype) {
  if (!is_signed_int(dtype)) return 0;
  switch (dtype) {
    case DType::kInt64:
      return std::numeric_limits<int64_t>::min();
    case DType::kInt32:
      return std::numeric_limits<int32_t>::min();
    case DType::kInt16:
      return std::numeric_limits<int16_t>::min();
    case DType::kInt8:
      return std::numeric_limits<int8_t>::min();
    case DType::kInt4:
      return -8;
    default:
      return -2;
  }
}
constexpr int64_t int_max(DType dtype) {
  switch (dtype) {
    case DType::kInt64:
    case DType::kUInt64:
      return std::numeric_limits<int64_t>::max();
    case DType::kInt32:
      return std::numeric_limits<int32_t>::max();
    case DType::kInt16:
      return std::numeric_limits<int16_t>::max();
    case DType::kInt8:
      return std::numeric_limits<int8_t>::max();
    case DType::kInt4:
      return 7;
    case DType::kInt2:
      return 1;
    case DType::kUInt32:
      return std::numeric_limits<uint32_t>::max();
    case DType::kUInt16:
      return std::numeric_limits<uint16_t>::max();
    case DType::kUInt8:
      return std::numeric_limits<uint8_t>::max();
    case DType::kUInt4:
      return 15;
    case DType::kUInt2:
      return 3;
    default:
      return 1;
  }
}

// Towards zero, limited to [low, high]; NaN gives 0.
inline int64_t saturating_int64(double value, int64_t low, int64_t high) {
  if (value != value) return low > 0 ? low : 0;
  if (value <= static_cast<double>(low)) return low;
  if (value >= static_cast<double>(high)) return high;
  return static_cast<int64_t>(value);
}
inline uint64_t saturating_uint64(double value) {
  if (!(value > 0)) return 0;
  if (value >= 0x1p64) return std::numeric_limits<uint64_t>::max();
  return static_cast<uint64_t>(value);
}

}  // namespace redline
