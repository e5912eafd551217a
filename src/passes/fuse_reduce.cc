// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

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

// Has a result for each element of its operand.
bool is_norm(const Node* node) {
  constexpr std::array<std::string_view, 8> kNorms = {
      "softmax", "log_softmax", "layer_norm",    "rms_norm",
      "lp_norm", "group_norm",  "instance_norm", "mean_variance_norm"};
  return std::find(kNorms.begin(), kNorms.end(), node->op().name) != kNorms.end();
}

bool is_anchor(const Node* node) {
  return node->num_outputs() == 1 &&
         (node->op().attrs == attrs_type<ReduceAttrs>() || is_norm(node));
}

// The pair as one region, when a kernel takes it; null when not.
Result<Node*> join(Node* first, Node* second, size_t max_outputs, const PassContext& context) {
  std::array<Node*, 2> pair = {first, second};
  if (first->graph() != second->graph() || !can_fuse(pair)) return nullptr;
  REDLINE_ASSIGN(RegionDraft draft, draft_region(pair));
  if (draft.outputs.size() > max_outputs) return nullptr;
  if (context.options.has_kernel && !context.options.has_kernel(draft)) return nullptr;
  return fuse_nodes(*first->graph(), pair);
}

// What makes the operand for the anchor alone, and what alone reads its result. A norm's operand
// may be read elsewhere too (a residual): it has been computed when the norm is.
Result<bool> fuse(Node* anchor, const PassContext& context) {
  bool changed = false;
  Value* x = anchor->input(0);
  bool alone = x->single_user() == anchor;
  if (x->producer != nullptr && is_pointwise(x->producer) && (alone || is_norm(anchor))) {
    REDLINE_ASSIGN(Node * region, join(x->producer, anchor, alone ? 1 : 2, context));
    changed |= region != nullptr;
    if (region != nullptr) anchor = region;
  }
  if (anchor->num_outputs() != 1) return changed;
  Node* user = anchor->output()->single_user();
  if (user == nullptr || !is_pointwise(user)) return changed;
  if (!(user->output()->type == anchor->output()->type)) return changed;
  REDLINE_ASSIGN(Node * region, join(anchor, user, 1, context));
  return changed || region != nullptr;
}

Result<bool> run(Graph& graph, PassContext& context) {
  std::vector<Node*> anchors;
  graph.for_each_node([&](Node* node) {
    if (is_anchor(node)) anchors.push_back(node);
  });
  bool changed = false;
  for (Node* node : anchors) {
    REDLINE_ASSIGN(bool fused, fuse(node, context));
    changed |= fused;
  }
  return changed;
}

}  // namespace

void register_pass_fuse_reduce(PassRegistry& registry) {
  registry.add({"fuse_reduce", "reductions and norms take the pointwise regions around them", run});
}

}  // namespace redline
