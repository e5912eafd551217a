// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// softmax(x), log_softmax(x), hardmax(x): along one axis. hardmax is 1 at the first maximum.
struct SoftmaxAttrs {
  int64_t axis = -1;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

}  // namespace redline
