// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"

namespace redline {

// A regular expression in RE2's syntax on UTF-8 text. Matching takes time linear in the text,
// whatever the pattern. Not supported: Unicode classes (\p), and case folding beyond ASCII under
// (?i). Immutable after compile().
class Regex {
 public:
  using Range = std::pair<char32_t, char32_t>;  // both ends belong to it
  using Set = std::vector<Range>;
  enum class Op : uint8_t { kSet, kSplit, kAssert, kMatch };
  enum class Assert : uint8_t {
    kTextBegin,
    kTextEnd,
    kLineBegin,
    kLineEnd,
    kWordBoundary,
    kNoWordBoundary,
  };
  struct Instruction {
    Op op = Op::kMatch;
    Assert assertion = Assert::kTextBegin;
    int set = 0;    // kSet: index into the sets
    int next = 0;   // where to go on
    int other = 0;  // kSplit: the other way
  };

  static Result<Regex> compile(std::string_view pattern);

  // Whether the whole text matches.
  bool full_match(std::string_view text) const;

 private:
  friend class RegexCompiler;
  std::vector<Instruction> program_;
  std::vector<Set> sets_;
  int start_ = 0;
};

}  // namespace redline
