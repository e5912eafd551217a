// SPDX-License-Identifier: Apache-2.0
#include "ops/nll_loss.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// log_softmax over the classes of axis 1 at `at`.
Result<std::string> log_probability(ElementContext& c, const ElementIndex& at) {
  std::string type(compute_type(c.input(0).dtype));
  ElementIndex from = at;
  std::string most = c.variable(type, type + "(-INFINITY)");
  from[1] = c.loop(c.input(0).dims[1]);
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  c.line(str_cat("if (", most, " < ", v, ") ", most, " = ", v, ";"));
  c.close();
  std::string sum = c.variable(type, "0");
  from[1] = c.loop(c.input(0).dims[1]);
  REDLINE_ASSIGN(std::string w, c.read(0, from));
  c.line(str_cat(sum, " += exp(", w, " - ", most, ");"));
  c.close();
  REDLINE_ASSIGN(std::string own, c.read(0, at));
  return c.let(type, str_cat(own, " - ", most, " - log(", sum, ")"));
}

struct LossCode {
  std::string loss, weight;
};

// Both are 0 where the target is ignored, or no class.
Result<LossCode> loss_at(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LossAttrs>();
  std::string type(compute_type(c.input(0).dtype));
  LossCode code{c.variable(type, "0"), c.variable(type, "0")};
  REDLINE_ASSIGN(std::string target, c.read(1, at));
  std::string label = c.let("i64", "(i64)" + target);
  std::string counts = str_cat(label, " >= 0 && ", label, " < (i64)(", c.input(0).dims[1], ")");
  std::string outside = str_cat("!(", counts, ")");
  if (attrs.ignore_index) {
    outside += str_cat(" && ", label, " != ", int_literal(*attrs.ignore_index));
  }
  c.refuse_if(outside);
  if (attrs.ignore_index)
    counts += str_cat(" && ", label, " != ", int_literal(*attrs.ignore_index));
  c.open(str_cat("if (", counts, ")"));
  std::string place = c.let("idx", "(idx)" + label);
  ElementIndex from = at;
  from.insert(from.begin() + 1, place);
  std::string log;
  if (c.node().op->name == "nll_loss") {
    REDLINE_ASSIGN(log, c.read(0, from));
  } else {
    REDLINE_ASSIGN(log, log_probability(c, from));
  }
  std::string factor = type + "(1)";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(factor, c.read(2, {place}));
  }
  c.line(str_cat(code.loss, " = -", log, " * ", factor, ";"));
  c.line(str_cat(code.weight, " = ", factor, ";"));
  c.close();
  return code;
}

Result<std::string> loss(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LossAttrs>();
  if (c.output_number() == 1) return log_probability(c, at);
  if (attrs.reduction == LossReduction::kNone) {
    REDLINE_ASSIGN(LossCode code, loss_at(c, at));
    return code.loss;
  }
  // One thread adds up everything, so in double.
  std::string sum = c.variable("double", "0");
  std::string weights = c.variable("double", "0");
  ElementIndex from;
  for (const std::string& size : c.input(1).dims) from.push_back(c.loop(size));
  REDLINE_ASSIGN(LossCode code, loss_at(c, from));
  c.line(str_cat(sum, " += (double)", code.loss, ";"));
  c.line(str_cat(weights, " += (double)", code.weight, ";"));
  for (size_t i = 0; i < from.size(); ++i) c.close();
  return str_cat("(", compute_type(c.output().dtype), ")(",
                 attrs.reduction == LossReduction::kMean ? str_cat(sum, " / ", weights) : sum, ")");
}

}  // namespace

void register_element_loss(ElementRegistry& registry) {
  registry.add({.ops = {"nll_loss", "softmax_cross_entropy_loss"},
                .element = loss,
                .loops = true,
                .refuses = true});
}

}  // namespace redline
