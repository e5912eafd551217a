// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>

#include "ops/attrs.h"

namespace redline {

enum class LossReduction : uint8_t { kMean, kSum, kNone };
constexpr std::array<std::string_view, 3> enum_names(LossReduction) {
  return {"mean", "sum", "none"};
}

// nll_loss(log_probs [n, c, ...], target [n, ...], weight [c]?): -log_probs at the target times its
// weight; 0 where the target is ignore_index. The mean is over the weights that were met.
// softmax_cross_entropy_loss(scores, target, weight?) -> loss, log_prob: the same of log_softmax.
struct LossAttrs {
  LossReduction reduction = LossReduction::kMean;
  std::optional<int64_t> ignore_index;
  template <class V>
  void fields(V& v) {
    v("reduction", reduction);
    v("ignore_index", ignore_index);
  }
};

}  // namespace redline
