// SPDX-License-Identifier: Apache-2.0
#include "ops/numeric.h"
#include "ops/quantize_linear.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// Where the scale or zero point of element `at` is.
ElementIndex scale_index(const ElementContext& c, size_t i, const ElementIndex& at, int64_t axis,
                         int64_t block_size) {
  const ElementOperand& scale = c.input(i);
  if (scale.rank() == 0) return {};
  size_t along = at_axis(axis, c.input(0).rank());
  if (block_size == 0 || scale.dims.size() != at.size()) {
    return {broadcast_index(scale.dims[0], along < at.size() ? at[along] : "0")};
  }
  ElementIndex from;
  for (size_t d = 0; d < at.size(); ++d) {
    std::string x = d == along ? str_cat("((", at[d], ") / ", block_size, ")") : at[d];
    from.push_back(broadcast_index(scale.dims[d], x));
  }
  return from;
}

// A scale of several axes needs blocks.
Status scale_supports(const std::vector<ElementOperand>& inputs, int64_t block_size) {
  if (block_size == 0 && inputs[1].rank() > 1) return unsupported("a scale of rank 2 or more");
  return {};
}

// What storing the sum as a small float and reading it again gives.
std::string encoded(DType to, const std::string& value, bool saturate) {
  if (to == DType::kFloat8E8M0) {
    return str_cat("widen_e8m0(narrow_e8m0(to_odd(", value, "), ", saturate ? "true" : "false",
                   ", 0))");
  }
  if (dtype_bits(to) == 8) {
    return str_cat("widen(cast_small(", storage_type(to), "(), to_odd(", value, "), ",
                   saturate ? "true" : "false", "))");
  }
  return str_cat("rounded<", storage_type(to), ">(", value, ")");
}

// The type in which x / scale is rounded.
DType division_dtype(const ElementContext& c) {
  const auto& attrs = c.attrs<QuantizeLinearAttrs>();
  if (attrs.precision) return *attrs.precision;
  DType scale = c.input(1).dtype;
  if (scale == DType::kFloat64 || scale == DType::kFloat16 || scale == DType::kBFloat16) {
    return scale;
  }
  return DType::kFloat32;
}

Result<std::string> quantize(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<QuantizeLinearAttrs>();
  DType out = c.output().dtype;
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  REDLINE_ASSIGN(std::string scale, c.read(1, scale_index(c, 1, at, attrs.axis, attrs.block_size)));
  std::string zero = "0";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(zero, c.read(2, scale_index(c, 2, at, attrs.axis, attrs.block_size)));
  }
  DType division = division_dtype(c);
  // In double, rounded once more, division is exact in every narrower type; for f32 it is so
  // itself.
  bool plain = division == DType::kFloat32 && compute_type(c.input(0).dtype) == "float" &&
               compute_type(c.input(1).dtype) == "float";
  std::string type = plain ? "float" : "double";
  std::string quotient = plain ? str_cat(x, " / ", scale)
                               : str_cat("(double)rounded<", storage_type(division), ">((double)",
                                         x, " / (double)", scale, ")");
  quotient = c.let(type, quotient);
  if (is_float(out)) {
    std::string sum = c.let("double", str_cat("(double)", quotient, " + (double)", zero));
    return str_cat("(", compute_type(out), ")", encoded(out, sum, attrs.saturate));
  }
  std::string sum = c.let(type, str_cat("rint(", quotient, ") + (", type, ")", zero));
  std::string low = str_cat(int_min(out));
  std::string high = str_cat(int_max(out));
  return str_cat("(", compute_type(out), ")(", sum, " != ", sum, " ? 0 : ", sum, " <= ", low, " ? ",
                 low, " : ", sum, " >= ", high, " ? ", high, " : (int)", sum, ")");
}

Status quantize_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  return scale_supports(inputs, node.attrs.as<QuantizeLinearAttrs>().block_size);
}

Result<std::string> dequantize(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<DequantizeLinearAttrs>();
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  REDLINE_ASSIGN(std::string scale, c.read(1, scale_index(c, 1, at, attrs.axis, attrs.block_size)));
  bool wide = compute_type(c.output().dtype) == "double" ||
              compute_type(c.input(0).dtype) == "double" ||
              compute_type(c.input(1).dtype) == "double";
  std::string type = wide ? "double" : "float";
  // Integers are subtracted as such: a float would lose their low digits.
  std::string value = is_float(c.input(0).dtype) ? str_cat("(", type, ")", x) : "(i64)" + x;
  if (c.has_input(2)) {
    REDLINE_ASSIGN(std::string zero,
                   c.read(2, scale_index(c, 2, at, attrs.axis, attrs.block_size)));
    value =
        str_cat(value, " - ", is_float(c.input(0).dtype) ? str_cat("(", type, ")") : "(i64)", zero);
  }
  return str_cat("(", compute_type(c.output().dtype), ")((", type, ")(", value, ") * (", type, ")",
                 scale, ")");
}

Status dequantize_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  return scale_supports(inputs, node.attrs.as<DequantizeLinearAttrs>().block_size);
}

// Each output element finds the range of all inputs anew.
Result<std::string> dynamic_quantize(ElementContext& c, const ElementIndex& at) {
  std::string low = c.variable("float", "0");
  std::string high = c.variable("float", "0");
  ElementIndex from;
  for (const std::string& size : c.input(0).dims) from.push_back(c.loop(size));
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  std::string x = c.let("float", str_cat("(float)", v));
  c.line(str_cat("if (", x, " < ", low, ") ", low, " = ", x, ";"));
  c.line(str_cat("if (", x, " > ", high, ") ", high, " = ", x, ";"));
  for (size_t i = 0; i < from.size(); ++i) c.close();
  std::string range = c.let("float", str_cat(high, " - ", low));
  std::string scale = c.let("float", str_cat("(", range, " == 0 ? 1.0f : ", range, ") / 255.0f"));
  if (c.output_number() == 1) return scale;
  std::string shift = c.let("float", str_cat("-", low, " / ", scale));
  std::string zero = c.let("float", str_cat("rint(", shift, " < 0.0f ? 0.0f : ", shift,
                                            " > 255.0f ? 255.0f : ", shift, ")"));
  if (c.output_number() == 2) return "(u64)" + zero;
  REDLINE_ASSIGN(std::string own, c.read(0, at));
  std::string sum = c.let("float", str_cat("rint((float)", own, " / ", scale, ") + ", zero));
  return str_cat("(u64)(", sum, " <= 255.0f ? ", sum, " > 0.0f ? (int)", sum, " : 0 : ", sum,
                 " > 255.0f ? 255 : 0)");
}

}  // namespace

void register_element_quantize(ElementRegistry& registry) {
  registry.add({.ops = {"quantize_linear"}, .supports = quantize_supports, .element = quantize});
  registry.add(
      {.ops = {"dequantize_linear"}, .supports = dequantize_supports, .element = dequantize});
  registry.add({.ops = {"dynamic_quantize_linear"}, .element = dynamic_quantize, .loops = true});
}

}  // namespace redline
