// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "ops/attrs.h"

namespace redline {

enum class CacheMode : uint8_t { kLinear, kCircular };
constexpr std::array<std::string_view, 2> enum_names(CacheMode) { return {"linear", "circular"}; }

// tensor_scatter(past_cache, update, write_indices?): the cache with `update` written along `axis`
// from write_indices[b] (0 when absent) on for each sample b of the first axis; circular mode wraps
// around.
struct TensorScatterAttrs {
  int64_t axis = -2;
  CacheMode mode = CacheMode::kLinear;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("mode", mode);
  }
};

}  // namespace redline
