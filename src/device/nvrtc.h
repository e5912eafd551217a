// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/find_library.h"

namespace redline::cuda {

// One kernel as text, whole: nothing is included from files.
struct KernelSource {
  std::string entry;  // its extern "C" name
  std::string text;
  std::string arch;                  // "sm_90a"
  std::vector<std::string> options;  // further ones, e.g. "--use_fast_math"
  int dynamic_shared_bytes = 0;      // of a block, in every launch

  // Threads of a block in every launch: what its __launch_bounds__ begin with; 0: it has none.
  int threads() const;
};

// What came of it.
struct CompiledKernel {
  std::vector<std::byte> cubin;
  int registers = 0;
  int static_shared_bytes = 0;
  int stack_bytes = 0;
  int spill_bytes = 0;  // stores and loads
  // As its source has them; KernelCompiler fills them in.
  std::string entry = {};
  int threads = 0;
  int dynamic_shared_bytes = 0;
};

// How NVRTC is found.
const ToolkitLibrary& nvrtc_library();

// NVIDIA's run-time compiler, which needs neither GPU nor driver. Thread-safe.
class Nvrtc {
 public:
  // Loads libnvrtc once for the process: from the file named by REDLINE_NVRTC; beside this library;
  // by the loader's own search; in the toolkit (CUDA_HOME, /usr/local/cuda); in the
  // nvidia-cuda-nvrtc wheel beside our Python package. The error lists where it was looked for.
  static Result<const Nvrtc*> load();

  // "13.0"; part of the key under which cubins are cached.
  const std::string& version() const { return version_; }
  // An error carries the compiler's log. Warnings of ptxas that a matrix pipeline was serialised
  // (C75xx) are errors: such a kernel is several times slower than it looks.
  Result<CompiledKernel> compile(const KernelSource& source) const;

  struct Functions;

 private:
  Nvrtc() = default;
  static Result<const Nvrtc*> open();
  const Functions* functions_ = nullptr;
  std::string version_;
  bool has_cache_ = false;  // of its own, through the driver
};

}  // namespace redline::cuda
