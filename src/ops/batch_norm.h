// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// batch_norm(x [n, c, ...], scale, bias, mean, var [c]) -> y, running_mean, running_var: with the
// given statistics, or with those of the batch when training_mode; then the running ones are
// given * momentum + batch * (1 - momentum).
struct BatchNormAttrs {
  float epsilon = 1e-5f;
  float momentum = 0.9f;
  bool training_mode = false;
  template <class V>
  void fields(V& v) {
    v("epsilon", epsilon);
    v("momentum", momentum);
    v("training_mode", training_mode);
  }
};

}  // namespace redline
