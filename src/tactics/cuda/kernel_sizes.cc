// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/kernel_sizes.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"

namespace redline {
namespace {

std::string multiplier_of(const std::string& name) { return name + "_multiplier"; }
std::string shift_of(const std::string& name) { return name + "_shift"; }
std::string divisor_of(const std::string& name) { return name + "_divisor"; }

int64_t unless_too_large(std::optional<int64_t> value) { return value.value_or(kDynamicDim); }

SizeText combined(const SizeText& a, char sign, const SizeText& b, std::optional<int64_t> known) {
  if (a.known && b.known && known) return SizeText(*known);
  return SizeText(str_cat("(", a, " ", sign, " ", b, ")"));
}

}  // namespace

int64_t known_sum(int64_t a, int64_t b) {
  if (a == kDynamicDim || b == kDynamicDim) return kDynamicDim;
  return unless_too_large(checked_add(a, b));
}

int64_t known_product(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (a == kDynamicDim || b == kDynamicDim) return kDynamicDim;
  return unless_too_large(checked_mul(a, b));
}

SizeText operator+(const SizeText& a, const SizeText& b) {
  if (b.known == 0) return a;
  return combined(a, '+', b, a.known && b.known ? checked_add(*a.known, *b.known) : std::nullopt);
}

SizeText operator-(const SizeText& a, const SizeText& b) {
  if (b.known == 0) return a;
  return combined(a, '-', b, a.known && b.known ? checked_sub(*a.known, *b.known) : std::nullopt);
}

SizeText operator*(const SizeText& a, const SizeText& b) {
  if (a.known == 1 || b.known == 1) return a.known == 1 ? b : a;
  return combined(a, '*', b, a.known && b.known ? checked_mul(*a.known, *b.known) : std::nullopt);
}

// With l = ceil(log2 d) and m = ceil(2^(31 + l) / d), m * d exceeds 2^(31 + l) by less than d and
// so by less than 2^l: n * m / 2^(31 + l) exceeds n / d by less than 1 / d for n < 2^31.
Reciprocal reciprocal(int64_t divisor) {
  auto d = static_cast<uint64_t>(divisor);
  int log = std::bit_width(d - 1);
  return {static_cast<uint32_t>(((uint64_t{1} << (31 + log)) + d - 1) / d), 31 + log};
}

KernelSizes KernelSizes::indexed() {
  KernelSizes sizes;
  sizes.indexed_ = true;
  return sizes;
}

std::vector<std::string> KernelSizes::arguments(const Size& size) const {
  if (!size.divides) return {size.name};
  std::vector<std::string> names = {multiplier_of(size.name), shift_of(size.name)};
  if (indexed_) names.insert(names.begin(), divisor_of(size.name));
  return names;
}

SizeText KernelSizes::size(std::string_view name) const {
  auto size = std::find_if(sizes_.begin(), sizes_.end(),
                           [&](const Size& other) { return other.name == name; });
  REDLINE_ASSERT(size != sizes_.end());
  return size->value != kDynamicDim ? SizeText(size->value) : SizeText(str_cat("sizes.", name));
}

std::string KernelSizes::divided(std::string_view value, std::string_view name) const {
  SizeText by = size(name);
  return by.known ? str_cat(value, " / idx(", by, ")")
                  : str_cat("sizes.by_", name, "(", value, ")");
}

std::string KernelSizes::quotient_function(const Size& size) const {
  std::string head = indexed_ ? str_cat("  __device__ inline idx ", size.name, "(idx n) const { ")
                              : str_cat("  template <class I>\n  __device__ inline I ", size.name,
                                        "(I n) const { ");
  if (size.value != kDynamicDim) {
    return str_cat(head, "return n / ", std::max<int64_t>(size.value, 1), "; }\n");
  }
  std::string multiplier = multiplier_of(size.name);
  std::string shift = shift_of(size.name);
  std::string wide =
      indexed_ ? str_cat("if (sizeof(idx) > 4) return n / ", divisor_of(size.name), ";\n    ") : "";
  return str_cat("  int ", multiplier, ", ", shift, ";\n", head, wide,
                 "return quotient((int)n, (u32)", multiplier, ", ", shift, "); }\n");
}

std::string KernelSizes::members() const {
  std::string text;
  for (const Size& size : sizes_) {
    bool known = size.value != kDynamicDim;
    if (size.divides) {
      if (indexed_ && !known) text += str_cat("  idx ", divisor_of(size.name), ";\n");
      text += quotient_function(size);
    } else if (known) {
      text += str_cat("  static constexpr ", size_type(), " ", size.name, " = ", size.value, ";\n");
    } else {
      text += str_cat("  ", size_type(), " ", size.name, ";\n");
    }
  }
  return text;
}

std::vector<std::string> KernelSizes::parameter_list() const {
  std::vector<std::string> list;
  for (const Size& size : sizes_) {
    if (size.value != kDynamicDim) continue;
    for (const std::string& name : arguments(size)) {
      list.push_back(str_cat(indexed_ ? "i64 " : "int ", name));
    }
  }
  return list;
}

std::string KernelSizes::parameters() const {
  std::string text;
  for (const std::string& parameter : parameter_list()) text += ", " + parameter;
  return text;
}

std::string KernelSizes::definition() const {
  std::string text;
  for (const Size& size : sizes_) {
    if (size.value != kDynamicDim) continue;
    std::vector<std::string> names = arguments(size);
    for (size_t i = 0; i < names.size(); ++i) {
      // Of a quotient only the divisor is as wide as an index.
      std::string cast = !indexed_ ? "" : i == 0 ? "(idx)" : "(int)";
      text += str_cat(text.empty() ? "" : ", ", cast, names[i]);
    }
  }
  return str_cat("  const Geometry sizes{", text, "};\n");
}

std::vector<int64_t> KernelSizes::indexed_values(const KernelSizes& written) const {
  REDLINE_ASSERT(sizes_.size() == written.sizes_.size());
  std::vector<int64_t> values;
  for (size_t i = 0; i < sizes_.size(); ++i) {
    if (written.sizes_[i].value != kDynamicDim) continue;
    int64_t value = sizes_[i].value;
    if (sizes_[i].divides) {
      value = std::max<int64_t>(value, 1);
      if (indexed_) values.push_back(value);
      // Kernels with 64-bit indices divide by what is larger.
      Reciprocal by = value <= INT32_MAX ? reciprocal(value) : Reciprocal();
      values.push_back(by.multiplier);
      values.push_back(by.shift);
    } else {
      values.push_back(value);
    }
  }
  return values;
}

std::vector<int> KernelSizes::values(const KernelSizes& written) const {
  std::vector<int> values;
  for (int64_t value : indexed_values(written)) values.push_back(static_cast<int>(value));
  return values;
}

}  // namespace redline
