// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ir/rewrite.h"
#include "passes/pass.h"

namespace redline {
namespace {

// A reference runs some 1e8 operations a second; more than this is not worth the build time.
constexpr double kMaxFlops = 1e9;

bool all_constant(const Node* node) {
  return std::all_of(node->inputs().begin(), node->inputs().end(),
                     [](const Value* v) { return v == nullptr || v->is_constant(); });
}

bool may_fold(const Node* node, const PassContext& context) {
  const OpDef& op = node->op();
  if (op.has(kTraitRandom) || op.num_subgraphs > 0 || node->is("fused")) return false;
  if (!all_constant(node)) return false;
  int64_t limit = context.max_folded_bytes;
  std::vector<Type> inputs;
  for (const Value* input : node->inputs()) {
    inputs.push_back(input == nullptr ? Type() : input->type);
    if (input != nullptr) limit = std::max(limit, static_cast<int64_t>(input->constant.bytes()));
  }
  std::vector<Type> outputs;
  int64_t bytes = 0;
  for (const Value* output : node->outputs()) {
    if (!output->type.is_tensor()) return false;
    outputs.push_back(output->type);
    std::optional<Dims> dims = static_dims(output);
    if (!dims) {
      // Sizes that depend on values are bounded by the operands'; others overflowed.
      if (!op.has(kTraitDataDependent)) return false;
      continue;
    }
    std::optional<int64_t> count = checked_count(std::span(dims->begin(), dims->size()));
    auto element = static_cast<int64_t>(dtype_bytes(output->dtype()));
    if (!count || *count > (limit - bytes) / element) return false;
    bytes += *count * element;
  }
  return op.cost == nullptr || op.cost(inputs, outputs, node->attrs()).flops <= kMaxFlops;
}

// False when the reference refuses the values: then it is the run that fails, if it comes there.
bool fold(Node* node) {
  std::vector<HostValue> values;
  for (const Value* input : node->inputs()) {
    values.push_back(input == nullptr ? HostValue() : HostValue::of(input->constant));
  }
  std::vector<const HostValue*> inputs;
  for (size_t i = 0; i < values.size(); ++i) {
    inputs.push_back(node->input(i) == nullptr ? nullptr : &values[i]);
  }
  Result<std::vector<HostValue>> results =
      run_reference(node->op(), node->attrs(), inputs, node->num_outputs());
  if (!results.ok()) return false;
  for (const HostValue& result : *results) {
    if (result.kind != HostValue::Kind::kTensor || !result.tensor.defined()) return false;
  }
  Graph& graph = *node->graph();
  for (size_t i = 0; i < results->size(); ++i) {
    Value* constant = graph.add_constant((*results)[i].tensor);
    graph.replace_uses(node->output(i), constant);
  }
  graph.erase(node);
  return true;
}

// if(constant) becomes the branch that is taken.
bool inline_branch(Node* node) {
  std::optional<double> condition = scalar_constant(node->input(0));
  if (!condition || node->subgraphs().size() != 2) return false;
  Graph& graph = *node->graph();
  std::vector<Value*> results = graph.inline_subgraph(node, *condition != 0 ? 0 : 1, {});
  for (size_t i = 0; i < node->num_outputs(); ++i) {
    if (!node->output(i)->uses.empty()) graph.replace_uses(node->output(i), results[i]);
  }
  graph.erase(node);
  return true;
}

Result<bool> run(Graph& graph, PassContext& context) {
  return rewrite_nodes(graph, [&](Node* node) -> Result<bool> {
    if (node->is("if")) return inline_branch(node);
    return may_fold(node, context) && fold(node);
  });
}

}  // namespace

void register_pass_constant_folding(PassRegistry& registry) {
  registry.add({"constant_folding", "computes what depends on constants only", run});
}

}  // namespace redline
