// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// reduce_sum, _mean, _max, _min, _prod, _l1, _l2, _sum_square, _log_sum, _log_sum_exp(data, axes?):
// over the named axes. Without axes (or with none in the list) over all of them, or over none when
// noop_with_empty_axes: then what is not the reduction itself (the logarithm, the square) is still
// done.
struct ReduceAttrs {
  bool keepdims = true;
  bool noop_with_empty_axes = false;
  template <class V>
  void fields(V& v) {
    v("keepdims", keepdims);
    v("noop_with_empty_axes", noop_with_empty_axes);
  }
};

}  // namespace redline
