// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "build/choose_tactics.h"

namespace redline {

// Kernels one behind another that may run beside those of the first stream.
struct Branch {
  std::vector<size_t> steps;
  int stream = 1;
};

// What could run side by side, if kernels took as long as alone however many run, and waiting for
// another stream took some time.
std::vector<Branch> find_branches(const Plan& plan, const TacticRegistry& tactics);

// Gives steps of such branches streams of their own: those that make the whole faster, as far as
// this build or an earlier one measured that; all or none, where the options say so.
void choose_streams(Plan& plan, DeviceTuner& gpu, const TacticRegistry& tactics,
                    const BuildOptions& options, StreamsReport& report);
// What was measured is for later builds that come to the same plan.
void note_streams(const Plan& plan, DeviceTuner& gpu, const BuildOptions& options,
                  const StreamsReport& report);

}  // namespace redline
