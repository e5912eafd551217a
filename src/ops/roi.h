// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "ops/attrs.h"

namespace redline {

enum class RoiMode : uint8_t { kAvg, kMax };
inline std::span<const std::string_view> enum_names(RoiMode) {
  static constexpr std::string_view kNames[] = {"avg", "max"};
  return kNames;
}

enum class RoiCoordinates : uint8_t { kHalfPixel, kOutputHalfPixel };
inline std::span<const std::string_view> enum_names(RoiCoordinates) {
  static constexpr std::string_view kNames[] = {"half_pixel", "output_half_pixel"};
  return kNames;
}

// roi_align(x [n, c, h, w], rois [r, 4] as x1, y1, x2, y2, batch_indices [r]).
struct RoiAlignAttrs {
  RoiMode mode = RoiMode::kAvg;
  RoiCoordinates coordinate_transformation_mode = RoiCoordinates::kHalfPixel;
  int64_t output_height = 1;
  int64_t output_width = 1;
  int64_t sampling_ratio = 0;  // samples along an axis of a bin; 0: as many as pixels
  float spatial_scale = 1;
  template <class V>
  void fields(V& v) {
    v("mode", mode);
    v("coordinate_transformation_mode", coordinate_transformation_mode);
    v("output_height", output_height);
    v("output_width", output_width);
    v("sampling_ratio", sampling_ratio);
    v("spatial_scale", spatial_scale);
  }
};

// max_roi_pool(x [n, c, h, w], rois [r, 5] as batch, x1, y1, x2, y2).
struct MaxRoiPoolAttrs {
  std::vector<int64_t> pooled_shape;
  float spatial_scale = 1;
  template <class V>
  void fields(V& v) {
    v("pooled_shape", pooled_shape);
    v("spatial_scale", spatial_scale);
  }
};

// non_max_suppression(boxes [n, b, 4], scores [n, k, b], max_output_boxes_per_class?,
// iou_threshold?, score_threshold?) -> [selected, 3] of batch, class, box. Boxes are two opposite
// corners y1, x1, y2, x2, or (center_point_box) x, y, width, height.
struct NonMaxSuppressionAttrs {
  bool center_point_box = false;
  template <class V>
  void fields(V& v) {
    v("center_point_box", center_point_box);
  }
};

}  // namespace redline
