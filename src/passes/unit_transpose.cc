// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/reshape.h"
#include "ops/transpose.h"
#include "passes/bound_sizes.h"
#include "passes/pass.h"
#include "passes/reshape_groups.h"

namespace redline {
namespace {

// transpose(x, p) = reshape(x) where only axes of size 1 move past others, and else
// transpose(reshape(x), q) where q leaves them where they are.
Result<bool> rewrite(Node* node) {
  if (!node->is("transpose") || node->output()->uses.empty()) return false;
  const Shape& x = node->input(0)->shape();
  if (!x.has_rank() || !is_bound(x.dims(), bound_symbols(*node->graph()))) return false;
  std::vector<int64_t> perm = node->attrs<TransposeAttrs>().perm;
  for (int64_t i = x.rank(); perm.empty() && i-- > 0;) perm.push_back(i);
  std::optional<ReshapedTranspose> form =
      reshape_first(x.dims(), perm, node->output()->shape().dims());
  if (!form || (form->sizes == x.dims() && !form->is_identity())) return false;
  REDLINE_ASSIGN(Value * result,
                 insert(node, "reshape", {node->input(0)}, ReshapeAttrs{.sizes = form->sizes}));
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
