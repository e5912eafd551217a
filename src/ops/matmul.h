// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// matmul(a, b): as numpy has it.
struct MatmulAttrs {
  bool tf32 = false;  // see tf32.h
  template <class V>
  void fields(V& v) {
    v("tf32", tf32);
  }
};

}  // namespace redline
