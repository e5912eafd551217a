// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// The size, or what stands for one that is unknown when a kernel is chosen.
inline int64_t known_or(int64_t size, int64_t usual) { return size == kDynamicDim ? usual : size; }

// n / divisor = n * multiplier >> shift for 0 <= n < 2^31 (kernels/cuda/division.cuh).
struct Reciprocal {
  uint32_t multiplier = 1;
  int shift = 0;
};
Reciprocal reciprocal(int64_t divisor);  // in [1, 2^31)

// Sizes in [0, 2^31) that a kernel has as constants of its text where they are known when that is
// written, else (kDynamicDim) as parameters.
class KernelSizes {
 public:
  void add(std::string name, int64_t value) { sizes_.push_back({std::move(name), value, false}); }
  // A function `name`(n) that is n / value, for n in [0, 2^31); 0 divides like 1.
  void add_quotient(std::string name, int64_t value) {
    sizes_.push_back({std::move(name), value, true});
  }
  // Members of a struct.
  std::string members() const;
  std::string parameters() const;  // ", int height, ...", of a kernel
  // "const Geometry sizes{height, ...};", which makes the struct of them.
  std::string definition() const;
  // Of those parameters, for sizes that are all known. `written`: what the text was written for.
  std::vector<int> values(const KernelSizes& written) const;

 private:
  struct Size {
    std::string name;
    int64_t value;
    bool divides;
  };
  std::vector<Size> sizes_;
};

}  // namespace redline
