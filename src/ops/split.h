// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// split(data, sizes?): parts along `axis`, of the given sizes, else `num_outputs` (by default as
// many as the node has outputs) equal ones of which the last may be smaller. Trailing outputs that
// nobody reads may be left out.
struct SplitAttrs {
  int64_t axis = 0;
  std::optional<int64_t> num_outputs;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("num_outputs", num_outputs);
  }
};

}  // namespace redline
