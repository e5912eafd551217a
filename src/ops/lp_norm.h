// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// lp_norm(x): x over its L1 or L2 norm along `axis`; 0 where the norm is 0.
struct LpNormAttrs {
  int64_t axis = -1;
  int64_t p = 2;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("p", p);
  }
};

// mean_variance_norm(x): (x - mean) / (standard deviation + 1e-9) over the named axes.
struct MeanVarianceNormAttrs {
  std::vector<int64_t> axes = {0, 2, 3};
  template <class V>
  void fields(V& v) {
    v("axes", axes);
  }
};

// lrn(x [n, c, ...]): x / (bias + alpha / size * sum(x^2 over `size` channels around))^beta.
struct LrnAttrs {
  int64_t size = 1;
  float alpha = 1e-4f;
  float beta = 0.75f;
  float bias = 1;
  template <class V>
  void fields(V& v) {
    v("size", size);
    v("alpha", alpha);
    v("beta", beta);
    v("bias", bias);
  }
};

}  // namespace redline
