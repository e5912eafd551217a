// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// arg_max(data), arg_min(data): where the first (or last) extreme along `axis` is; a NaN is both.
struct ArgReduceAttrs {
  int64_t axis = 0;
  bool keepdims = true;
  bool select_last_index = false;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("keepdims", keepdims);
    v("select_last_index", select_last_index);
  }
};

}  // namespace redline
