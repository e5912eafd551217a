// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace redline::cuda {

// A library of the toolkit that not every program needs.
struct ToolkitLibrary {
  const char* variable;                 // names its file: "REDLINE_NVRTC"
  std::vector<const char*> names;       // "libnvrtc.so.13", the best first
  std::vector<const char*> in_toolkit;  // folders: "lib64"
  std::vector<const char*> in_wheels;   // beside our Python package: "nvidia/cu13/lib"
};

// Where it is looked for, in this order: the file that the variable names and nothing else; beside
// this library, by the loader's own search, in the toolkit (CUDA_HOME, /usr/local/cuda), in
// NVIDIA's wheels.
std::vector<std::string> places_of(const ToolkitLibrary& library);

// Opens the first there is, never to be closed. not_found starts with `missing`, which says what to
// do, and lists where it was looked for.
Result<void*> open_library(const ToolkitLibrary& library, std::string_view missing);

// The file that an open library came from.
std::string file_of(void* library);

}  // namespace redline::cuda
