// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// cum_sum(x, axis), cum_prod(x, axis): of all elements up to each one, itself left out when
// `exclusive`, from the end when `reverse`.
struct CumulativeAttrs {
  bool exclusive = false;
  bool reverse = false;
  template <class V>
  void fields(V& v) {
    v("exclusive", exclusive);
    v("reverse", reverse);
  }
};

}  // namespace redline
