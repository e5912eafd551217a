// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/reshape.h"
#include "passes/pass.h"

namespace redline {
namespace {

// A constant that is added to each row alike, whatever the rows' axes are.
bool is_row_constant(const Value* value) {
  return value->is_constant() && value->constant.rank() <= 1;
}

// reshape(x w + c) = reshape(x) w + c where only rows are cut anew: what is behind the reshape then
// stands behind the product.
Result<bool> rewrite(Node* node) {
  if (!node->is("reshape") || node->output()->uses.empty()) return false;
  const std::optional<SymDims>& to = node->attrs<ReshapeAttrs>().sizes;
  Value* y = node->input(0);
  if (!to || to->size() < 2 || !y->shape().has_rank() || y->shape().rank() < 2) return false;
  const Dim& columns = y->shape()[y->shape().rank() - 1];
  if (!columns.is_const() || columns.value() == 0 || to->back() != columns) return false;
  Node* add = sole_producer(y, "add");
  size_t constant = 0;
  if (add != nullptr) {
    constant = is_row_constant(add->input(0)) ? 0 : 1;
    if (!is_row_constant(add->input(constant))) return false;
    y = add->input(1 - constant);
    if (!same_type(y, add->output())) return false;
  }
  Node* product = sole_producer(y, "matmul");
  if (product == nullptr) return false;
  const Shape& x = product->input(0)->shape();
  const Shape& w = product->input(1)->shape();
  if (!x.has_rank() || x.rank() < 2 || !w.has_rank() || w.rank() != 2) return false;
  if (!x[x.rank() - 1].is_const()) return false;
  SymDims rows = *to;
  rows.back() = x[x.rank() - 1];
  REDLINE_ASSIGN(Value * result, insert(node, "reshape", {product->input(0)},
                                        ReshapeAttrs{.sizes = std::move(rows)}));
  REDLINE_ASSIGN(result, insert(node, "matmul", {result, product->input(1)}));
  if (add != nullptr) {
    std::vector<Value*> operands = {result, result};
    operands[constant] = add->input(constant);
    REDLINE_ASSIGN(result, insert(node, "add", std::move(operands)));
  }
  replace(node, result);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_reshape_past_product(PassRegistry& registry) {
  registry.add({"reshape_past_product", "rows are cut anew before a product, not behind it", run});
}

}  // namespace redline
