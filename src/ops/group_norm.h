// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// group_norm(x [n, c, ...], scale [c], bias [c]): mean and variance of each sample's groups of
// c / num_groups channels.
struct GroupNormAttrs {
  int64_t num_groups = 1;
  float epsilon = 1e-5f;
  template <class V>
  void fields(V& v) {
    v("num_groups", num_groups);
    v("epsilon", epsilon);
  }
};

// instance_norm(x [n, c, ...], scale [c], bias [c]): of each sample's channels.
struct InstanceNormAttrs {
  float epsilon = 1e-5f;
  template <class V>
  void fields(V& v) {
    v("epsilon", epsilon);
  }
};

}  // namespace redline
