// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "ops/attrs.h"

namespace redline {

enum class ResizeMode : uint8_t { kNearest, kLinear, kCubic };
inline std::span<const std::string_view> enum_names(ResizeMode) {
  static constexpr std::string_view kNames[] = {"nearest", "linear", "cubic"};
  return kNames;
}

// From an output coordinate to an input coordinate.
enum class ResizeCoordinates : uint8_t {
  kHalfPixel,
  kHalfPixelSymmetric,
  kPytorchHalfPixel,
  kAlignCorners,
  kAsymmetric,
  kTfCropAndResize,
  kTfHalfPixelForNn,  // opset 11 only
};
inline std::span<const std::string_view> enum_names(ResizeCoordinates) {
  static constexpr std::string_view kNames[] = {
      "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel",  "align_corners",
      "asymmetric", "tf_crop_and_resize",   "tf_half_pixel_for_nn"};
  return kNames;
}

enum class ResizeNearest : uint8_t { kRoundPreferFloor, kRoundPreferCeil, kFloor, kCeil };
inline std::span<const std::string_view> enum_names(ResizeNearest) {
  static constexpr std::string_view kNames[] = {"round_prefer_floor", "round_prefer_ceil", "floor",
                                                "ceil"};
  return kNames;
}

enum class KeepAspectRatio : uint8_t { kStretch, kNotLarger, kNotSmaller };
inline std::span<const std::string_view> enum_names(KeepAspectRatio) {
  static constexpr std::string_view kNames[] = {"stretch", "not_larger", "not_smaller"};
  return kNames;
}

// resize(x, roi?, scales?, sizes?): exactly one of scales and sizes. They and roi have an entry for
// each of `axes` (all axes when empty).
struct ResizeAttrs {
  ResizeMode mode = ResizeMode::kNearest;
  ResizeCoordinates coordinate_transformation_mode = ResizeCoordinates::kHalfPixel;
  ResizeNearest nearest_mode = ResizeNearest::kRoundPreferFloor;
  KeepAspectRatio keep_aspect_ratio_policy = KeepAspectRatio::kStretch;
  std::vector<int64_t> axes;
  bool antialias = false;
  bool exclude_outside = false;
  float cubic_coeff_a = -0.75f;
  float extrapolation_value = 0;
  template <class V>
  void fields(V& v) {
    v("mode", mode);
    v("coordinate_transformation_mode", coordinate_transformation_mode);
    v("nearest_mode", nearest_mode);
    v("keep_aspect_ratio_policy", keep_aspect_ratio_policy);
    v("axes", axes);
    v("antialias", antialias);
    v("exclude_outside", exclude_outside);
    v("cubic_coeff_a", cubic_coeff_a);
    v("extrapolation_value", extrapolation_value);
  }
};

// What happens along one axis.
struct AxisResize {
  size_t axis = 0;
  int64_t in = 0;
  int64_t out = 0;
  double scale = 1;
  double roi_start = 0;
  double roi_end = 1;
};

// The input coordinate of output o; none when it is outside of what tf_crop_and_resize covers.
std::optional<double> resize_coordinate(ResizeCoordinates mode, const AxisResize& a, int64_t o);
int64_t resize_nearest_index(ResizeNearest mode, double x, int64_t in);

}  // namespace redline
