// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// trilu(data, k?): the last two axes with the other side of the k-th diagonal set to zero.
struct TriluAttrs {
  bool upper = true;
  template <class V>
  void fields(V& v) {
    v("upper", upper);
  }
};

}  // namespace redline
