// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"

namespace redline {

// A kernel that keeps registers in memory for want of more of them; or one whose matrix
// instructions wait for each other, which no engine gets (Nvrtc::compile).
struct Spill {
  static constexpr int kSerialised = -1;
  std::string kernel;  // tactic, entry, config and problem
  int bytes = 0;       // stores and loads, or kSerialised
  int registers = 0;
};

// The spills that are known and accepted, in a file with the compiler that made them ("# NVRTC
// 13.0") and lines "ARCH BYTES KERNEL" or "ARCH serialised KERNEL".
class SpillList {
 public:
  static Result<SpillList> read(const std::string& path);

  const std::string& compiler() const { return compiler_; }
  // Whether it was made with this compiler; kernels of others spill elsewhere.
  bool suits(const std::string& compiler) const {
    return compiler_.empty() || compiler_ == compiler;
  }
  // What differs for an architecture, a line each; empty when nothing does.
  std::string difference(const std::string& arch, const std::vector<Spill>& found) const;
  // Takes what was found in place of the lines of an architecture, and writes the file.
  Status replace(const std::string& arch, const std::string& compiler,
                 const std::vector<Spill>& found);

 private:
  using Kernels = std::map<std::string, int>;  // bytes
  static Kernels by_kernel(const std::vector<Spill>& found);
  std::string path_, compiler_;
  std::map<std::string, Kernels> arches_;
};

}  // namespace redline
