// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/gemm.h"
#include "ops/transpose.h"
#include "passes/pass.h"

namespace redline {
namespace {

Result<Value*> transposed(Node* at, Value* value) {
  return insert(at, "transpose", {value}, TransposeAttrs{{1, 0}});
}

Result<Value*> scaled(Node* at, Value* value, float factor) {
  if (factor == 1) return value;
  REDLINE_ASSIGN(Value * constant, insert_constant(*at->graph(), value->dtype(), {}, factor));
  return insert(at, "mul", {value, constant});
}

// gemm(a, b, c) = alpha * a' b' + beta * c
Result<bool> rewrite(Node* node) {
  if (!node->is("gemm") || !is_float(node->output()->dtype())) return false;
  const GemmAttrs attrs = node->attrs<GemmAttrs>();
  Value* a = node->input(0);
  Value* b = node->input(1);
  Value* c = node->input(2);
  if (attrs.trans_a) {
    REDLINE_ASSIGN(a, transposed(node, a));
  }
  if (attrs.trans_b) {
    REDLINE_ASSIGN(b, transposed(node, b));
  }
  // On the weights, where it can be folded, rather than on the product.
  REDLINE_ASSIGN(b, scaled(node, b, attrs.alpha));
  REDLINE_ASSIGN(Value * result, insert(node, "matmul", {a, b}));
  if (c != nullptr && attrs.beta != 0) {
    REDLINE_ASSIGN(c, scaled(node, c, attrs.beta));
    REDLINE_ASSIGN(result, insert(node, "add", {result, c}));
  }
  replace(node, result);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_nodes(graph, rewrite); }

}  // namespace

void register_pass_gemm_to_matmul(PassRegistry& registry) {
  registry.add(
      {"gemm_to_matmul", "a product with transposes, factors and a bias in its parts", run});
}

}  // namespace redline
