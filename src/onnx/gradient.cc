// SPDX-License-Identifier: Apache-2.0
#include "onnx/gradient_rules.h"
#include "onnx/import_rule.h"

namespace redline {
namespace {

using ValueSet = std::unordered_set<const Value*>;

Result<Value*> named_value(ImportContext& c, std::string_view name) {
  Value* value = c.find_value(name);
  if (value == nullptr) return invalid_argument("tensor '", name, "' is not defined");
  return value;
}

// The nodes that y is computed by from the values in `ends`, in order.
Result<std::vector<Node*>> nodes_between(ImportContext& c, const ValueSet& ends, Value* y) {
  ValueSet needed = {y};
  std::vector<Node*> nodes;
  for (auto it = c.graph().nodes().rbegin(); it != c.graph().nodes().rend(); ++it) {
    Node* node = it->get();
    bool wanted = std::any_of(node->outputs().begin(), node->outputs().end(), [&](Value* output) {
      return needed.contains(output) && !ends.contains(output);
    });
    if (!wanted) continue;
    nodes.push_back(node);
    needed.insert(node->inputs().begin(), node->inputs().end());
  }
  for (const Value* value : needed) {
    if (value == nullptr || ends.contains(value) || value->producer == nullptr) continue;
    if (value->graph != &c.graph()) {
      return c.unsupported_here(
          str_cat("'", value->name, "', which y depends on, is made outside of this subgraph"));
    }
  }
  std::reverse(nodes.begin(), nodes.end());
  return nodes;
}

// y where the values named by xs and zs are the node's inputs instead: nodes that depend on them
// are made again.
Status at_inputs(ImportContext& c, ValueMap& now, std::vector<Node*>& nodes) {
  for (Node*& node : nodes) {
    std::vector<Value*> inputs = node->inputs();
    for (Value*& input : inputs) {
      if (auto it = now.find(input); it != now.end()) input = it->second;
    }
    if (inputs == node->inputs()) continue;
    if (!node->subgraphs().empty()) {
      return c.unsupported_here(
          str_cat("node '", node->name, "' (", node->op().name, ") has subgraphs"));
    }
    REDLINE_ASSIGN(Node * copy,
                   c.graph().add_node(node->op().name, std::move(inputs), node->attrs(),
                                      node->num_outputs(), nullptr, node->name));
    for (size_t i = 0; i < node->num_outputs(); ++i) {
      if (!now.contains(node->output(i))) now[node->output(i)] = copy->output(i);
    }
    node = copy;
  }
  return {};
}

Status import_gradient(ImportContext& c) {
  std::vector<std::string> xs = c.strings_attr("xs");
  std::vector<std::string> names = xs;
  for (std::string& z : c.strings_attr("zs")) names.push_back(std::move(z));
  if (c.num_inputs() != names.size() || c.num_outputs() > xs.size()) {
    return invalid_argument("Gradient has ", c.num_inputs(), " inputs and ", c.num_outputs(),
                            " outputs, attributes 'xs' and 'zs' name ", xs.size(), " and ",
                            names.size() - xs.size());
  }
  REDLINE_ASSIGN(Value * y, named_value(c, c.string_attr("y")));
  ValueSet ends;
  ValueMap now;
  for (size_t i = 0; i < names.size(); ++i) {
    REDLINE_ASSIGN(Value * value, named_value(c, names[i]));
    if (c.input(i) == nullptr) return invalid_argument("Gradient: input ", i, " is missing");
    ends.insert(value);
    if (value != c.input(i)) now[value] = c.input(i);
  }
  REDLINE_ASSIGN(std::vector<Node*> nodes, nodes_between(c, ends, y));
  REDLINE_TRY(at_inputs(c, now, nodes));
  if (auto it = now.find(y); it != now.end()) y = it->second;
  std::vector<Value*> inputs = c.inputs();
  inputs.resize(xs.size());
  REDLINE_ASSIGN(std::vector<Value*> gradients, differentiate(c, nodes, y, inputs));
  for (size_t i = 0; i < gradients.size(); ++i) c.set_output(i, gradients[i]);
  return {};
}

}  // namespace

void register_import_gradient(ImportRegistry& registry) {
  registry.add({"ai.onnx.preview.training", "Gradient", import_gradient});
}

}  // namespace redline
