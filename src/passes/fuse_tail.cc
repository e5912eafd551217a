// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string_view>

#include "ir/fuse.h"
#include "passes/pass.h"

namespace redline {
namespace {

constexpr std::array<std::string_view, 4> kAnchors = {"conv", "conv_transpose", "matmul", "gemm"};

bool is_anchor(const Node* node) {
  return std::find(kAnchors.begin(), kAnchors.end(), node->op().name) != kAnchors.end();
}

bool is_graph_output(const Value* value) {
  const std::vector<Value*>& outputs = value->graph->outputs();
  return std::find(outputs.begin(), outputs.end(), value) != outputs.end();
}

// What an output is, or is computed of by one op, is kept as wide as the sums are: decisions
// between values that are close hang on it, and nothing large is read again.
bool is_near_output(const Value* value) {
  if (is_graph_output(value)) return true;
  const Node* user = value->single_user();
  return user != nullptr && user->graph() == value->graph && user->num_outputs() == 1 &&
         is_graph_output(user->output());
}

// The pointwise node that alone reads the value and keeps its sizes.
Node* next_in_chain(const Value* value) {
  Node* user = value->single_user();
  if (user == nullptr || user->graph() != value->graph) return nullptr;
  if (!user->op().has(kTraitPointwise) || user->num_outputs() != 1) return nullptr;
  const Type& type = user->output()->type;
  bool widens = user->op().name == "cast" && is_float(value->type.dtype) &&
                type.dtype == DType::kFloat32 && type.shape == value->type.shape;
  return type == value->type || (widens && is_near_output(user->output())) ? user : nullptr;
}

// anchor -> op1 -> op2 ... becomes one region, as far as a kernel takes it.
Result<bool> fuse_chain(Node* anchor, const PassContext& context) {
  std::vector<Node*> chain = {anchor};
  while (Node* next = next_in_chain(chain.back()->output())) {
    chain.push_back(next);
    bool good = can_fuse(chain);
    if (good && context.options.has_kernel) {
      REDLINE_ASSIGN(RegionDraft draft, draft_region(chain));
      good = context.options.has_kernel(draft);
    }
    if (!good) {
      chain.pop_back();
      break;
    }
  }
  if (chain.size() == 1) return false;
  REDLINE_TRY(fuse_nodes(*anchor->graph(), chain).status());
  return true;
}

// From the last anchor to the first: a residual addition goes to the later of its two anchors, when
// the other one's result is ready.
Result<bool> run(Graph& graph, PassContext& context) {
  std::vector<Node*> anchors;
  graph.for_each_node([&](Node* node) {
    if (is_anchor(node) && node->num_outputs() == 1) anchors.push_back(node);
  });
  bool changed = false;
  for (size_t i = anchors.size(); i-- > 0;) {
    REDLINE_ASSIGN(bool fused, fuse_chain(anchors[i], context));
    changed |= fused;
  }
  return changed;
}

}  // namespace

void register_pass_fuse_tail(PassRegistry& registry) {
  registry.add({"fuse_tail", "convolutions and products take the pointwise ops behind them", run});
}

}  // namespace redline
