// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "prof/profile.h"

namespace redline {

// Runs under the GPU's own trace, and puts down the one with the median time: each step's time in
// its graph. Whatever stands in the way becomes Profile::graph_left_out; fails only when it is
// stopped.
Status trace_graphs(StepTimer& timer, const OpenTrace& open, const Progress& progress,
                    Profile& profile);

}  // namespace redline
