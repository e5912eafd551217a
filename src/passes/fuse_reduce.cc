// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "ir/fuse.h"
#include "ops/fused.h"
#include "ops/reduce.h"
#include "passes/pass.h"

namespace redline {
namespace {

bool is_pointwise(const Node* node) {
  if (node->num_outputs() != 1) return false;
  if (node->is("fused")) return find_anchor(*node->attrs<FusedAttrs>().body) == nullptr;
  return node->op().has(kTraitPointwise);
}

// The pair as one region, when a kernel takes it; null when not.
Result<Node*> join(Node* first, Node* second, const PassContext& context) {
  std::array<Node*, 2> pair = {first, second};
  if (first->graph() != second->graph() || !can_fuse(pair)) return nullptr;
  REDLINE_ASSIGN(RegionDraft draft, draft_region(pair));
  if (draft.outputs.size() != 1) return nullptr;
  if (context.options.has_kernel && !context.options.has_kernel(draft)) return nullptr;
  return fuse_nodes(*first->graph(), pair);
}

// What makes the operand for the reduction alone, and what alone reads its result.
Result<bool> fuse(Node* reduce, const PassContext& context) {
  bool changed = false;
  Value* x = reduce->input(0);
  if (x->producer != nullptr && is_pointwise(x->producer) && x->single_user() == reduce) {
    REDLINE_ASSIGN(Node * region, join(x->producer, reduce, context));
    changed |= region != nullptr;
    if (region != nullptr) reduce = region;
  }
  Node* user = reduce->output()->single_user();
  if (user == nullptr || !is_pointwise(user)) return changed;
  if (!(user->output()->type == reduce->output()->type)) return changed;
  REDLINE_ASSIGN(Node * region, join(reduce, user, context));
  return changed || region != nullptr;
}

Result<bool> run(Graph& graph, PassContext& context) {
  std::vector<Node*> reductions;
  graph.for_each_node([&](Node* node) {
    if (node->op().attrs == attrs_type<ReduceAttrs>()) reductions.push_back(node);
  });
  bool changed = false;
  for (Node* node : reductions) {
    REDLINE_ASSIGN(bool fused, fuse(node, context));
    changed |= fused;
  }
  return changed;
}

}  // namespace

void register_pass_fuse_reduce(PassRegistry& registry) {
  registry.add({"fuse_reduce", "reductions take the pointwise regions around them", run});
}

}  // namespace redline
