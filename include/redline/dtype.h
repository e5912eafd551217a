// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "redline/export.h"

namespace redline {

// Element types. Sub-byte types take one byte an element in host tensors (packing is a choice of a
// tactic's weight recipe); kString elements are std::string objects.
enum class DType : uint8_t {
  kFloat64,
  kFloat32,
  kFloat16,
  kBFloat16,
  kFloat8E4M3FN,
  kFloat8E4M3FNUZ,
  kFloat8E5M2,
  kFloat8E5M2FNUZ,
  kFloat8E8M0,
  kFloat4E2M1,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kInt4,
  kInt2,
  kUInt64,
  kUInt32,
  kUInt16,
  kUInt8,
  kUInt4,
  kUInt2,
  kBool,
  kString,
};
inline constexpr int kNumDTypes = 24;

// "f32", "bf16", "f8e4m3fn", "i64", "bool", "str": the names of the IR text form.
REDLINE_API std::string_view dtype_name(DType dtype);
REDLINE_API std::optional<DType> parse_dtype(std::string_view name);

// Bytes of one element in a host tensor.
REDLINE_API size_t dtype_bytes(DType dtype);
// Bits that carry information: 4 for kInt4.
REDLINE_API int dtype_bits(DType dtype);

constexpr bool is_float(DType d) { return d <= DType::kFloat4E2M1; }
constexpr bool is_signed_int(DType d) { return d >= DType::kInt64 && d <= DType::kInt2; }
constexpr bool is_unsigned_int(DType d) { return d >= DType::kUInt64 && d <= DType::kUInt2; }
constexpr bool is_int(DType d) { return d >= DType::kInt64 && d <= DType::kUInt2; }

}  // namespace redline
