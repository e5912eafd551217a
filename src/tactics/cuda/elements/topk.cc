// SPDX-License-Identifier: Apache-2.0
#include "ops/topk.h"

#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// Whether value `a` comes before `b` when both are of different worth.
std::string before(const TopKAttrs& attrs, DType dtype, const std::string& a,
                   const std::string& b) {
  const std::string& more = attrs.largest ? a : b;
  const std::string& less = attrs.largest ? b : a;
  if (!is_float(dtype)) return str_cat("(", more, " > ", less, ")");
  // NaNs are the largest.
  return str_cat("(", more, " > ", less, " || (", more, " != ", more, " && ", less, " == ", less,
                 "))");
}

// The element of rank n: n + 1 times the first one after the last that was found.
Result<std::string> topk(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<TopKAttrs>();
  const ElementOperand& in = c.input(0);
  size_t axis = at_axis(attrs.axis, in.rank());
  std::string type(compute_type(in.dtype));
  std::string last = c.variable(type, type + "(0)");
  std::string last_place = c.variable("idx", "-1");
  c.loop(str_cat(at[axis], " + 1"));
  std::string best = c.variable(type, type + "(0)");
  std::string place = c.variable("idx", "-1");
  ElementIndex from = at;
  from[axis] = c.loop(in.dims[axis]);
  const std::string& i = from[axis];
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  std::string after = str_cat(last_place, " < 0 || ", before(attrs, in.dtype, last, v), " || (!",
                              before(attrs, in.dtype, v, last), " && ", i, " > ", last_place, ")");
  std::string better = str_cat(place, " < 0 || ", before(attrs, in.dtype, v, best));
  c.line(str_cat("if ((", after, ") && (", better, ")) { ", best, " = ", v, "; ", place, " = ", i,
                 "; }"));
  c.close();
  c.line(str_cat(last, " = ", best, ";"));
  c.line(str_cat(last_place, " = ", place, ";"));
  c.close();
  return c.output_number() == 0 ? last : "(i64)" + last_place;
}

}  // namespace

void register_element_topk(ElementRegistry& registry) {
  registry.add({.ops = {"topk"}, .element = topk, .loops = true});
}

}  // namespace redline
