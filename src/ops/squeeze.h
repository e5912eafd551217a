// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// flatten(data): a matrix whose rows are the axes before `axis`, in [-rank, rank].
struct FlattenAttrs {
  int64_t axis = 1;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

}  // namespace redline
