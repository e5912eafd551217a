// SPDX-License-Identifier: Apache-2.0
#include "ops/causal_conv.h"

#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// Element `place` of the past state followed by the input.
Result<std::string> line_element(ElementContext& c, const std::string& n,
                                 const std::string& channel, const std::string& place,
                                 const std::string& state) {
  std::string type(compute_type(c.output().dtype));
  std::string result = c.variable(type, type + "(0)");
  if (c.has_input(3)) {
    c.open(str_cat("if (", place, " < ", state, ")"));
    REDLINE_ASSIGN(std::string past, c.read(3, {n, channel, place}));
    c.line(str_cat(result, " = ", past, ";"));
    c.close();
  }
  c.open(str_cat("if (", place, " >= ", state, ")"));
  REDLINE_ASSIGN(std::string now, c.read(0, {n, channel, str_cat("(", place, " - ", state, ")")}));
  c.line(str_cat(result, " = ", now, ";"));
  c.close();
  return result;
}

Result<std::string> causal_conv(ElementContext& c, const ElementIndex& at) {
  const std::string& taps = c.input(1).dims[2];
  std::string state = c.let("idx", str_cat("(", taps, ") - 1"));
  if (c.output_number() == 1) {
    std::string place = c.let("idx", str_cat(c.input(0).dims[2], " + (", at[2], ")"));
    return line_element(c, at[0], at[1], place, state);
  }
  std::string type(compute_type(c.output().dtype));
  std::string start = type + "(0)";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(start, c.read(2, {at[1]}));
  }
  std::string sum = c.variable(type, start);
  std::string k = c.loop(taps);
  REDLINE_ASSIGN(std::string weight, c.read(1, {at[1], "0", k}));
  std::string place = c.let("idx", str_cat("(", at[2], ") + ", k));
  REDLINE_ASSIGN(std::string value, line_element(c, at[0], at[1], place, state));
  c.line(str_cat(sum, " += ", weight, " * ", value, ";"));
  c.close();
  bool silu = c.attrs<CausalConvAttrs>().activation == CausalActivation::kSilu;
  return silu ? str_cat(sum, " / (", type, "(1) + exp(-", sum, "))") : sum;
}

}  // namespace

void register_element_causal_conv(ElementRegistry& registry) {
  registry.add({.ops = {"causal_conv_with_state"}, .element = causal_conv, .loops = true});
}

}  // namespace redline
