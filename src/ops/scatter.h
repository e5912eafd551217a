// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "ops/attrs.h"

namespace redline {

enum class ScatterReduction : uint8_t { kNone, kAdd, kMul, kMax, kMin };
constexpr std::array<std::string_view, 5> enum_names(ScatterReduction) {
  return {"none", "add", "mul", "max", "min"};
}

// scatter_elements(data, indices, updates): data with element
// [i.., indices[i.., j, ..], ..] replaced by (or reduced with) updates[i.., j, ..].
struct ScatterElementsAttrs {
  int64_t axis = 0;
  ScatterReduction reduction = ScatterReduction::kNone;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("reduction", reduction);
  }
};

// scatter_nd(data, indices, updates): data with the slice that each row of indices names replaced
// by (or reduced with) the matching slice of updates. Of repeated rows the last one wins.
struct ScatterNdAttrs {
  ScatterReduction reduction = ScatterReduction::kNone;
  template <class V>
  void fields(V& v) {
    v("reduction", reduction);
  }
};

}  // namespace redline
