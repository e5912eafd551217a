// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// A problem for some of its samples, whose results are those of the whole problem for them.
struct BatchSlice {
  Problem problem;
  std::vector<bool> sliced;      // of its inputs, whether it has only the samples
  std::vector<int64_t> samples;  // of the whole problem's, in order
};

// The first, the last and one between, or fewer: at most `count`. Unset unless axis 0 of all
// outputs counts samples that each follow from the same sample of some inputs and from the whole of
// others, as far as the ops in it are known to be so: pointwise, norms and softmax of inner axes,
// pools, convolutions, attention, reductions of inner axes. Sizes are known.
std::optional<BatchSlice> slice_batch(const Problem& problem, int64_t count, uint64_t seed);

// The samples of a tensor.
Result<Tensor> take_samples(const Tensor& tensor, std::span<const int64_t> samples);

}  // namespace redline
