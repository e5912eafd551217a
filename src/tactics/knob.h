// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "tactics/tactic.h"

namespace redline {

// The value of a knob; null when the config has none of this name, or one of another type: configs
// come from engine files too.
template <class T>
const T* find_knob(const Config& config, std::string_view name) {
  for (const NamedAttr& attr : config) {
    if (attr.name == name) return std::get_if<T>(&attr.value);
  }
  return nullptr;
}

// The least power of two that is at least `least`, or `most`, which is one itself.
inline int power_of_two(int64_t least, int most) {
  int n = 1;
  while (n < least && n < most) n *= 2;
  return n;
}

inline bool is_power_of_two(int64_t n, int64_t most) {
  return n >= 1 && n <= most && (n & (n - 1)) == 0;
}

}  // namespace redline
