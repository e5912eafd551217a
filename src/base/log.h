// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <utility>

#include "redline/log.h"
#include "redline/status.h"

namespace redline {

// Where messages for people go; the library itself prints nothing. Passed as a parameter. Immutable
// once made, so as thread-safe as its callback, which may be called from any thread that works for
// the caller. A default-made logger discards everything.
class Logger {
 public:
  // The message is only valid during the call and has no line end.
  using Callback = std::function<void(Severity, std::string_view message)>;

  Logger() = default;
  // Messages below `least` are neither formatted nor passed on.
  explicit Logger(Callback callback, Severity least = Severity::kInfo)
      : callback_(std::move(callback)), least_(least) {}

  bool enabled(Severity severity) const { return callback_ && severity >= least_; }

  template <class... Pieces>
  void log(Severity severity, const Pieces&... pieces) const {
    if (enabled(severity)) callback_(severity, str_cat(pieces...));
  }
  template <class... Pieces>
  void verbose(const Pieces&... pieces) const {
    log(Severity::kVerbose, pieces...);
  }
  template <class... Pieces>
  void info(const Pieces&... pieces) const {
    log(Severity::kInfo, pieces...);
  }
  template <class... Pieces>
  void warning(const Pieces&... pieces) const {
    log(Severity::kWarning, pieces...);
  }
  template <class... Pieces>
  void error(const Pieces&... pieces) const {
    log(Severity::kError, pieces...);
  }

 private:
  Callback callback_;
  Severity least_ = Severity::kInfo;
};

}  // namespace redline
