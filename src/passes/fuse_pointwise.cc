// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "ir/fuse.h"
#include "ops/fused.h"
#include "passes/pass.h"

namespace redline {
namespace {

// More operands than this and a region no longer gains from being one.
constexpr size_t kMaxOperands = 16;
constexpr size_t kMaxNodes = 40;

bool is_pointwise(const Node* node) {
  if (node->is("fused")) return find_anchor(*node->attrs<FusedAttrs>().body) == nullptr;
  return node->op().has(kTraitPointwise);
}

size_t size_of(const Node* node) {
  return node->is("fused") ? node->attrs<FusedAttrs>().body->nodes.size() : 1;
}

bool same_sizes(const Value* a, const Value* b) {
  return a->type.is_tensor() && b->type.is_tensor() && a->shape().has_rank() &&
         a->shape() == b->shape();
}

// `node` and the pointwise node that makes one of its operands become one region when both have the
// same sizes, so that nothing is computed twice.
Result<Node*> fuse_with_producer(Node* node, const PassContext& context) {
  for (Value* input : node->inputs()) {
    if (input == nullptr || input->producer == nullptr) continue;
    Node* producer = input->producer;
    if (producer->graph() != node->graph() || !is_pointwise(producer)) continue;
    if (!same_sizes(producer->output(), node->output())) continue;
    if (size_of(producer) + size_of(node) > kMaxNodes) continue;
    std::array<Node*, 2> pair = {producer, node};
    if (!can_fuse(pair)) continue;
    REDLINE_ASSIGN(RegionDraft draft, draft_region(pair));
    if (draft.inputs.size() + draft.outputs.size() > kMaxOperands) continue;
    if (context.options.has_kernel && !context.options.has_kernel(draft)) continue;
    return fuse_nodes(*node->graph(), pair);
  }
  return nullptr;
}

Result<bool> run(Graph& graph, PassContext& context) {
  bool changed = false;
  std::vector<Graph*> graphs = {&graph};
  graph.for_each_node([&](Node* node) {
    for (const auto& subgraph : node->subgraphs()) graphs.push_back(subgraph.get());
  });
  for (Graph* at : graphs) {
    // In order: what came before has taken what it could, so a node meets whole regions.
    for (Node* node : at->node_snapshot()) {
      if (!is_pointwise(node)) continue;
      while (node != nullptr) {
        REDLINE_ASSIGN(node, fuse_with_producer(node, context));
        changed |= node != nullptr;
      }
    }
  }
  return changed;
}

}  // namespace

void register_pass_fuse_pointwise(PassRegistry& registry) {
  registry.add({"fuse_pointwise", "chains of pointwise ops of one size become one region", run});
}

}  // namespace redline
