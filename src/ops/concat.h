// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// concat(inputs...): joined along `axis`, which may be negative.
struct ConcatAttrs {
  int64_t axis = 0;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

}  // namespace redline
