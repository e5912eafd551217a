// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// one_hot(indices, depth, values = [off, on]): a new axis of size depth, put at `axis` of the
// result, holds `on` at the index and `off` elsewhere.
struct OneHotAttrs {
  int64_t axis = -1;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

}  // namespace redline
