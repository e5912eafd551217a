// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "ir/rewrite.h"
#include "ops/layer_norm.h"
#include "ops/reduce.h"
#include "passes/pass.h"

namespace redline {
namespace {

// The mean over the last axes, kept as axes of size 1: returns the first of them. Others do not
// match.
bool is_mean_of_last_axes(const Node& node) {
  const auto& attrs = node.attrs<ReduceAttrs>();
  std::optional<std::vector<int64_t>> axes = constant_ints(node.input(1));
  const Shape& shape = node.input(0)->shape();
  if (!attrs.keepdims || !axes || axes->empty() || !shape.has_rank()) return false;
  std::vector<bool> reduced(static_cast<size_t>(shape.rank()));
  for (int64_t axis : *axes)
    reduced[static_cast<size_t>(axis < 0 ? axis + shape.rank() : axis)] = true;
  bool started = false;
  for (bool here : reduced) {
    if (started && !here) return false;
    started |= here;
  }
  return true;
}

int64_t first_axis(const Node& node) {
  int64_t rank = node.input(0)->shape().rank();
  int64_t first = rank;
  std::optional<std::vector<int64_t>> axes = constant_ints(node.input(1));
  for (int64_t axis : *axes) first = std::min(first, axis < 0 ? axis + rank : axis);
  return first;
}

Pattern mean(Pattern of, const std::string& name) {
  return made_by("reduce_mean", {std::move(of), constant_value(name + "_axes")})
      .where(is_mean_of_last_axes)
      .named(name);
}

// v * v in its forms.
std::vector<Pattern> squares(const Pattern& v) {
  return {made_by("pow", {v, scalar(2)}), made_by("mul", {v, v}), made_by("square", {v})};
}

// v / sqrt(variance + epsilon) in its forms.
std::vector<Pattern> normalised(const Pattern& v, const Pattern& variance) {
  Pattern sum = made_by("add", {variance, constant_value("epsilon")});
  Pattern root = made_by("sqrt", {sum});
  return {made_by("div", {v, root}), made_by("mul", {v, made_by("reciprocal", {root})}),
          made_by("mul", {v, made_by("div", {scalar(1), root})}),
          made_by("mul", {v, made_by("rsqrt", {sum})}),
          made_by("mul", {v, made_by("pow", {sum, scalar(-0.5)})})};
}

struct Forms {
  std::vector<Pattern> layer_norm;
  std::vector<Pattern> rms_norm;
};

Forms make_forms() {
  Forms forms;
  Pattern x = any_value("x");
  // Some exporters compute x - mean twice.
  Pattern centred = made_by("sub", {x, mean(x, "mean").shared()}).shared();
  for (const Pattern& square : squares(centred)) {
    for (Pattern& form : normalised(centred, mean(square, "variance")))
      forms.layer_norm.push_back(form);
  }
  for (const Pattern& square : squares(x)) {
    for (Pattern& form : normalised(x, mean(square, "variance"))) forms.rms_norm.push_back(form);
  }
  return forms;
}

// The factor (or summand) that the only reader applies: it must stretch over the normalised axes
// only.
Value* affine_operand(const Value* value, std::string_view op, int64_t normalised_rank) {
  Node* user = sole_user(value, op);
  if (user == nullptr || !same_type(user->output(), value)) return nullptr;
  Value* other = other_operand(user, value);
  if (other == nullptr || other == value || !other->is_constant()) return nullptr;
  if (other->dtype() != value->dtype() || other->constant.rank() > normalised_rank) return nullptr;
  return other;
}

Result<bool> rewrite_with(Node* node, const Match& found, bool layer) {
  std::optional<double> epsilon = scalar_constant(found.value("epsilon"));
  Value* x = found.value("x");
  if (!epsilon || !same_type(x, node->output()) || !is_float(x->dtype())) return false;
  const Node* variance = found.node("variance");
  int64_t axis = first_axis(*variance);
  if (layer && first_axis(*found.node("mean")) != axis) return false;
  int64_t normalised_rank = x->shape().rank() - axis;

  Node* last = node;
  Value* scale = affine_operand(node->output(), "mul", normalised_rank);
  if (scale != nullptr) last = node->output()->single_user();
  Value* bias = layer ? affine_operand(last->output(), "add", normalised_rank) : nullptr;
  if (bias != nullptr) last = last->output()->single_user();
  if (scale == nullptr) {
    REDLINE_ASSIGN(scale, insert_constant(*node->graph(), x->dtype(), {}, 1));
  }
  LayerNormAttrs attrs;
  attrs.axis = axis - x->shape().rank();
  attrs.epsilon = static_cast<float>(*epsilon);
  std::vector<Value*> inputs = {x, scale};
  if (bias != nullptr) inputs.push_back(bias);
  REDLINE_ASSIGN(Value * result, insert(last, layer ? "layer_norm" : "rms_norm", inputs, attrs));
  node->graph()->replace_uses(last->output(), result);  // what is then dead goes at the end
  return true;
}

Result<bool> rewrite(Node* node) {
  static const Forms kForms = make_forms();
  if (!node->is("div") && !node->is("mul")) return false;
  for (const Pattern& pattern : kForms.layer_norm) {
    if (std::optional<Match> found = match(node->output(), pattern)) {
      return rewrite_with(node, *found, true);
    }
  }
  for (const Pattern& pattern : kForms.rms_norm) {
    if (std::optional<Match> found = match(node->output(), pattern)) {
      return rewrite_with(node, *found, false);
    }
  }
  return false;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_norm(PassRegistry& registry) {
  registry.add({"recognise_norm",
                "LayerNorm and RMSNorm from means, squares and roots over the last axes", run});
}

}  // namespace redline
