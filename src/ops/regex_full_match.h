// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "ops/attrs.h"

namespace redline {

// regex_full_match(x): for each string, whether the whole of it matches `pattern` (RE2's syntax).
struct RegexFullMatchAttrs {
  std::string pattern;
  template <class V>
  void fields(V& v) {
    v("pattern", pattern);
  }
};

}  // namespace redline
