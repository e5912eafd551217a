// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "ir/rewrite.h"
#include "passes/pass.h"

namespace redline {
namespace {

Result<bool> become(Node* node, std::string_view op, Value* operand) {
  REDLINE_ASSIGN(Value * result, insert(node, op, {operand}));
  if (!same_type(result, node->output())) {
    node->graph()->erase(result->producer);
    return false;
  }
  replace(node, result);
  return true;
}

// One op where two operands say the same.
Result<bool> simpler_op(Node* node) {
  Value* x = node->input(0);
  if (node->is("mul") && x == node->input(1)) return become(node, "square", x);
  if (!is_float(node->output()->dtype())) return false;
  if (node->is("pow")) {
    if (is_scalar(node->input(1), 2)) return become(node, "square", x);
    if (is_scalar(node->input(1), 0.5)) return become(node, "sqrt", x);
    if (is_scalar(node->input(1), -1)) return become(node, "reciprocal", x);
    if (is_scalar(node->input(1), -0.5)) return become(node, "rsqrt", x);
    return false;
  }
  if (node->is("div")) {
    if (is_scalar(x, 1)) return become(node, "reciprocal", node->input(1));
    return false;
  }
  if (node->is("reciprocal")) {
    Node* root = sole_producer(x, "sqrt");
    return root != nullptr ? become(node, "rsqrt", root->input(0)) : false;
  }
  if (node->is("max")) {
    for (size_t i = 0; i < 2; ++i) {
      if (is_scalar(node->input(i), 0)) return become(node, "relu", node->input(1 - i));
    }
  }
  return false;
}

// -(-x) = x, and f(f(x)) = f(x) where the op says so.
bool undo_twice(Node* node) {
  if (node->num_inputs() == 0 || node->num_outputs() != 1) return false;
  Node* inner = producer(node->input(0), node->op().name);
  if (inner == nullptr || inner->num_inputs() != node->num_inputs()) return false;
  if (!(inner->attrs() == node->attrs())) return false;
  if (node->is("neg") || node->is("not") || node->is("bitwise_not")) {
    replace(node, inner->input(0));
    return true;
  }
  if (!node->op().has(kTraitIdempotent)) return false;
  for (size_t i = 1; i < node->num_inputs(); ++i) {
    if (node->input(i) != inner->input(i)) return false;
  }
  if (!same_type(inner->output(), node->output())) return false;
  replace(node, inner->output());
  return true;
}

// (x + a) + b = x + (a + b), (x * a) * b = x * (a * b) for constants; constant folding does the
// rest. The constants' result must be no larger than the larger of them.
Result<bool> regroup_constants(Node* node) {
  if (!node->is("add") && !node->is("mul")) return false;
  for (size_t i = 0; i < 2; ++i) {
    Value* b = node->input(1 - i);
    Node* inner = sole_producer(node->input(i), node->op().name);
    if (inner == nullptr || !b->is_constant()) continue;
    for (size_t k = 0; k < 2; ++k) {
      Value* x = inner->input(k);
      Value* a = inner->input(1 - k);
      if (x->is_constant() || !a->is_constant()) continue;
      std::array<Dims, 2> dims = {a->constant.dims(), b->constant.dims()};
      int64_t largest = std::max(a->constant.count(), b->constant.count());
      if (broadcast_dims(dims).count() > largest) continue;
      REDLINE_ASSIGN(Value * constants, insert(node, node->op().name, {a, b}));
      REDLINE_ASSIGN(Value * result, insert(node, node->op().name, {x, constants}));
      Graph* graph = node->graph();
      replace(node, result);
      graph->erase(inner);
      return true;
    }
  }
  return false;
}

bool pick_branch(Node* node) {
  if (!node->is("where")) return false;
  std::optional<double> condition = splat_constant(node->input(0));
  if (!condition) return false;
  Value* taken = node->input(*condition != 0 ? 1 : 2);
  if (!same_type(taken, node->output())) return false;
  replace(node, taken);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_nodes(graph, [](Node* node) -> Result<bool> {
    if (!node->op().has(kTraitPointwise) || node->is("fused")) return false;
    if (node->num_outputs() != 1 || node->output()->uses.empty()) return false;
    if (undo_twice(node) || pick_branch(node)) return true;
    REDLINE_ASSIGN(bool simpler, simpler_op(node));
    if (simpler) return true;
    return regroup_constants(node);
  });
}

}  // namespace

void register_pass_algebraic(PassRegistry& registry) {
  registry.add({"algebraic", "one op where several say the same: squares, roots, constants", run});
}

}  // namespace redline
