// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// transpose(data): axis i of the result is axis perm[i] of the data. An empty perm reverses the
// axes; the importer writes it out when the rank is known.
struct TransposeAttrs {
  std::vector<int64_t> perm;
  template <class V>
  void fields(V& v) {
    v("perm", perm);
  }
};

}  // namespace redline
