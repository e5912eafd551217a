// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string_view>

#include "ops/attrs.h"

namespace redline {

enum class CausalActivation : uint8_t { kNone, kSilu };
inline std::span<const std::string_view> enum_names(CausalActivation) {
  static constexpr std::string_view kNames[] = {"none", "silu"};
  return kNames;
}

// causal_conv_with_state(input [n, c, length], weight [c, 1, k], bias? [c], past_state? [n, c,
// k-1])
// -> output [n, c, length], present_state? [n, c, k-1]: a depthwise convolution over past_state
// (zeros when absent) followed by the input; the last k-1 of these are the present state.
struct CausalConvAttrs {
  CausalActivation activation = CausalActivation::kNone;
  template <class V>
  void fields(V& v) {
    v("activation", activation);
  }
};

}  // namespace redline
