// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// compress(data, condition): the slices along `axis` (of the flattened data when unset) where the
// condition holds; it may be shorter than the axis.
struct CompressAttrs {
  std::optional<int64_t> axis;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

}  // namespace redline
