// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ir/rewrite.h"
#include "ops/cast.h"
#include "ops/pointwise.h"
#include "ops/transpose.h"
#include "passes/pass.h"

namespace redline {
namespace {

bool all_equal(const Value* value, int64_t expected) {
  std::optional<std::vector<int64_t>> ints = constant_ints(value);
  return ints && std::all_of(ints->begin(), ints->end(), [&](int64_t v) { return v == expected; });
}

bool is_identity_perm(const Node* node) {
  const std::vector<int64_t>& perm = node->attrs<TransposeAttrs>().perm;
  const Shape& shape = node->input(0)->shape();
  if (perm.empty()) return shape.has_rank() && shape.rank() <= 1;
  for (size_t i = 0; i < perm.size(); ++i) {
    if (perm[i] != static_cast<int64_t>(i)) return false;
  }
  return true;
}

// The operand that the node hands on unchanged; null when there is none.
Value* operand_kept(const Node* node) {
  Value* x = node->input(0);
  const Value* y = node->output();
  if (x == nullptr || !same_type(x, y)) return nullptr;
  if (node->is("identity")) return x;
  if (!y->type.is_tensor()) return nullptr;
  if (node->is("concat")) return node->num_inputs() == 1 ? x : nullptr;
  if (node->is("cast") || node->is("bit_cast")) return x;  // the types are the same
  if (node->is("transpose")) return is_identity_perm(node) ? x : nullptr;
  if (node->is("pad")) return all_equal(node->input(1), 0) ? x : nullptr;
  // From here on, the same sizes are known to mean the same elements.
  if (!y->shape().has_rank()) return nullptr;
  if (node->op().has(kTraitView) || node->is("expand") || node->is("tile")) return x;
  if (node->is("slice")) {
    return node->input(4) == nullptr || all_equal(node->input(4), 1) ? x : nullptr;
  }
  if (node->is("split")) return node->num_outputs() == 1 ? x : nullptr;
  return nullptr;
}

// x + 0, x * 1 and the like, when the other operand does not enlarge x.
Value* operand_beside_identity(const Node* node) {
  const PointwiseRow* row = find_pointwise(node->op().name);
  if (row == nullptr || row->arity != 2 || !row->has_identity()) return nullptr;
  bool commutative = row->has(kPointwiseCommutative);
  for (size_t i = 1; i < 2 || (commutative && i < 3); ++i) {
    Value* other = node->input(i % 2);
    Value* kept = node->input(1 - i % 2);
    std::optional<double> value = splat_constant(other);
    if (value && *value == row->identity && same_type(kept, node->output())) return kept;
  }
  return nullptr;
}

bool is_inference_dropout(const Node* node) {
  if (!node->is("dropout")) return false;
  if (node->num_outputs() > 1 && !node->output(1)->uses.empty()) return false;
  const Value* training = node->input(2);
  return training == nullptr || is_scalar(training, 0);
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_nodes(graph, [](Node* node) -> Result<bool> {
    if (node->num_outputs() == 0 || node->output()->uses.empty()) return false;
    Value* kept = is_inference_dropout(node) ? node->input(0) : operand_kept(node);
    if (kept == nullptr) kept = operand_beside_identity(node);
    if (kept == nullptr) return false;
    replace(node, kept);
    return true;
  });
}

}  // namespace

void register_pass_noop_removal(PassRegistry& registry) {
  registry.add({"noop_removal", "drops ops that hand their operand on unchanged", run});
}

}  // namespace redline
