// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/cast.h"
#include "ops/numeric.h"
#include "ops/pointwise.h"
#include "tactics/cuda/element.h"

namespace redline {
namespace {

// The index of an operand that broadcasts to the output.
ElementIndex broadcast(const ElementOperand& operand, const ElementOperand& output,
                       const ElementIndex& at) {
  ElementIndex index;
  int extra = output.rank() - operand.rank();
  for (int axis = 0; axis < operand.rank(); ++axis) {
    if (axis + extra < 0) {  // more axes than the output: of size 1
      index.push_back("0");
      continue;
    }
    const std::string& size = operand.dims[static_cast<size_t>(axis)];
    const std::string& to = output.dims[static_cast<size_t>(axis + extra)];
    const std::string& x = at[static_cast<size_t>(axis + extra)];
    if (size == "1") {
      index.push_back("0");
    } else if (size == to || operand.static_dim(axis)) {
      index.push_back(x);
    } else {
      index.push_back(str_cat("(", size, " == 1 ? idx(0) : ", x, ")"));
    }
  }
  return index;
}

// What the formula computes in.
std::string formula_type(const ElementContext& c, const PointwiseRow& row) {
  DType dtype = c.input(0).dtype;
  if (row.has(kPointwiseInFloat)) {
    return is_float(dtype) && dtype != DType::kFloat64 ? "float" : "double";
  }
  if (row.types == PointwiseTypes::kMixed) {
    DType other = c.input(1).dtype;
    bool whole = !is_float(dtype) && !is_float(other);
    if (whole) return is_signed_int(dtype) || is_signed_int(other) ? "i64" : "u64";
    bool narrow =
        is_float(dtype) && dtype != DType::kFloat64 && is_float(other) && other != DType::kFloat64;
    return narrow ? "float" : "double";
  }
  if (dtype == DType::kBool) return "u64";
  return std::string(compute_type(dtype));
}

std::string limit(const ElementContext& c, const std::string& type, bool lowest) {
  if (type == "float" || type == "double") return lowest ? "T(-INFINITY)" : "T(INFINITY)";
  if (type == "u64") return lowest ? "T(0)" : "~T(0)";
  DType dtype = c.input(0).dtype;
  int64_t value = lowest ? int_min(dtype) : int_max(dtype);
  return value == INT64_MIN ? "(-9223372036854775807LL - 1)" : str_cat("T(", value, "LL)");
}

std::string saturate(DType to, const std::string& value) {
  if (to == DType::kUInt64) return str_cat("saturating_u64(", value, ")");
  std::string low =
      to == DType::kInt64 ? "(-9223372036854775807LL - 1)" : str_cat(int_min(to), "LL");
  std::string text = str_cat("saturating_i64(", value, ", ", low, ", ", int_max(to), "LL)");
  return is_unsigned_int(to) ? str_cat("(u64)", text) : text;
}

Result<std::string> element(ElementContext& c, const ElementIndex& at) {
  const PointwiseRow& row = *find_pointwise(c.node().op->name);
  std::vector<std::string> operands;
  for (size_t i = 0; i < static_cast<size_t>(row.arity); ++i) {
    if (!c.has_input(i)) {
      operands.emplace_back();
      continue;
    }
    REDLINE_ASSIGN(std::string value, c.read(i, broadcast(c.input(i), c.output(), at)));
    operands.push_back(value);
  }
  if (row.id == PointwiseId::kWhere) {
    return str_cat("(", operands[0], " ? ", operands[1], " : ", operands[2], ")");
  }
  std::string type = formula_type(c, row);
  bool to_bool = row.result == PointwiseResult::kBool;
  std::string result = to_bool ? "bool" : type;
  // One function a node keeps the formula's names apart.
  std::string name = str_cat("f_", row.name, "_", type);
  std::string parameters = "T x, T y, T z, T alpha, T beta";
  c.function(str_cat("template <class T>\n__device__ inline ", to_bool ? "bool" : "T", " ", name,
                     "(", parameters, ") {\n  return (", to_bool ? "bool" : "T", ")(", row.formula,
                     ");\n}"));
  std::string arguments;
  for (size_t i = 0; i < 3; ++i) {
    std::string text = i < operands.size() ? operands[i] : "0";
    if (i < operands.size() && text.empty()) {
      text = limit(c, type, i == 1);
      for (size_t p = text.find("T("); p != std::string::npos; p = text.find("T(", p + 1)) {
        text.replace(p, 1, type);
      }
    }
    arguments += str_cat(i ? ", " : "", "(", type, ")(", text, ")");
  }
  std::vector<PointwiseParam> params = row.params(c.node().attrs);
  for (size_t i = 0; i < 2; ++i) {
    double value = i < params.size() ? params[i].value : 0;
    bool whole = type == "i64" || type == "u64";
    arguments += ", " + (whole ? str_cat(type, "(", static_cast<int64_t>(value), ")")
                               : float_literal(value, type));
  }
  std::string text = str_cat(name, "<", type, ">(", arguments, ")");
  DType out = c.output().dtype;
  bool from_float = type == "float" || type == "double";
  if (!to_bool && from_float && is_int(out)) return saturate(out, text);
  return str_cat("(", compute_type(out), ")", text);
}

std::string narrow_type(DType to) { return std::string(storage_type(to)); }

Result<std::string> cast_element(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<CastAttrs>();
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  DType from = c.input(0).dtype;
  DType to = attrs.to;
  if (from == to && !is_float(to)) return x;
  if (to == DType::kBool) return str_cat("(", x, " != 0)");
  if (is_int(to)) {
    if (is_float(from)) {
      DType range = dtype_bits(to) < 8 ? DType::kInt64 : to;
      std::string whole = saturate(range, str_cat("(double)", x));
      return str_cat("rounded<", narrow_type(to), ">((", compute_type(to), ")", whole, ")");
    }
    return str_cat("rounded<", narrow_type(to), ">((", compute_type(to), ")", x, ")");
  }
  // To a float: rounded once, from the value as it is.
  if (to == DType::kFloat64) return str_cat("(double)", x);
  if (to == DType::kFloat32) return str_cat("(float)", x);
  std::string wide = is_float(from) && from != DType::kFloat64 ? "float" : "double";
  std::string value = str_cat("(", wide, ")", x);
  if (to == DType::kFloat8E8M0) {
    std::string odd = wide == "double" ? str_cat("to_odd(", value, ")") : value;
    return str_cat("widen_e8m0(narrow_e8m0(", odd, ", ", attrs.saturate ? "true" : "false", ", ",
                   static_cast<int>(attrs.round_mode), "))");
  }
  bool eight = dtype_bits(to) == 8;
  if (eight) {
    std::string odd = wide == "double" ? str_cat("to_odd(", value, ")") : value;
    return str_cat("widen(cast_small(", narrow_type(to), "(), ", odd,
                   attrs.saturate ? ", true))" : ", false))");
  }
  return str_cat("rounded<", narrow_type(to), ">(", value, ")");
}

Status cast_supports(const BodyNode& node, const std::vector<ElementOperand>&) {
  if (node.attrs.as<CastAttrs>().to == DType::kString) return unsupported("makes no strings");
  return {};
}

// The same bits as another type of the same width.
Result<std::string> bit_cast_element(ElementContext& c, const ElementIndex& at) {
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  std::string from(storage_type(c.input(0).dtype));
  std::string to(storage_type(c.output().dtype));
  c.function(
      "template <class From, class To, class W>\n__device__ inline To bits_as(W value) {\n"
      "  union { From from; To to; } bits;\n  narrow(&bits.from, value);\n  return bits.to;\n}");
  return str_cat("widen(bits_as<", from, ", ", to, ">(", x, "))");
}

}  // namespace

void register_element_pointwise(ElementRegistry& registry) {
  ElementRule rule;
  for (const PointwiseRow& row : pointwise_rows()) rule.ops.emplace_back(row.name);
  rule.element = element;
  registry.add(std::move(rule));
  registry.add({.ops = {"cast"}, .supports = cast_supports, .element = cast_element});
  registry.add({.ops = {"bit_cast"}, .element = bit_cast_element});
}

}  // namespace redline
