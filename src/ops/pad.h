// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "ops/attrs.h"

namespace redline {

enum class PadMode : uint8_t { kConstant, kReflect, kEdge, kWrap };
constexpr std::array<std::string_view, 4> enum_names(PadMode) {
  return {"constant", "reflect", "edge", "wrap"};
}

// pad(data, pads, constant_value?, axes?): pads holds the begins, then the ends, of all axes or of
// those named; negative ones crop, before anything is mirrored or repeated.
struct PadAttrs {
  PadMode mode = PadMode::kConstant;
  template <class V>
  void fields(V& v) {
    v("mode", mode);
  }
};

// center_crop_pad(data, shape): crops or pads with zeros around the centre of the named axes (of
// all when empty).
struct CenterCropPadAttrs {
  std::optional<std::vector<int64_t>> axes;
  template <class V>
  void fields(V& v) {
    v("axes", axes);
  }
};

}  // namespace redline
