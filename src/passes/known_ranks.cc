// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "ir/rewrite.h"
#include "ops/concat.h"
#include "ops/gather.h"
#include "ops/split.h"
#include "ops/transpose.h"
#include "passes/pass.h"

namespace redline {
namespace {

// The least rank with which the reader does not fail.
int64_t least_rank(const Use& use) {
  const Node* node = use.node;
  if (node == nullptr || use.index != 0) return 0;
  auto of_axis = [](int64_t axis) { return axis < 0 ? -axis : axis + 1; };
  if (node->is("split")) return of_axis(node->attrs<SplitAttrs>().axis);
  if (node->is("gather")) return of_axis(node->attrs<GatherAttrs>().axis);
  if (node->is("concat")) return of_axis(node->attrs<ConcatAttrs>().axis);
  if (node->is("transpose")) {
    return static_cast<int64_t>(node->attrs<TransposeAttrs>().perm.size());
  }
  return 0;
}

Value* add_axes(Graph& graph, const std::vector<int64_t>& axes) {
  Dims dims = {static_cast<int64_t>(axes.size())};
  return graph.add_constant(Tensor::from<int64_t>(DType::kInt64, dims, axes));
}

// squeeze(x) keeps sizes that are not known. Any that turned out to be 1 would go, and what
// remains be too little for a reader that wants all the others.
Result<bool> keep_unknown_sizes(Node* node) {
  if (!node->is("squeeze") || node->input(1) != nullptr) return false;
  const Shape& x = node->input(0)->shape();
  Value* y = node->output();
  if (!x.has_rank() || y->shape().has_rank()) return false;
  std::vector<int64_t> axes;
  for (int axis = 0; axis < x.rank(); ++axis) {
    if (x[axis] == Dim(1)) axes.push_back(axis);
  }
  int64_t most = x.rank() - static_cast<int64_t>(axes.size());
  auto wants_all = [&](const Use& use) {
    return use.node != nullptr && use.node->graph() == node->graph() && least_rank(use) == most;
  };
  if (std::none_of(y->uses.begin(), y->uses.end(), wants_all)) return false;
  Value* dropped = add_axes(*node->graph(), axes);
  REDLINE_ASSIGN(Value * result, insert(node, "squeeze", {node->input(0), dropped}));
  replace(node, result);
  return true;
}

// Whether the reader broadcasts the value against one of this rank or more.
bool broadcasts(const Use& use, int rank) {
  if (use.node == nullptr || !use.node->op().has(kTraitPointwise)) return false;
  const std::vector<Value*>& inputs = use.node->inputs();
  return std::any_of(inputs.begin(), inputs.end(), [&](const Value* other) {
    return other != nullptr && other->type.is_tensor() && other->shape().has_rank() &&
           other->shape().rank() >= rank;
  });
}

// Branches of an `if` whose results have other ranks give the higher one, where all readers
// broadcast: axes of size 1 in front change nothing.
Result<bool> widen_branches(Node* node) {
  if (!node->is("if")) return false;
  bool changed = false;
  for (size_t i = 0; i < node->num_outputs(); ++i) {
    const Value* joined = node->output(i);
    if (!joined->type.is_tensor() || joined->shape().has_rank()) continue;
    int most = 0;
    bool ranked = true;
    for (const auto& branch : node->subgraphs()) {
      const Value* result = branch->outputs()[i];
      ranked = ranked && result->type.is_tensor() && result->shape().has_rank();
      if (ranked) most = std::max(most, result->shape().rank());
    }
    auto may = [&](const Use& use) { return broadcasts(use, most); };
    if (!ranked || !std::all_of(joined->uses.begin(), joined->uses.end(), may)) continue;
    for (const auto& branch : node->subgraphs()) {
      Value* result = branch->outputs()[i];
      std::vector<int64_t> axes(static_cast<size_t>(most - result->shape().rank()));
      if (axes.empty()) continue;
      std::iota(axes.begin(), axes.end(), 0);
      REDLINE_ASSIGN(Node * wide, branch->add_node("unsqueeze", {result, add_axes(*branch, axes)},
                                                   Attrs(), 1, nullptr, node->name));
      branch->set_output(i, wide->output());
      changed = true;
    }
  }
  return changed;
}

Result<bool> rewrite(Node* node) {
  REDLINE_ASSIGN(bool kept, keep_unknown_sizes(node));
  return kept ? Result<bool>(true) : widen_branches(node);
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_nodes(graph, rewrite); }

}  // namespace

void register_pass_known_ranks(PassRegistry& registry) {
  registry.add(
      {"known_ranks", "ranks that only a run would tell, where another form has one", run});
}

}  // namespace redline
