// SPDX-License-Identifier: Apache-2.0
#include "base/user_cache.h"

#include <cstdlib>

namespace redline {

std::string user_cache_folder() {
  auto variable = [](const char* name) -> std::string {
    // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets variables here
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
  };
  if (std::string own = variable("REDLINE_CACHE"); !own.empty()) return own;
  if (std::string xdg = variable("XDG_CACHE_HOME"); xdg.starts_with('/')) return xdg + "/redline";
  if (std::string home = variable("HOME"); home.starts_with('/')) return home + "/.cache/redline";
  return "";
}

}  // namespace redline
