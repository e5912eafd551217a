// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <functional>

#include "ops/batch_norm.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/lp_norm.h"
#include "ops/softmax.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

std::string float_type(DType dtype) { return dtype == DType::kFloat64 ? "double" : "float"; }

// Loops over `axes` of input 0 around `at` and calls `body` with each element.
Status over(ElementContext& c, const ElementIndex& at, const std::vector<size_t>& axes,
            const std::function<void(const std::string&)>& body) {
  ElementIndex from = at;
  for (size_t axis : axes) from[axis] = c.loop(c.input(0).dims[axis]);
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  body(value);
  for (size_t i = 0; i < axes.size(); ++i) c.close();
  return {};
}

std::string count_of(const ElementContext& c, const std::vector<size_t>& axes) {
  std::string text = "1LL";
  for (size_t axis : axes) text += str_cat(" * (i64)(", c.input(0).dims[axis], ")");
  return str_cat("(", text, ")");
}

struct Statistics {
  std::string mean, variance;
};

// Two passes: the variance is of what is left after the mean.
Result<Statistics> statistics(ElementContext& c, const ElementIndex& at,
                              const std::vector<size_t>& axes, bool centred,
                              const std::string& type) {
  std::string count = c.let(type, str_cat("(", type, ")", count_of(c, axes)));
  std::string mean = c.variable(type, "0");
  if (centred) {
    REDLINE_TRY(
        over(c, at, axes, [&](const std::string& v) { c.line(str_cat(mean, " += ", v, ";")); }));
    c.line(str_cat(mean, " /= ", count, ";"));
  }
  std::string variance = c.variable(type, "0");
  REDLINE_TRY(over(c, at, axes, [&](const std::string& v) {
    c.line(str_cat(variance, " += (", v, " - ", mean, ") * (", v, " - ", mean, ");"));
  }));
  c.line(str_cat(variance, " /= ", count, ";"));
  return Statistics{mean, variance};
}

ElementIndex broadcast(const ElementOperand& operand, const ElementIndex& at) {
  ElementIndex from;
  for (size_t i = 0; i < operand.dims.size(); ++i) {
    const std::string& x = at[at.size() - operand.dims.size() + i];
    bool known = operand.static_dim(static_cast<int>(i)).has_value();
    from.push_back(operand.dims[i] == "1" ? "0"
                   : known                ? x
                           : str_cat("(", operand.dims[i], " == 1 ? idx(0) : ", x, ")"));
  }
  return from;
}

Result<std::string> layer_norm(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LayerNormAttrs>();
  bool rms = c.node().op->name == "rms_norm";
  std::string type = float_type(c.input(0).dtype);
  std::vector<size_t> axes;
  for (size_t i = at_axis(attrs.axis, c.input(0).rank()); i < at.size(); ++i) axes.push_back(i);
  REDLINE_ASSIGN(Statistics s, statistics(c, at, axes, !rms, type));
  std::string scale = c.let(type, str_cat(type, "(1) / sqrt(", s.variance, " + ",
                                          float_literal(attrs.epsilon, type), ")"));
  if (c.output_number() > 0) return c.output_number() == 1 && !rms ? s.mean : scale;
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  REDLINE_ASSIGN(std::string w, c.read(1, broadcast(c.input(1), at)));
  std::string y = str_cat("(", x, " - ", s.mean, ") * ", scale, " * ", w);
  if (!c.has_input(2)) return y;
  REDLINE_ASSIGN(std::string b, c.read(2, broadcast(c.input(2), at)));
  return str_cat(y, " + ", b);
}

Result<std::string> softmax(ElementContext& c, const ElementIndex& at) {
  std::string_view op = c.node().op->name;
  std::string type = float_type(c.input(0).dtype);
  size_t axis = at_axis(c.attrs<SoftmaxAttrs>().axis, c.input(0).rank());
  if (op == "hardmax") {
    ElementIndex from = at;
    from[axis] = "0";
    REDLINE_ASSIGN(std::string first, c.read(0, from));
    std::string best = c.variable(type, first);
    std::string place = c.variable("idx", "0");
    from[axis] = c.loop(c.input(0).dims[axis]);
    REDLINE_ASSIGN(std::string v, c.read(0, from));
    c.line(str_cat("if (", v, " > ", best, " || (", v, " != ", v, " && ", best, " == ", best,
                   ")) { ", best, " = ", v, "; ", place, " = ", from[axis], "; }"));
    c.close();
    return str_cat("(", at[axis], " == ", place, " ? ", type, "(1) : ", type, "(0))");
  }
  std::string top = c.variable(type, type + "(-INFINITY)");
  REDLINE_TRY(over(c, at, {axis}, [&](const std::string& v) {
    c.line(str_cat(top, " = ", top, " != ", top, " || ", top, " > ", v, " ? ", top, " : ", v, ";"));
  }));
  std::string sum = c.variable(type, "0");
  REDLINE_TRY(over(c, at, {axis}, [&](const std::string& v) {
    c.line(str_cat(sum, " += exp(", v, " - ", top, ");"));
  }));
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  return op == "softmax" ? str_cat("exp(", x, " - ", top, ") / ", sum)
                         : str_cat(x, " - ", top, " - log(", sum, ")");
}

Result<std::string> batch_norm(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<BatchNormAttrs>();
  std::string type = float_type(c.output().dtype);
  bool vector = c.input(0).rank() == 1;
  std::string channel = c.output_number() > 0 ? at[0] : vector ? "0" : at[1];
  auto parameter = [&](size_t i) { return c.read(i, {channel}); };
  REDLINE_ASSIGN(std::string mean, parameter(3));
  REDLINE_ASSIGN(std::string variance, parameter(4));
  if (attrs.training_mode) {
    std::vector<size_t> axes = {0};
    for (size_t i = 2; i < c.input(0).dims.size(); ++i) axes.push_back(i);
    ElementIndex any(c.input(0).dims.size(), "0");
    if (!vector) any[1] = channel;
    REDLINE_ASSIGN(Statistics s, statistics(c, any, axes, true, type));
    if (c.output_number() > 0) {
      std::string keep = float_literal(attrs.momentum, type);
      std::string given = c.output_number() == 1 ? mean : variance;
      std::string now = c.output_number() == 1 ? s.mean : s.variance;
      return str_cat("(", type, ")", given, " * ", keep, " + ", now, " * (", type, "(1) - ", keep,
                     ")");
    }
    mean = s.mean;
    variance = s.variance;
  }
  if (c.output_number() > 0) return c.output_number() == 1 ? mean : variance;
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  REDLINE_ASSIGN(std::string scale, parameter(1));
  REDLINE_ASSIGN(std::string bias, parameter(2));
  return str_cat("(", x, " - (", type, ")", mean, ") * ((", type, ")", scale, " / sqrt((", type,
                 ")", variance, " + ", float_literal(attrs.epsilon, type), ")) + (", type, ")",
                 bias);
}

Result<std::string> group_norm(ElementContext& c, const ElementIndex& at) {
  bool instance = c.node().op->name == "instance_norm";
  float epsilon =
      instance ? c.attrs<InstanceNormAttrs>().epsilon : c.attrs<GroupNormAttrs>().epsilon;
  std::string type = float_type(c.output().dtype);
  const ElementOperand& in = c.input(0);
  std::string width = "idx(1)";
  if (!instance) {
    width = c.let("idx", str_cat("(", in.dims[1], ") / ", c.attrs<GroupNormAttrs>().num_groups));
  }
  std::string first = c.let("idx", str_cat("(", at[1], ") / ", width, " * ", width));
  // Loops over the group's channels and all pixels.
  auto pass = [&](const std::function<void(const std::string&)>& body) -> Status {
    ElementIndex from = at;
    std::string i = c.loop(width);
    from[1] = c.let("idx", str_cat(first, " + ", i));
    for (size_t axis = 2; axis < at.size(); ++axis) from[axis] = c.loop(in.dims[axis]);
    REDLINE_ASSIGN(std::string v, c.read(0, from));
    body(v);
    for (size_t axis = 1; axis < at.size(); ++axis) c.close();
    return {};
  };
  std::string pixels = str_cat("(i64)", width);
  for (size_t axis = 2; axis < at.size(); ++axis)
    pixels += str_cat(" * (i64)(", in.dims[axis], ")");
  std::string count = c.let(type, str_cat("(", type, ")(", pixels, ")"));
  std::string mean = c.variable(type, "0");
  REDLINE_TRY(pass([&](const std::string& v) { c.line(str_cat(mean, " += ", v, ";")); }));
  c.line(str_cat(mean, " /= ", count, ";"));
  std::string variance = c.variable(type, "0");
  REDLINE_TRY(pass([&](const std::string& v) {
    c.line(str_cat(variance, " += (", v, " - ", mean, ") * (", v, " - ", mean, ");"));
  }));
  c.line(str_cat(variance, " /= ", count, ";"));
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  REDLINE_ASSIGN(std::string scale, c.read(1, {at[1]}));
  REDLINE_ASSIGN(std::string bias, c.read(2, {at[1]}));
  return str_cat("(", x, " - ", mean, ") / sqrt(", variance, " + ", float_literal(epsilon, type),
                 ") * ", scale, " + ", bias);
}

Result<std::string> lp_norm(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LpNormAttrs>();
  std::string type = float_type(c.output().dtype);
  size_t axis = at_axis(attrs.axis, c.input(0).rank());
  std::string sum = c.variable(type, "0");
  REDLINE_TRY(over(c, at, {axis}, [&](const std::string& v) {
    c.line(
        str_cat(sum, " += ", attrs.p == 1 ? str_cat("fabs(", v, ")") : str_cat(v, " * ", v), ";"));
  }));
  std::string norm = c.let(type, attrs.p == 1 ? sum : str_cat("sqrt(", sum, ")"));
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  return str_cat("(", norm, " == 0 ? ", type, "(0) : ", x, " / ", norm, ")");
}

Result<std::string> mean_variance_norm(ElementContext& c, const ElementIndex& at) {
  std::string type = float_type(c.output().dtype);
  std::vector<size_t> axes;
  for (int64_t axis : c.attrs<MeanVarianceNormAttrs>().axes) {
    axes.push_back(at_axis(axis, c.input(0).rank()));
  }
  REDLINE_ASSIGN(Statistics s, statistics(c, at, axes, true, type));
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  return str_cat("(", x, " - ", s.mean, ") / (sqrt(", s.variance, ") + ", type, "(1e-9))");
}

Result<std::string> lrn(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LrnAttrs>();
  std::string type = float_type(c.output().dtype);
  std::string first = c.let("idx", str_cat(at[1], " > ", (attrs.size - 1) / 2, " ? ", at[1], " - ",
                                           (attrs.size - 1) / 2, " : 0"));
  std::string last =
      c.let("idx", str_cat(at[1], " + ", attrs.size / 2, " < ", c.input(0).dims[1], " ? ", at[1],
                           " + ", attrs.size / 2, " : ", c.input(0).dims[1], " - 1"));
  std::string sum = c.variable(type, "0");
  std::string i = c.variable("idx", first);
  c.open(str_cat("for (; ", i, " <= ", last, "; ++", i, ")"));
  ElementIndex from = at;
  from[1] = i;
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  c.line(str_cat(sum, " += ", v, " * ", v, ";"));
  c.close();
  REDLINE_ASSIGN(std::string x, c.read(0, at));
  double factor = static_cast<double>(attrs.alpha) / static_cast<double>(attrs.size);
  return str_cat(x, " / pow(", float_literal(attrs.bias, type), " + ", float_literal(factor, type),
                 " * ", sum, ", ", float_literal(attrs.beta, type), ")");
}

}  // namespace

void register_element_norm(ElementRegistry& registry) {
  registry.add({.ops = {"layer_norm", "rms_norm"}, .element = layer_norm, .loops = true});
  registry.add({.ops = {"softmax", "log_softmax", "hardmax"}, .element = softmax, .loops = true});
  registry.add({.ops = {"batch_norm"}, .element = batch_norm, .loops = true});
  registry.add({.ops = {"group_norm", "instance_norm"}, .element = group_norm, .loops = true});
  registry.add({.ops = {"lp_norm"}, .element = lp_norm, .loops = true});
  registry.add({.ops = {"mean_variance_norm"}, .element = mean_variance_norm, .loops = true});
  registry.add({.ops = {"lrn"}, .element = lrn, .loops = true});
}

}  // namespace redline
