// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// gather(data, indices), gather_elements(data, indices): along `axis`; negative indices count from
// the end.
struct GatherAttrs {
  int64_t axis = 0;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
  }
};

// gather_nd(data, indices): each row of indices names a slice of data[b...] for the leading
// batch_dims axes b that both share.
struct GatherNdAttrs {
  int64_t batch_dims = 0;
  template <class V>
  void fields(V& v) {
    v("batch_dims", batch_dims);
  }
};

}  // namespace redline
