// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "build/build.h"
#include "ops/work.h"

namespace redline {

// A plan's kernels as they would run on a GPU that is not here: each alone takes as long as records
// say or else a guess, some part of which the GPU is busy with it; those that run side by side slow
// each other down when these parts add up to more than the whole. One that waits for a kernel of
// another stream starts later. There are no variants.
class PredictedChain final : public Chain {
 public:
  // `types`: of the plan's values, in sizes that are likely; a kernel whose sizes are not told
  // keeps the whole GPU busy. `aside`: of each step whether it is a kernel that streams can have.
  PredictedChain(const Plan& plan, std::span<const Type> types, const Rates& rates,
                 std::vector<bool> aside);
  Result<double> time(std::span<const int>, int) override { return us_; }
  Status use_sizes(std::span<const Dims>) override { return unsupported("is for its own sizes"); }
  Status use_streams(std::span<const int> streams) override;

 private:
  struct Step {
    double us = 0;    // alone
    double busy = 1;  // the part of the GPU
    std::vector<size_t> makers;
  };
  std::vector<Step> steps_;
  // Of all steps when they are on these streams.
  Result<double> predict(std::span<const int> streams) const;

  std::vector<bool> aside_;
  double us_ = 0;
};

// Microseconds of a kernel that no record tells of, and until one of another stream can start.
inline constexpr double kUntimedUs = 3;
inline constexpr double kStreamWaitUs = 2;

}  // namespace redline
