// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax.h"

#include <vector>

#include "ir/rewrite.h"
#include "ops/reduce.h"
#include "passes/pass.h"

namespace redline {
namespace {

// The axis of a reduction over one, kept with size 1; others do not match.
std::optional<int64_t> single_axis(const Node& node) {
  std::optional<std::vector<int64_t>> axes = constant_ints(node.input(1));
  const Shape& shape = node.input(0)->shape();
  if (!node.attrs<ReduceAttrs>().keepdims || !axes || axes->size() != 1 || !shape.has_rank()) {
    return std::nullopt;
  }
  return axes->front() < 0 ? axes->front() + shape.rank() : axes->front();
}

Pattern reduced(std::string op, Pattern of, const std::string& name) {
  return made_by(std::move(op), {std::move(of), constant_value(name + "_axes")})
      .where([](const Node& node) { return single_axis(node).has_value(); })
      .named(name);
}

struct Form {
  Pattern pattern;
  std::string_view op;
  bool shifted;  // by the maximum, which must be along the same axis
};

std::vector<Form> make_forms() {
  std::vector<Form> forms;
  Pattern x = any_value("x");
  // Softmax is the same for x - c, whatever c is along the axis.
  Pattern less = made_by("sub", {x, reduced("reduce_max", x, "max")});
  for (bool shifted : {true, false}) {
    const Pattern& v = shifted ? less : x;
    Pattern e = made_by("exp", {v});
    Pattern sum = reduced("reduce_sum", e, "sum");
    forms.push_back({made_by("div", {e, sum}), "softmax", shifted});
    forms.push_back({made_by("mul", {e, made_by("reciprocal", {sum})}), "softmax", shifted});
    for (const Pattern& logarithm : {made_by("log", {sum}), reduced("reduce_log_sum", e, "sum"),
                                     reduced("reduce_log_sum_exp", v, "sum")}) {
      forms.push_back({made_by("sub", {v, logarithm}), "log_softmax", shifted});
    }
  }
  return forms;
}

Result<bool> become(Node* node, std::string_view op, Value* x, int64_t axis) {
  if (!same_type(x, node->output()) || !is_float(x->dtype())) return false;
  REDLINE_ASSIGN(Value * y, insert(node, op, {x}, SoftmaxAttrs{axis}));
  replace(node, y);
  return true;
}

Result<bool> rewrite(Node* node) {
  static const std::vector<Form> kForms = make_forms();
  if (node->is("log")) {
    Node* softmax = sole_producer(node->input(0), "softmax");
    if (softmax == nullptr) return false;
    return become(node, "log_softmax", softmax->input(0), softmax->attrs<SoftmaxAttrs>().axis);
  }
  if (!node->is("div") && !node->is("mul") && !node->is("sub")) return false;
  for (const Form& form : kForms) {
    std::optional<Match> found = match(node->output(), form.pattern);
    if (!found) continue;
    std::optional<int64_t> axis = single_axis(*found->node("sum"));
    if (form.shifted && single_axis(*found->node("max")) != axis) continue;
    // The same axis counted from the end, as models write it.
    return become(node, form.op, found->value("x"), *axis - node->output()->shape().rank());
  }
  return false;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_softmax(PassRegistry& registry) {
  registry.add({"recognise_softmax",
                "softmax and its logarithm from exponentials, maxima and sums along an axis", run});
}

}  // namespace redline
