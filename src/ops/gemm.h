// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// gemm(a, b, c?): alpha * a' * b' + beta * c, where ' transposes when the flag is set and c
// broadcasts to the product. All of rank 2.
struct GemmAttrs {
  float alpha = 1;
  float beta = 1;
  bool trans_a = false;
  bool trans_b = false;
  bool tf32 = false;  // see tf32.h
  template <class V>
  void fields(V& v) {
    v("alpha", alpha);
    v("beta", beta);
    v("trans_a", trans_a);
    v("trans_b", trans_b);
    v("tf32", tf32);
  }
};

}  // namespace redline
