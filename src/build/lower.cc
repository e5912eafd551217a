// SPDX-License-Identifier: Apache-2.0
#include "build/lower.h"

#include <algorithm>
#include <unordered_map>

namespace redline {
namespace {

using ConstantMap = std::unordered_map<const Value*, std::shared_ptr<const PlanConstant>>;

// Values of outer graphs that `graph` or its subgraphs read, constants left out.
void collect_captures(const Graph& graph, std::vector<const Graph*>& inside,
                      std::vector<const Value*>& captures) {
  inside.push_back(&graph);
  auto read = [&](const Value* value) {
    if (value == nullptr || value->is_constant()) return;
    if (std::find(inside.begin(), inside.end(), value->graph) != inside.end()) return;
    if (std::find(captures.begin(), captures.end(), value) != captures.end()) return;
    captures.push_back(value);
  };
  for (const auto& node : graph.nodes()) {
    for (const Value* input : node->inputs()) read(input);
    for (const auto& subgraph : node->subgraphs()) collect_captures(*subgraph, inside, captures);
  }
  for (const Value* output : graph.outputs()) read(output);
  inside.pop_back();
}

class Lowering {
 public:
  explicit Lowering(ConstantMap& constants) : constants_(constants) {}

  Result<Plan> lower(const Graph& graph, std::span<const Value* const> captures) {
    for (const Value* input : graph.inputs()) {
      plan_.inputs.push_back({input->name, add_value(input, Storage::kInput)});
    }
    for (const Value* capture : captures) {
      plan_.inputs.push_back({capture->name, add_value(capture, Storage::kInput)});
    }
    for (const auto& node : graph.nodes()) REDLINE_TRY(lower_node(*node));
    for (size_t i = 0; i < graph.outputs().size(); ++i) {
      REDLINE_ASSIGN(int value, operand(graph.outputs()[i]));
      plan_.outputs.push_back({graph.output_names()[i], value});
    }
    return std::move(plan_);
  }

 private:
  int add_value(const Value* value, Storage storage) {
    int index = static_cast<int>(plan_.values.size());
    plan_.values.push_back({value->name, value->type, storage, -1, -1});
    index_.emplace(value, index);
    return index;
  }

  Result<int> operand(const Value* value) {
    if (value == nullptr) return -1;
    if (auto it = index_.find(value); it != index_.end()) return it->second;
    if (!value->is_constant()) {
      return internal_error("value '", value->name, "' is read before it is made");
    }
    int index = add_value(value, Storage::kConstant);
    std::shared_ptr<const PlanConstant>& constant = constants_[value];
    if (constant == nullptr) {
      constant = std::make_shared<const PlanConstant>(
          PlanConstant{value->constant, value->type, "", value->name});
    }
    plan_.values[static_cast<size_t>(index)].constant = static_cast<int>(plan_.constants.size());
    plan_.constants.push_back(constant);
    return index;
  }

  Status lower_node(const Node& node) {
    PlanStep step;
    step.op = &node.op();
    step.attrs = node.attrs();
    step.name = node.name.empty() ? node.op().name : node.name;
    for (const Value* input : node.inputs()) {
      REDLINE_ASSIGN(int value, operand(input));
      step.inputs.push_back(value);
    }
    for (const auto& subgraph : node.subgraphs()) {
      std::vector<const Graph*> inside;
      std::vector<const Value*> captures;
      collect_captures(*subgraph, inside, captures);
      Lowering inner(constants_);
      REDLINE_ASSIGN(Plan plan, inner.lower(*subgraph, captures));
      step.subplans.push_back(std::make_unique<Plan>(std::move(plan)));
      std::vector<int>& indices = step.captures.emplace_back();
      for (const Value* capture : captures) {
        REDLINE_ASSIGN(int value, operand(capture));
        indices.push_back(value);
      }
    }
    const Value* first = node.input(0);
    bool view = node.op().has(kTraitView) && first != nullptr && first->type.is_tensor() &&
                node.num_outputs() == 1 && first->dtype() != DType::kString &&
                first->dtype() == node.output()->dtype();
    if (view) step.tactic = kViewTactic;
    for (const Value* output : node.outputs()) {
      step.outputs.push_back(add_value(output, view ? Storage::kAlias : Storage::kArena));
      if (view) plan_.values.back().alias_of = step.inputs[0];
    }
    plan_.steps.push_back(std::move(step));
    return {};
  }

  ConstantMap& constants_;
  Plan plan_;
  std::unordered_map<const Value*, int> index_;
};

}  // namespace

Result<Plan> lower_graph(const Graph& graph) {
  ConstantMap constants;
  return Lowering(constants).lower(graph, {});
}

}  // namespace redline
