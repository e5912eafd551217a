// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/kernel_sizes.h"

#include <algorithm>
#include <bit>

namespace redline {
namespace {

std::string multiplier_of(const std::string& name) { return name + "_multiplier"; }
std::string shift_of(const std::string& name) { return name + "_shift"; }

}  // namespace

// With l = ceil(log2 d) and m = ceil(2^(31 + l) / d), m * d exceeds 2^(31 + l) by less than d and
// so by less than 2^l: n * m / 2^(31 + l) exceeds n / d by less than 1 / d for n < 2^31.
Reciprocal reciprocal(int64_t divisor) {
  auto d = static_cast<uint64_t>(divisor);
  int log = std::bit_width(d - 1);
  return {static_cast<uint32_t>(((uint64_t{1} << (31 + log)) + d - 1) / d), 31 + log};
}

std::string KernelSizes::members() const {
  std::string text;
  for (const Size& size : sizes_) {
    bool known = size.value != kDynamicDim;
    std::string function =
        str_cat("  template <class I>\n  __device__ inline I ", size.name, "(I n) const { return ");
    if (size.divides && known) {
      text += str_cat(function, "n / ", std::max<int64_t>(size.value, 1), "; }\n");
    } else if (size.divides) {
      std::string multiplier = multiplier_of(size.name);
      std::string shift = shift_of(size.name);
      text += str_cat("  int ", multiplier, ", ", shift, ";\n", function, "quotient((int)n, (u32)",
                      multiplier, ", ", shift, "); }\n");
    } else if (known) {
      text += str_cat("  static constexpr int ", size.name, " = ", size.value, ";\n");
    } else {
      text += str_cat("  int ", size.name, ";\n");
    }
  }
  return text;
}

std::string KernelSizes::parameters() const {
  std::string text;
  for (const Size& size : sizes_) {
    if (size.value != kDynamicDim) continue;
    text += size.divides
                ? str_cat(", int ", multiplier_of(size.name), ", int ", shift_of(size.name))
                : str_cat(", int ", size.name);
  }
  return text;
}

std::string KernelSizes::definition() const {
  std::string text;
  for (const Size& size : sizes_) {
    if (size.value != kDynamicDim) continue;
    if (!text.empty()) text += ", ";
    text += size.divides ? str_cat(multiplier_of(size.name), ", ", shift_of(size.name)) : size.name;
  }
  return str_cat("  const Geometry sizes{", text, "};\n");
}

std::vector<int> KernelSizes::values(const KernelSizes& written) const {
  REDLINE_ASSERT(sizes_.size() == written.sizes_.size());
  std::vector<int> values;
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (written.sizes_[i].value != kDynamicDim) continue;
    if (!sizes_[i].divides) {
      values.push_back(static_cast<int>(sizes_[i].value));
      continue;
    }
    Reciprocal by = reciprocal(std::max<int64_t>(sizes_[i].value, 1));
    values.push_back(static_cast<int>(by.multiplier));
    values.push_back(by.shift);
  }
  return values;
}

}  // namespace redline
