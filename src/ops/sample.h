// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "ops/attrs.h"

namespace redline {

enum class SampleMode : uint8_t { kLinear, kNearest, kCubic };
inline std::span<const std::string_view> enum_names(SampleMode) {
  static constexpr std::string_view kNames[] = {"linear", "nearest", "cubic"};
  return kNames;
}

enum class SamplePadding : uint8_t { kZeros, kBorder, kReflection };
inline std::span<const std::string_view> enum_names(SamplePadding) {
  static constexpr std::string_view kNames[] = {"zeros", "border", "reflection"};
  return kNames;
}

// grid_sample(x [n, c, d1..dr], grid [n, o1..or, r]): x at the places that grid names, from -1 to 1
// along each axis, innermost axis first.
struct GridSampleAttrs {
  SampleMode mode = SampleMode::kLinear;
  SamplePadding padding_mode = SamplePadding::kZeros;
  bool align_corners = false;
  template <class V>
  void fields(V& v) {
    v("mode", mode);
    v("padding_mode", padding_mode);
    v("align_corners", align_corners);
  }
};

// affine_grid(theta [n, r, r+1], size [r+2]): the grid that grid_sample takes.
struct AffineGridAttrs {
  bool align_corners = false;
  template <class V>
  void fields(V& v) {
    v("align_corners", align_corners);
  }
};

}  // namespace redline
