// SPDX-License-Identifier: Apache-2.0
#include "ir/verify.h"

#include <set>
#include <unordered_map>
#include <unordered_set>

#include "ir/text.h"

namespace redline {
namespace {

constexpr size_t kMaxListed = 20;

std::string name_of(const Value* value) {
  return "%" + (value->name.empty() ? std::string("?") : value->name);
}

class Verifier {
 public:
  Status verify(const Graph& graph) {
    if (graph.owner != nullptr) return internal_error("only an outermost graph can be verified");
    check_names(graph);
    check_graph(graph);
    check_uses();
    // Rules may not be asked about a graph that is broken.
    if (faults_.empty()) check_types(graph);
    if (faults_.empty()) return {};
    std::string text = str_cat("the graph '", graph.name, "' has ", faults_.size(), " faults:");
    for (size_t i = 0; i < faults_.size() && i < kMaxListed; ++i) text += "\n  " + faults_[i];
    if (faults_.size() > kMaxListed) text += "\n  ...";
    return internal_error(text);
  }

 private:
  template <class... Pieces>
  void fault(const Pieces&... pieces) {
    faults_.push_back(str_cat(pieces...));
  }

  void check_names(const Graph& graph) {
    std::set<std::string> names;
    for (const Value* input : graph.inputs()) {
      if (!names.insert(input->name).second) fault("two inputs are named '", input->name, "'");
    }
    names.clear();
    for (const std::string& name : graph.output_names()) {
      if (!names.insert(name).second) fault("two outputs are named '", name, "'");
    }
  }

  void read(const Value* value, const std::string& reader) {
    if (value == nullptr) return;
    ++readings_[value];
    bool visible =
        value->is_constant() ? open_graphs_.contains(value->graph) : defined_.contains(value);
    if (!visible) fault(reader, " reads ", name_of(value), ", which is not made before it");
  }

  void check_graph(const Graph& graph) {
    open_graphs_.insert(&graph);
    graphs_.insert(&graph);
    std::vector<const Value*> local;
    auto define = [&](const Value* value) {
      if (value->graph != &graph) fault(name_of(value), " belongs to another graph");
      defined_.insert(value);
      local.push_back(value);
      readings_.try_emplace(value, 0);
    };
    for (size_t i = 0; i < graph.inputs().size(); ++i) {
      const Value* input = graph.inputs()[i];
      if (!input->is_graph_input() || input->index != i) {
        fault("input ", i, " of '", graph.name, "' is not marked as such");
      }
      define(input);
    }
    for (const auto& node : graph.nodes()) {
      check_node(graph, *node);
      for (size_t i = 0; i < node->num_outputs(); ++i) {
        const Value* output = node->output(i);
        if (output->producer != node.get() || output->index != i || output->is_constant()) {
          fault(name_of(output), " is not marked as an output of its node");
        }
        define(output);
      }
    }
    if (graph.outputs().size() != graph.output_names().size()) {
      fault("'", graph.name, "' does not name each output");
    }
    for (const Value* output : graph.outputs()) {
      read(output, str_cat("the end of '", graph.name, "'"));
    }
    for (const Value* value : local) defined_.erase(value);
    open_graphs_.erase(&graph);
  }

  void check_node(const Graph& graph, const Node& node) {
    const OpDef& op = node.op();
    std::string where = print_node(node);
    nodes_.insert(&node);
    if (node.graph() != &graph) fault(where, ": belongs to another graph");
    if (node.attrs().type() != op.attrs) fault(where, ": has the attributes of another op");
    size_t inputs = node.num_inputs();
    size_t outputs = node.num_outputs();
    if (inputs < op.min_inputs() || inputs > op.max_inputs()) {
      fault(where, ": has ", inputs, " inputs");
    }
    if (outputs < op.min_outputs() || outputs > op.max_outputs()) {
      fault(where, ": has ", outputs, " outputs");
    }
    for (size_t i = 0; i < inputs; ++i) {
      bool required = i < op.inputs.size() && op.inputs[i].arity == Arity::kRequired;
      if (node.input(i) == nullptr && required) {
        fault(where, ": input '", op.inputs[i].name, "' is missing");
      }
      read(node.input(i), where);
    }
    if (node.subgraphs().size() != static_cast<size_t>(op.num_subgraphs)) {
      fault(where, ": has ", node.subgraphs().size(), " subgraphs, expected ", op.num_subgraphs);
    }
    for (const auto& subgraph : node.subgraphs()) {
      if (subgraph->owner != &node) fault(where, ": does not own its subgraph");
      check_graph(*subgraph);
    }
  }

  void check_uses() {
    for (const auto& [value, count] : readings_) {
      if (value->uses.size() != count) {
        fault(name_of(value), " lists ", value->uses.size(), " uses, but is read ", count,
              " times");
        continue;
      }
      for (const Use& use : value->uses) {
        bool true_use = use.node != nullptr
                            ? nodes_.contains(use.node) && use.node->input(use.index) == value
                            : graphs_.contains(use.graph) &&
                                  use.index < use.graph->outputs().size() &&
                                  use.graph->outputs()[use.index] == value;
        if (!true_use) fault(name_of(value), " lists a use that does not read it");
      }
    }
  }

  // Empty when the stored type agrees with the inferred one and says as much.
  static std::string compare(const Type& stored, const Type& inferred) {
    auto differ = [&] {
      return str_cat("has the type ", stored.to_string(), ", but its op makes ",
                     inferred.to_string());
    };
    if (stored.kind != inferred.kind) return differ();
    if (!stored.is_tensor()) return compare(*stored.element, *inferred.element);
    if (stored.dtype != inferred.dtype) return differ();
    if (!inferred.shape.has_rank()) return "";
    if (!stored.shape.has_rank() || stored.shape.rank() != inferred.shape.rank()) return differ();
    for (int i = 0; i < stored.shape.rank(); ++i) {
      const Dim& dim = inferred.shape[i];
      if (dim.is_invalid()) return str_cat("has the size ", dim.to_string(), " at axis ", i);
      if (dim.is_const() && stored.shape[i] != dim) return differ();
    }
    return "";
  }

  void check_types(const Graph& graph) {
    std::unique_ptr<Graph> copy = graph.clone();
    check_types(graph, *copy);
  }

  void check_types(const Graph& graph, Graph& copy) {
    auto node = graph.nodes().begin();
    for (const auto& inferred : copy.nodes()) {
      const Node& original = **node++;
      Status status = copy.infer(inferred.get());
      if (!status.ok()) {
        fault(print_node(original), ": ", status.message());
        continue;
      }
      for (size_t i = 0; i < original.num_outputs(); ++i) {
        std::string problem = compare(original.output(i)->type, inferred->output(i)->type);
        if (!problem.empty()) fault(print_node(original), ": output ", i, " ", problem);
      }
      for (size_t i = 0; i < original.subgraphs().size(); ++i) {
        check_types(*original.subgraphs()[i], *inferred->subgraphs()[i]);
      }
    }
  }

  std::vector<std::string> faults_;
  std::unordered_set<const Graph*> open_graphs_;
  std::unordered_set<const Graph*> graphs_;
  std::unordered_set<const Node*> nodes_;
  std::unordered_set<const Value*> defined_;
  std::unordered_map<const Value*, size_t> readings_;
};

}  // namespace

Status verify(const Graph& graph) { return Verifier().verify(graph); }

}  // namespace redline
