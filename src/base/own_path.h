// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace redline {

// The file that this code was linked into: the program, or the shared library or Python module that
// holds us. Modules of ours are looked for beside it. Empty when that cannot be told.
std::string own_path();

}  // namespace redline
