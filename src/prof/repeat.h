// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/cancel.h"
#include "base/status.h"

namespace redline {

// Calls once(kept) to warm up, then `runs` times with true.
template <class Once>
Status repeat(int runs, const Progress& progress, std::string_view phase, Once&& once) {
  constexpr int kWarmUp = 2;
  for (int run = 0; run < runs + kWarmUp; ++run) {
    REDLINE_TRY(progress.report(phase, static_cast<double>(run) / (runs + kWarmUp)));
    REDLINE_TRY(once(run >= kWarmUp));
  }
  return {};
}

}  // namespace redline
