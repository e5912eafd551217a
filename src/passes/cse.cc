// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <unordered_map>

#include "ir/rewrite.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Larger constants are rarely equal, and stay apart under their own names.
constexpr int64_t kMaxConstantElements = 4096;

size_t mix(size_t hash, size_t value) { return (hash ^ value) * 0x9e3779b97f4a7c15ull; }

// The operands in an order that does not depend on how a commutative op was written.
std::vector<Value*> operands(const Node* node) {
  std::vector<Value*> result = node->inputs();
  if (node->op().has(kTraitCommutative) && result.size() >= 2 && result[1] < result[0]) {
    std::swap(result[0], result[1]);
  }
  return result;
}

size_t hash_of(const Node* node) {
  size_t hash = std::hash<const void*>()(&node->op());
  for (const Value* value : operands(node)) hash = mix(hash, std::hash<const void*>()(value));
  return mix(hash, node->attrs().hash());
}

bool same(const Node* a, const Node* b) {
  return &a->op() == &b->op() && a->num_outputs() == b->num_outputs() &&
         operands(a) == operands(b) && a->attrs() == b->attrs();
}

size_t hash_of(const Tensor& tensor) {
  size_t hash = static_cast<size_t>(tensor.dtype());
  for (int64_t dim : tensor.dims()) hash = mix(hash, static_cast<size_t>(dim));
  if (tensor.dtype() == DType::kString) return hash;
  std::string_view bytes(tensor.data<char>(), tensor.bytes());
  return mix(hash, std::hash<std::string_view>()(bytes));
}

class Merger {
 public:
  explicit Merger(Graph& graph) : graph_(graph) {}

  bool run() {
    for (Node* node : graph_.node_snapshot()) {
      for (size_t i = 0; i < node->num_inputs(); ++i) merge_constant(node, i);
      merge_node(node);
    }
    return changed_;
  }

 private:
  void merge_constant(Node* node, size_t i) {
    Value* value = node->input(i);
    if (value == nullptr || !value->is_constant() || value->graph != &graph_) return;
    if (value->constant.count() > kMaxConstantElements) return;
    std::vector<Value*>& bucket = constants_[hash_of(value->constant)];
    for (Value* other : bucket) {
      if (other == value) return;
      if (!identical(other->constant, value->constant)) continue;
      node->set_input(i, other);
      changed_ = true;
      return;
    }
    bucket.push_back(value);
  }

  void merge_node(Node* node) {
    // A run may draw other numbers, and subgraphs would have to be compared.
    if (node->op().has(kTraitRandom) || node->op().num_subgraphs > 0) return;
    if (node->num_outputs() == 0) return;
    std::vector<Node*>& bucket = nodes_[hash_of(node)];
    for (Node* other : bucket) {
      if (!same(node, other)) continue;
      for (size_t i = 0; i < node->num_outputs(); ++i) {
        if (!node->output(i)->uses.empty()) {
          graph_.replace_uses(node->output(i), other->output(i));
        }
      }
      graph_.erase(node);
      changed_ = true;
      return;
    }
    bucket.push_back(node);
  }

  Graph& graph_;
  bool changed_ = false;
  std::unordered_map<size_t, std::vector<Value*>> constants_;
  std::unordered_map<size_t, std::vector<Node*>> nodes_;
};

Result<bool> run(Graph& graph, PassContext&) {
  return for_each_graph(graph, [](Graph& g) -> Result<bool> { return Merger(g).run(); });
}

}  // namespace

void register_pass_cse(PassRegistry& registry) {
  registry.add({"cse", "computes equal things once", run});
}

}  // namespace redline
