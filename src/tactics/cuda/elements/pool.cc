// SPDX-License-Identifier: Apache-2.0
#include "ops/pool.h"

#include <functional>

#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/window_code.h"

namespace redline {
namespace {

// Loops over the window of output `at` ([n, c, ...]) and calls `body` with each element inside the
// input and its position.
template <class A>
Status over_window(ElementContext& c, const A& attrs, bool last, const ElementIndex& at,
                   const std::function<void(const std::string&, const ElementIndex&)>& body) {
  ElementOperand x = image_operand(c.input(0), last);
  ElementOperand y = image_operand(c.output(), last);
  std::vector<std::string> kernel;
  for (int64_t k : attrs.kernel_shape) kernel.push_back(std::to_string(k));
  std::vector<AxisCode> axes =
      window_code({attrs.strides, attrs.dilations, attrs.pads, attrs.auto_pad}, kernel, x, y);
  ElementIndex from = {at[0], at[1]};
  for (size_t i = 0; i < axes.size(); ++i) {
    std::string k = c.loop(kernel[i]);
    std::string position = c.let("idx", axes[i].position(at[i + 2], k));
    c.open(str_cat("if (", position, " >= 0 && ", position, " < ", axes[i].in, ")"));
    from.push_back(position);
  }
  REDLINE_ASSIGN(std::string v, c.read(0, last ? channels_to_back(from) : from));
  body(v, from);
  for (size_t i = 0; i < 2 * axes.size(); ++i) c.close();
  return {};
}

Result<std::string> max_pool(ElementContext& c, const ElementIndex& stored) {
  const auto& attrs = c.attrs<MaxPoolAttrs>();
  const ElementOperand& in = c.input(0);
  ElementIndex at = attrs.channels_last ? channels_to_front(stored) : stored;
  std::string type(compute_type(in.dtype));
  std::string best = c.variable(type, extreme(in.dtype, type, false));
  std::string place = c.variable("i64", "-1");
  std::string first = c.variable("i64", "0");
  REDLINE_TRY(over_window(
      c, attrs, attrs.channels_last, at, [&](const std::string& v, const ElementIndex& from) {
        // The flat position in the plane; of the first element when none is greater than the
        // lowest.
        std::string flat = "0LL";
        size_t rank = from.size();
        if (attrs.storage_order) {
          for (size_t i = rank; i-- > 2;)
            flat = str_cat("(", flat, " * (i64)(", in.dims[i], ") + ", from[i], ")");
        } else {
          for (size_t i = 2; i < rank; ++i)
            flat = str_cat("(", flat, " * (i64)(", in.dims[i], ") + ", from[i], ")");
        }
        std::string here = c.let("i64", flat);
        c.line(str_cat("if (", place, " < 0) { ", place, " = ", here, "; }"));
        c.line(str_cat("if (", v, " > ", best, " || (", v, " != ", v, " && ", best, " == ", best,
                       ")) { ", best, " = ", v, "; ", place, " = ", here, "; }"));
      }));
  if (c.output_number() == 0) return best;
  std::string area = "1LL";
  for (size_t i = 2; i < in.dims.size(); ++i) area += str_cat(" * (i64)(", in.dims[i], ")");
  return str_cat("((i64)(", at[0], ") * (i64)(", in.dims[1], ") + (i64)(", at[1], ")) * (", area,
                 ") + (", place, " < 0 ? 0LL : ", place, ")");
}

Result<std::string> average_pool(ElementContext& c, const ElementIndex& stored) {
  const auto& attrs = c.attrs<AveragePoolAttrs>();
  ElementIndex at = attrs.channels_last ? channels_to_front(stored) : stored;
  std::string type(compute_type(c.output().dtype));
  std::string sum = c.variable(type, "0");
  std::string count = c.variable("i64", attrs.count_include_pad ? "1" : "0");
  if (attrs.count_include_pad) {
    // The elements of the window that lie in the input or its padding.
    ElementOperand x = image_operand(c.input(0), attrs.channels_last);
    ElementOperand y = image_operand(c.output(), attrs.channels_last);
    std::vector<std::string> kernel;
    for (int64_t k : attrs.kernel_shape) kernel.push_back(std::to_string(k));
    std::vector<AxisCode> axes =
        window_code({attrs.strides, attrs.dilations, attrs.pads, attrs.auto_pad}, kernel, x, y);
    for (size_t i = 0; i < axes.size(); ++i) {
      bool same = attrs.auto_pad == AutoPad::kSameUpper || attrs.auto_pad == AutoPad::kSameLower;
      std::string pad_end = attrs.auto_pad == AutoPad::kNotSet && !attrs.pads.empty()
                                ? std::to_string(attrs.pads[i + axes.size()])
                                : "0";
      if (same) {
        std::string total =
            str_cat("((", axes[i].out, " - 1) * ", axes[i].stride, " + (", kernel[i], " - 1) * ",
                    axes[i].dilation, " + 1 - ", axes[i].in, ")");
        pad_end = str_cat("((", total, " < 0 ? 0 : ", total, ") - ", axes[i].pad_begin, ")");
      }
      std::string start = axes[i].position(at[i + 2], "0");
      std::string room =
          c.let("i64", str_cat("(i64)(", axes[i].in, " + ", pad_end, ") - (i64)(", start, ")"));
      std::string taps = c.let("i64", str_cat(room, " <= 0 ? 0 : (", room, " + ",
                                              axes[i].dilation - 1, ") / ", axes[i].dilation));
      c.line(str_cat(count, " *= ", taps, " < ", kernel[i], " ? ", taps, " : ", kernel[i], ";"));
    }
  }
  REDLINE_TRY(over_window(c, attrs, attrs.channels_last, at,
                          [&](const std::string& v, const ElementIndex&) {
                            c.line(str_cat(sum, " += ", v, ";"));
                            if (!attrs.count_include_pad) c.line(str_cat("++", count, ";"));
                          }));
  return str_cat(sum, " / (", type, ")", count);
}

std::string power_term(int64_t p, const std::string& v, const std::string& type) {
  if (p == 1) return str_cat("fabs(", v, ")");
  if (p == 2) return str_cat(v, " * ", v);
  return str_cat("pow(fabs(", v, "), ", float_literal(static_cast<double>(p), type), ")");
}
std::string power_root(int64_t p, const std::string& sum, const std::string& type) {
  if (p == 1) return sum;
  if (p == 2) return str_cat("sqrt(", sum, ")");
  return str_cat("pow(", sum, ", ", float_literal(1 / static_cast<double>(p), type), ")");
}

Result<std::string> lp_pool(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LpPoolAttrs>();
  std::string type(compute_type(c.output().dtype));
  std::string sum = c.variable(type, "0");
  REDLINE_TRY(over_window(c, attrs, false, at, [&](const std::string& v, const ElementIndex&) {
    c.line(str_cat(sum, " += ", power_term(attrs.p, v, type), ";"));
  }));
  return power_root(attrs.p, sum, type);
}

Result<std::string> global_pool(ElementContext& c, const ElementIndex& at) {
  std::string_view op = c.node().op->name;
  std::string type(compute_type(c.output().dtype));
  const ElementOperand& in = c.input(0);
  bool max = op == "global_max_pool";
  int64_t p = op == "global_lp_pool" ? c.attrs<GlobalLpPoolAttrs>().p : 1;
  std::string acc = c.variable(type, max ? type + "(-INFINITY)" : "0");
  ElementIndex from = {at[0], at[1]};
  std::string count = "1LL";
  for (size_t i = 2; i < in.dims.size(); ++i) {
    from.push_back(c.loop(in.dims[i]));
    count += str_cat(" * (i64)(", in.dims[i], ")");
  }
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  if (max) {
    c.line(str_cat(acc, " = ", v, " > ", acc, " || ", v, " != ", v, " ? ", v, " : ", acc, ";"));
  } else {
    c.line(str_cat(acc, " += ", op == "global_lp_pool" ? power_term(p, v, type) : v, ";"));
  }
  for (size_t i = 2; i < in.dims.size(); ++i) c.close();
  if (max) return acc;
  if (op == "global_lp_pool") return power_root(p, acc, type);
  return str_cat(acc, " / (", type, ")(", count, ")");
}

}  // namespace

void register_element_pool(ElementRegistry& registry) {
  registry.add({.ops = {"max_pool"}, .element = max_pool, .loops = true});
  registry.add({.ops = {"average_pool"}, .element = average_pool, .loops = true});
  registry.add({.ops = {"lp_pool"}, .element = lp_pool, .loops = true});
  registry.add({.ops = {"global_average_pool", "global_max_pool", "global_lp_pool"},
                .element = global_pool,
                .loops = true});
}

}  // namespace redline
