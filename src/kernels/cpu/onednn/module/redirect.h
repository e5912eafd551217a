// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

namespace redline::kernels::onednn {

struct Redirect {
  const char* symbol;        // as it is written in the importing library's symbol table
  const void* replacement;   // what its calls reach from now on
  void* original = nullptr;  // filled: what they reached before
};

// Makes the imports of the loaded library that contains `address` point elsewhere: all of
// `redirects`, or none (false) when one is not imported by a slot that can be written, does not
// reach the library that contains `provider`, or the platform is unknown. Other libraries' imports
// of the same names stay. Calls that run meanwhile see either function.
bool redirect_imports(const void* address, const void* provider, std::span<Redirect> redirects);

// How many functions that library imports from the one that contains `provider`.
int count_imports(const void* address, const void* provider);

// Whether both addresses lie in one loaded library.
bool in_same_library(const void* a, const void* b);

}  // namespace redline::kernels::onednn
