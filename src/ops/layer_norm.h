// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// layer_norm(x, scale, bias?) -> y, mean, inv_std_dev and rms_norm(x, scale) -> y, inv_rms: over
// the axes from `axis` on. Scale and bias broadcast to x. The statistics are of stash_dtype.
struct LayerNormAttrs {
  int64_t axis = -1;
  float epsilon = 1e-5f;
  DType stash_dtype = DType::kFloat32;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("epsilon", epsilon);
    v("stash_dtype", stash_dtype);
  }
};

}  // namespace redline
