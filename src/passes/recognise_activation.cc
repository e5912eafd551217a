// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "ir/rewrite.h"
#include "ops/pointwise.h"
#include "passes/pass.h"

namespace redline {
namespace {

Pattern x() { return any_value("x"); }
Pattern mul(Pattern a, Pattern b) { return made_by("mul", {std::move(a), std::move(b)}); }
Pattern add(Pattern a, Pattern b) { return made_by("add", {std::move(a), std::move(b)}); }
Pattern div(Pattern a, Pattern b) { return made_by("div", {std::move(a), std::move(b)}); }

// Exporters round these constants to the model's type.
Pattern constant(double value) { return scalar(value, 1e-3); }

// a * b * c, in each way to place the parentheses.
std::vector<Pattern> product(const Pattern& a, const Pattern& b, const Pattern& c) {
  return {mul(mul(a, b), c), mul(mul(a, c), b), mul(mul(b, c), a)};
}

struct Form {
  std::vector<Pattern> patterns;
  std::string_view op;
  Attrs attrs;
};

std::vector<Form> make_forms() {
  std::vector<Form> forms;
  auto append = [](std::vector<Pattern>& to, std::vector<Pattern> from) {
    to.insert(to.end(), from.begin(), from.end());
  };

  // x/2 * (1 + erf(x / sqrt(2)))
  Form gelu{{}, "gelu", Attrs::of(GeluAttrs{GeluForm::kNone})};
  for (const Pattern& inner :
       {div(x(), constant(std::sqrt(2.0))), mul(x(), constant(std::sqrt(0.5)))}) {
    Pattern tail = add(made_by("erf", {inner}), scalar(1));
    append(gelu.patterns, product(x(), tail, scalar(0.5)));
    append(gelu.patterns, {mul(div(x(), scalar(2)), tail), div(mul(x(), tail), scalar(2))});
  }
  forms.push_back(std::move(gelu));

  // x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))
  Form tanh_gelu{{}, "gelu", Attrs::of(GeluAttrs{GeluForm::kTanh})};
  double root = std::sqrt(2 / std::acos(-1.0));
  Pattern square = mul(x(), x());
  for (const Pattern& cube :
       {made_by("pow", {x(), scalar(3)}), mul(square, x()), mul(made_by("square", {x()}), x())}) {
    for (const Pattern& sum : {add(x(), mul(cube, constant(0.044715))),
                               mul(x(), add(mul(square, constant(0.044715)), scalar(1)))}) {
      Pattern tail = add(made_by("tanh", {mul(sum, constant(root))}), scalar(1));
      append(tanh_gelu.patterns, product(x(), tail, scalar(0.5)));
    }
  }
  forms.push_back(std::move(tanh_gelu));

  // x * sigmoid(x) = x / (1 + exp(-x))
  Pattern logistic = add(made_by("exp", {made_by("neg", {x()})}), scalar(1));
  forms.push_back({{mul(x(), made_by("sigmoid", {x()})), div(x(), logistic),
                    mul(x(), made_by("reciprocal", {logistic}))},
                   "swish",
                   Attrs::of(SwishAttrs{1})});
  // x * sigmoid(1.702 x)
  forms.push_back({{mul(x(), made_by("sigmoid", {mul(x(), constant(1.702))}))},
                   "swish",
                   Attrs::of(SwishAttrs{1.702f})});

  // x * clip(x + 3, 0, 6) / 6, and clip(x/6 + 1/2, 0, 1) for the sixth of it
  Pattern shifted = add(x(), scalar(3));
  Pattern bounded = made_by("min", {made_by("relu", {shifted}), scalar(6)});
  Pattern clipped = made_by("clip", {shifted, scalar(0), scalar(6)});
  Pattern unit =
      made_by("clip", {add(mul(x(), constant(1.0 / 6)), scalar(0.5)), scalar(0), scalar(1)});
  Pattern unit_div = made_by("clip", {add(div(x(), scalar(6)), scalar(0.5)), scalar(0), scalar(1)});
  Pattern sixth = made_by("hard_sigmoid", {x()}).where([](const Node& node) {
    const auto& attrs = node.attrs<HardSigmoidAttrs>();
    return std::abs(attrs.alpha - 1.0f / 6) < 1e-5f && attrs.beta == 0.5f;
  });
  Form hard_swish{{mul(x(), sixth), mul(x(), unit), mul(x(), unit_div)}, "hard_swish", {}};
  for (const Pattern& six : {clipped, bounded}) {
    append(hard_swish.patterns, product(x(), six, constant(1.0 / 6)));
    append(hard_swish.patterns, {div(mul(x(), six), scalar(6)), mul(x(), div(six, scalar(6))),
                                 mul(six, div(x(), scalar(6)))});
  }
  forms.push_back(std::move(hard_swish));

  // x * tanh(log(1 + exp(x)))
  Form mish{{}, "mish", {}};
  for (const Pattern& soft :
       {made_by("softplus", {x()}), made_by("log", {add(made_by("exp", {x()}), scalar(1))})}) {
    mish.patterns.push_back(mul(x(), made_by("tanh", {soft})));
  }
  forms.push_back(std::move(mish));
  return forms;
}

Result<bool> rewrite(Node* node) {
  static const std::vector<Form> kForms = make_forms();
  if (!node->is("mul") && !node->is("div")) return false;
  for (const Form& form : kForms) {
    for (const Pattern& pattern : form.patterns) {
      std::optional<Match> found = match(node->output(), pattern);
      if (!found) continue;
      Value* input = found->value("x");
      // A constant of a higher rank would have made the result's sizes other than x's.
      if (!same_type(input, node->output())) continue;
      REDLINE_ASSIGN(Value * result, insert(node, form.op, {input}, form.attrs));
      replace(node, result);
      return true;
    }
  }
  return false;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_activation(PassRegistry& registry) {
  registry.add({"recognise_activation",
                "GELU, SiLU, hard-swish and Mish from the forms that exporters write", run});
}

}  // namespace redline
