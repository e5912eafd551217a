// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/attrs.h"

namespace redline {

enum class CaseChange : uint8_t { kNone, kLower, kUpper };
inline std::span<const std::string_view> enum_names(CaseChange) {
  static constexpr std::string_view kNames[] = {"NONE", "LOWER", "UPPER"};
  return kNames;
}

// string_normalizer(x[C] or [1, C]): drops the strings that are stop words, changes the case of the
// others; one empty string when none is left.
struct StringNormalizerAttrs {
  CaseChange case_change_action = CaseChange::kNone;
  bool is_case_sensitive = false;
  std::vector<std::string> stopwords;
  template <class V>
  void fields(V& v) {
    v("case_change_action", case_change_action);
    v("is_case_sensitive", is_case_sensitive);
    v("stopwords", stopwords);
  }
};

}  // namespace redline
