// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <vector>

#include "tune/trial.h"

namespace redline {

struct TimingEffort {
  int min_rounds = 3;
  int max_rounds = 30;
  double enough_us = 5000;  // of runs of one candidate; min_rounds are made all the same
};

struct Timing {
  double us = 0;  // the least run after the first; 0: failed, or stopped before one
  Status status;  // why it failed
};

// Runs the trials in turn, so that all see the same disturbances, and gives up early on those that
// fall behind. `time_is_up` is asked before each run; once true, all that is left is 0 results.
std::vector<Timing> time_in_turn(std::span<Trial* const> trials, const TimingEffort& effort,
                                 const std::function<bool()>& time_is_up);

}  // namespace redline
