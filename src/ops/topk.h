// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// topk(x, k) -> values, indices: the k largest (or smallest) elements along `axis`; of equal ones
// those with the lower index. NaNs are the largest. The reference sorts them in any case.
struct TopKAttrs {
  int64_t axis = -1;
  bool largest = true;
  bool sorted = true;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("largest", largest);
    v("sorted", sorted);
  }
};

}  // namespace redline
