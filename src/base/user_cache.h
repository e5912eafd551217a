// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace redline {

// Where what is measured and compiled is kept for later builds: $REDLINE_CACHE, else
// $XDG_CACHE_HOME/redline, else ~/.cache/redline; "" when none is set. As the XDG specification has
// it, its variable counts only if it is an absolute path.
std::string user_cache_folder();

}  // namespace redline
