// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/status.h"

namespace redline {

// What a kernel moves neighbouring elements in that it does not look at: words, of which compilers
// keep several accesses on their way. Smaller elements they take apart, and wait for each.
struct MovedUnit {
  std::string type;
  int bytes = 1;
  int count = 1;  // of an access
};

// Of accesses of `lanes` elements of `bytes` each, both powers of two.
inline MovedUnit moved_unit(int lanes, int bytes) {
  MovedUnit unit;
  unit.bytes = bytes < 4 && lanes * bytes >= 4 ? 4 : bytes;
  unit.type = str_cat("u", 8 * unit.bytes);
  unit.count = lanes * bytes / unit.bytes;
  return unit;
}

}  // namespace redline
