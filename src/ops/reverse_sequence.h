// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// reverse_sequence(data, lengths): reverses the first lengths[b] steps of each sequence b.
struct ReverseSequenceAttrs {
  int64_t batch_axis = 1;
  int64_t time_axis = 0;
  template <class V>
  void fields(V& v) {
    v("batch_axis", batch_axis);
    v("time_axis", time_axis);
  }
};

}  // namespace redline
