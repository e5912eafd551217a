// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/reshape.h"
#include "ops/transpose.h"
#include "passes/pass.h"
#include "passes/reshape_groups.h"

namespace redline {
namespace {

// transpose(x, p) = reshape(x) where only axes of size 1 move past others, and else
// transpose(reshape(x), q) where q leaves them where they are.
Result<bool> rewrite(Node* node) {
  if (!node->is("transpose") || node->output()->uses.empty()) return false;
  std::optional<Dims> x = static_dims(node->input(0));
  std::optional<Dims> y = static_dims(node->output());
  if (!x || !y) return false;
  std::vector<int64_t> perm = node->attrs<TransposeAttrs>().perm;
  for (int64_t i = x->rank(); perm.empty() && i-- > 0;) perm.push_back(i);
  std::optional<ReshapedTranspose> form = reshape_first(*x, perm, *y);
  if (!form || (form->sizes == *x && !form->is_identity())) return false;
  SymDims sizes(form->sizes.begin(), form->sizes.end());
  REDLINE_ASSIGN(Value * result,
                 insert(node, "reshape", {node->input(0)}, ReshapeAttrs{.sizes = sizes}));
  if (!form->is_identity()) {
    REDLINE_ASSIGN(result, insert(node, "transpose", {result}, TransposeAttrs{form->perm}));
  }
  replace(node, result);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_unit_transpose(PassRegistry& registry) {
  registry.add({"unit_transpose", "transposes that move axes of size 1 are reshapes", run});
}

}  // namespace redline
