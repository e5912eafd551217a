// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// shape(data): the sizes of axes [start, end) as int64[end - start].
struct ShapeAttrs {
  int64_t start = 0;
  std::optional<int64_t> end;
  template <class V>
  void fields(V& v) {
    v("start", start);
    v("end", end);
  }
};

}  // namespace redline
