// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string_view>

namespace redline {

enum class Severity : uint8_t { kVerbose, kInfo, kWarning, kError };

constexpr std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kVerbose:
      return "verbose";
    case Severity::kInfo:
      return "info";
    case Severity::kWarning:
      return "warning";
    case Severity::kError:
      return "error";
  }
  return "unknown";
}

}  // namespace redline
