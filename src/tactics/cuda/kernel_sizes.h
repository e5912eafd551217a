// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// The size, or what stands for one that is unknown when a kernel is chosen.
inline int64_t known_or(int64_t size, int64_t usual) { return size == kDynamicDim ? usual : size; }

// kDynamicDim where either is, or where the result does not fit; nothing times what is unknown is
// nothing.
int64_t known_sum(int64_t a, int64_t b);
int64_t known_product(int64_t a, int64_t b);

// n / divisor = n * multiplier >> shift for 0 <= n < 2^31 (kernels/cuda/division.cuh).
struct Reciprocal {
  uint32_t multiplier = 1;
  int shift = 0;
};
Reciprocal reciprocal(int64_t divisor);  // in [1, 2^31)

// A number in a kernel's text: an expression where it is not known.
struct SizeText {
  std::optional<int64_t> known;
  std::string text;
  explicit SizeText(int64_t value) : known(value), text(std::to_string(value)) {}
  explicit SizeText(std::string expression) : text(std::move(expression)) {}
  operator std::string_view() const { return text; }  // NOLINT: implicit, for str_cat
};
SizeText operator+(const SizeText& a, const SizeText& b);
SizeText operator-(const SizeText& a, const SizeText& b);
SizeText operator*(const SizeText& a, const SizeText& b);

// Sizes in [0, 2^31) that a kernel has as constants of its text where they are known when that is
// written, else (kDynamicDim) as parameters.
class KernelSizes {
 public:
  // Of a kernel whose indices are idx (kernels/cuda/index.cuh): sizes and indices are that too, and
  // of any value where it has 64 bits. Its parameters are i64.
  static KernelSizes indexed();
  void add(std::string name, int64_t value) { sizes_.push_back({std::move(name), value, false}); }
  // A function `name`(n) that is n / value, for n in [0, 2^31); 0 divides like 1.
  void add_quotient(std::string name, int64_t value) {
    sizes_.push_back({std::move(name), value, true});
  }
  // Both, the function as by_`name`; see divided().
  void add_divisor(const std::string& name, int64_t value) {
    add(name, value);
    add_quotient("by_" + name, value);
  }
  bool all_known() const { return parameter_list().empty(); }
  // In a kernel's text behind definition(): the number, or "sizes.NAME".
  SizeText size(std::string_view name) const;
  // There too: `value` divided by a size of add_divisor().
  std::string divided(std::string_view value, std::string_view name) const;
  // Members of a struct.
  std::string members() const;
  std::vector<std::string> parameter_list() const;  // "int height", ..., of a kernel
  std::string parameters() const;                   // ", int height, ..."
  // "const Geometry sizes{height, ...};", which makes the struct of them.
  std::string definition() const;
  // Of those parameters, for sizes that are all known. `written`: what the text was written for.
  std::vector<int> values(const KernelSizes& written) const;
  std::vector<int64_t> indexed_values(const KernelSizes& written) const;

 private:
  struct Size {
    std::string name;
    int64_t value;
    bool divides;
  };
  std::string size_type() const { return indexed_ ? "idx" : "int"; }
  std::vector<std::string> arguments(const Size& size) const;  // of an unknown size
  std::string quotient_function(const Size& size) const;
  std::vector<Size> sizes_;
  bool indexed_ = false;
};

}  // namespace redline
