// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// unique(x): the distinct slices along `axis` (elements of the flattened x when unset), ascending
// or in order of appearance; where each first appears; which one each slice of x is; how often each
// appears. NaNs count as equal and are the largest.
struct UniqueAttrs {
  std::optional<int64_t> axis;
  bool sorted = true;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("sorted", sorted);
  }
};

}  // namespace redline
