// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "ops/attrs.h"

namespace redline {

// string_split(x) -> (pieces, counts): the pieces of each string lie along a new last axis, filled
// up with empty strings. Without a delimiter, runs of white space part the pieces and those at the
// ends are dropped. After `maxsplit` splits the rest stays whole.
struct StringSplitAttrs {
  std::string delimiter;
  std::optional<int64_t> maxsplit;
  template <class V>
  void fields(V& v) {
    v("delimiter", delimiter);
    v("maxsplit", maxsplit);
  }
};

}  // namespace redline
