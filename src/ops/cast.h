// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "ops/attrs.h"

namespace redline {

enum class ScaleRound : uint8_t { kUp, kDown, kNearest };
inline std::span<const std::string_view> enum_names(ScaleRound) {
  static constexpr std::string_view kNames[] = {"up", "down", "nearest"};
  return kNames;
}

// cast(input): each element converted to `to`. `saturate` is for results of an 8-bit float type,
// `round_mode` for f8e8m0.
// What ONNX leaves open: a float beyond an integer type's range saturates, and NaN becomes 0; but
// i4, u4, i2 and u2 keep the low bits of the whole number, which is what ONNX's test cases expect.
// Strings are read as numbers with blanks around them allowed; other text is an error.
struct CastAttrs {
  DType to = DType::kFloat32;
  bool saturate = true;
  ScaleRound round_mode = ScaleRound::kUp;
  template <class V>
  void fields(V& v) {
    v("to", to);
    v("saturate", saturate);
    v("round_mode", round_mode);
  }
};

// bit_cast(input): the same bits as another type of the same width.
struct BitCastAttrs {
  DType to = DType::kFloat32;
  template <class V>
  void fields(V& v) {
    v("to", to);
  }
};

}  // namespace redline
