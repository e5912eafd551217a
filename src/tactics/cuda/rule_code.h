// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/numeric.h"
#include "tactics/cuda/element.h"

// What element rules of several families write.
namespace redline {

inline size_t at_axis(int64_t axis, int rank) {
  return static_cast<size_t>(axis < 0 ? axis + rank : axis);
}

inline std::string int_literal(int64_t value) {
  return value == INT64_MIN ? "(-9223372036854775807LL - 1)" : str_cat("(", value, "LL)");
}

// The greatest or the least value of an element type, in its compute type.
inline std::string extreme(DType dtype, const std::string& type, bool largest) {
  if (is_float(dtype)) return str_cat(type, largest ? "(INFINITY)" : "(-INFINITY)");
  if (dtype == DType::kBool) return largest ? "true" : "false";
  if (is_unsigned_int(dtype))
    return largest ? str_cat("(~u64(0) >> ", 64 - dtype_bits(dtype), ")") : "u64(0)";
  int64_t value = largest ? int_max(dtype) : int_min(dtype);
  return value == INT64_MIN ? "(-9223372036854775807LL - 1)" : str_cat("i64(", value, "LL)");
}

inline std::string zero_of(DType dtype) { return str_cat(compute_type(dtype), "(0)"); }

// The first element of an operand that has one.
inline Result<std::string> read_scalar(ElementContext& c, size_t i) {
  return c.read(i, ElementIndex(c.input(i).dims.size(), "0"));
}

// Entry k of a small integer operand, as an i64: a number where the builder knows it, else read on
// the way.
inline Result<std::string> int_entry(ElementContext& c, size_t i, size_t k) {
  if (c.input(i).constant != nullptr) {
    REDLINE_ASSIGN(std::vector<int64_t> values, c.constant_ints(i));
    if (k >= values.size()) return invalid_argument("operand ", i, " has no element ", k);
    return int_literal(values[k]);
  }
  ElementIndex at(c.input(i).dims.size(), std::to_string(k));
  REDLINE_ASSIGN(std::string value, c.read(i, at));
  return c.let("i64", str_cat("(i64)", value));
}

// An axis that comes with the run, counted from the front.
inline std::string axis_from_front(ElementContext& c, const std::string& given, int rank) {
  c.refuse_if(str_cat("(i64)", given, " < -", rank, " || (i64)", given, " >= ", rank));
  return c.let("i64",
               str_cat("(i64)", given, " < 0 ? (i64)", given, " + ", rank, " : (i64)", given));
}

// The one of `choices` whose number `axis` is; 0 for others.
inline std::string chosen_by(const std::string& axis, const std::vector<std::string>& choices) {
  std::string text = "idx(0)";
  for (size_t d = choices.size(); d-- > 0;) {
    text = str_cat("(", axis, " == ", d, " ? (idx)(", choices[d], ") : ", text, ")");
  }
  return text;
}

// `at` with `x` along an axis that comes with the run.
inline ElementIndex replaced_along(const std::string& axis, const ElementIndex& at,
                                   const std::string& x) {
  ElementIndex index;
  for (size_t d = 0; d < at.size(); ++d) {
    index.push_back(str_cat("(", axis, " == ", d, " ? (idx)(", x, ") : (idx)(", at[d], "))"));
  }
  return index;
}

// x along an axis of this size, or 0 where the axis is broadcast.
inline std::string broadcast_index(const std::string& size, const std::string& x) {
  if (size == "1") return "0";
  bool known = !size.empty() && size[0] >= '0' && size[0] <= '9';
  return known ? x : str_cat("(", size, " == 1 ? idx(0) : (idx)(", x, "))");
}

// `at` for an operand that is broadcast to it from the right.
inline ElementIndex broadcast_index(const ElementOperand& operand, const ElementIndex& at) {
  ElementIndex index;
  for (size_t i = 0; i < operand.dims.size(); ++i) {
    index.push_back(broadcast_index(operand.dims[i], at[at.size() - operand.dims.size() + i]));
  }
  return index;
}

// An index from data, counted from the end when negative. A wrong one is refused, and kept inside,
// so that it reads no foreign memory.
inline constexpr const char* kIndexInside =
    "__device__ inline bool index_outside(i64 i, i64 size) { return i < -size || i >= size; }\n"
    "__device__ inline idx index_inside(i64 i, i64 size) {\n"
    "  if (i < 0) i += size;\n"
    "  return (idx)(i < 0 || size == 0 ? 0 : i >= size ? size - 1 : i);\n}";
inline std::string index_inside(ElementContext& c, const std::string& given,
                                const std::string& size) {
  c.function(kIndexInside);
  std::string index = c.let("i64", "(i64)" + given);
  c.refuse_if(str_cat("index_outside(", index, ", (i64)(", size, "))"));
  return c.let("idx", str_cat("index_inside(", index, ", (i64)(", size, "))"));
}

// Before a loop: keeps nvcc from unrolling it, where nested copies would not fit the registers.
inline void keep_rolled(ElementContext& c) { c.line("#pragma unroll 1"); }

// "sum += a * b"; integers wrap.
inline std::string add_product(std::string_view type, const std::string& sum, const std::string& a,
                               const std::string& b) {
  return type == "i64" ? str_cat(sum, " = (i64)((u64)", sum, " + (u64)", a, " * (u64)", b, ");")
                       : str_cat(sum, " += ", a, " * ", b, ";");
}

// An operand of a product, rounded where the op says so (ops/tf32.h).
inline std::string factor(const std::string& value, bool tf32) {
  return tf32 ? str_cat("round_to_tf32(", value, ")") : value;
}

}  // namespace redline
