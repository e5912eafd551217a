// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// eye_like(matrix): ones on the k-th diagonal of a matrix of zeros of the same size; of the same
// dtype when `dtype` is unset.
struct EyeLikeAttrs {
  std::optional<DType> dtype;
  int64_t k = 0;
  template <class V>
  void fields(V& v) {
    v("dtype", dtype);
    v("k", k);
  }
};

}  // namespace redline
