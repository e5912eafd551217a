// SPDX-License-Identifier: Apache-2.0
#include "core/dtype.h"

#include <string>

namespace redline {
namespace {

struct Info {
  std::string_view name;
  uint8_t bytes;
  uint8_t bits;
};

constexpr Info kInfo[kNumDTypes] = {
    {"f64", 8, 64},     {"f32", 4, 32},       {"f16", 2, 16},   {"bf16", 2, 16},
    {"f8e4m3fn", 1, 8}, {"f8e4m3fnuz", 1, 8}, {"f8e5m2", 1, 8}, {"f8e5m2fnuz", 1, 8},
    {"f8e8m0", 1, 8},   {"f4e2m1", 1, 4},     {"i64", 8, 64},   {"i32", 4, 32},
    {"i16", 2, 16},     {"i8", 1, 8},         {"i4", 1, 4},     {"i2", 1, 2},
    {"u64", 8, 64},     {"u32", 4, 32},       {"u16", 2, 16},   {"u8", 1, 8},
    {"u4", 1, 4},       {"u2", 1, 2},         {"bool", 1, 8},   {"str", sizeof(std::string), 0},
};

}  // namespace

std::string_view dtype_name(DType dtype) { return kInfo[static_cast<int>(dtype)].name; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (int i = 0; i < kNumDTypes; ++i) {
    if (kInfo[i].name == name) return static_cast<DType>(i);
  }
  return std::nullopt;
}

size_t dtype_bytes(DType dtype) { return kInfo[static_cast<int>(dtype)].bytes; }
int dtype_bits(DType dtype) { return kInfo[static_cast<int>(dtype)].bits; }

}  // namespace redline
