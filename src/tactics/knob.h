// SPDX-License-Identifier: Apache-2.0
#pragma once

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

}  // namespace redline
