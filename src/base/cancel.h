// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace redline {

// Progress of a long call and the caller's way to stop it. Passed as a parameter; a default-made
// one reports to nobody and never cancels. Immutable; called from the thread that runs the long
// call.
class Progress {
 public:
  // Gets the phase's name ("tune") and the done fraction of that phase in [0, 1]. Returning false
  // cancels the call, which then undoes its half-done work and returns a cancelled status.
  using Callback = std::function<bool(std::string_view phase, double fraction)>;

  Progress() = default;
  explicit Progress(Callback callback) : callback_(std::move(callback)) {}

  // For use as REDLINE_TRY(progress.report("tune", 0.5)). A fraction outside [0, 1] is clamped.
  Status report(std::string_view phase, double fraction) const {
    if (!callback_ || callback_(phase, std::clamp(fraction, 0.0, 1.0))) return {};
    return cancelled("stopped by the caller in phase '", phase, "'");
  }

 private:
  Callback callback_;
};

}  // namespace redline
