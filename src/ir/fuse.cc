// SPDX-License-Identifier: Apache-2.0
#include "ir/fuse.h"

#include <algorithm>
#include <unordered_map>

#include "ops/fused.h"

namespace redline {
namespace {

bool inside(std::span<Node* const> nodes, const Node* node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

// The node of `graph` that holds the reader: itself, or the owner of the subgraph it is in.
const Node* reader_in(const Graph* graph, const Use& use) {
  const Graph* at = use.node != nullptr ? use.node->graph() : use.graph;
  const Node* node = use.node;
  while (at != graph && at != nullptr && at->owner != nullptr) {
    node = at->owner;
    at = node->graph();
  }
  return node;  // null: an output of `graph` itself
}

}  // namespace

bool can_fuse(std::span<Node* const> nodes) {
  const Graph* graph = nodes.front()->graph();
  // Between the first and the last, whatever depends on the region must belong to it.
  bool started = false;
  size_t left = nodes.size();
  for (const auto& owned : graph->nodes()) {
    const Node* node = owned.get();
    if (inside(nodes, node)) {
      started = true;
      if (--left == 0) return true;
      continue;
    }
    if (!started) continue;
    for (const Node* member : nodes) {
      for (const Value* output : member->outputs()) {
        for (const Use& use : output->uses) {
          if (reader_in(graph, use) == node) return false;
        }
      }
    }
  }
  return false;  // not all of them are in this graph
}

Result<RegionDraft> draft_region(std::span<Node* const> nodes) {
  const Graph& graph = *nodes.front()->graph();
  auto body = std::make_shared<Body>();
  std::vector<Value*> inputs;
  std::unordered_map<const Value*, int> index;
  const OpDef* constant_op = graph.registry().find("constant");
  auto inlined = [&](const Value* value) {
    return constant_op != nullptr && value->is_constant() && value->constant.count() == 1;
  };
  for (const Node* node : nodes) {
    for (Value* input : node->inputs()) {
      if (input == nullptr || index.contains(input) || inlined(input)) continue;
      if (input->producer != nullptr && inside(nodes, input->producer)) continue;
      index.emplace(input, static_cast<int>(inputs.size()));
      inputs.push_back(input);
    }
  }
  body->num_inputs = static_cast<int>(inputs.size());
  int next = body->num_inputs;
  for (const Node* node : nodes) {
    for (Value* input : node->inputs()) {
      if (input == nullptr || index.contains(input)) continue;
      REDLINE_ASSIGN(Attrs attrs, Attrs::load(constant_op->attrs, {{"value", input->constant}}));
      body->nodes.push_back({constant_op, std::move(attrs), {}, 1});
      index.emplace(input, next++);
    }
    if (node->is("fused")) {
      const Body& part = *node->attrs<FusedAttrs>().body;
      std::vector<int> map;
      for (const Value* input : node->inputs()) map.push_back(input ? index.at(input) : -1);
      for (const BodyNode& inner : part.nodes) {
        BodyNode copy = inner;
        for (int& operand : copy.inputs) {
          if (operand >= 0) operand = map[static_cast<size_t>(operand)];
        }
        for (int i = 0; i < copy.num_outputs; ++i) map.push_back(next++);
        body->nodes.push_back(std::move(copy));
      }
      for (size_t i = 0; i < node->num_outputs(); ++i) {
        index.emplace(node->output(i), map[static_cast<size_t>(part.outputs[i])]);
      }
      continue;
    }
    BodyNode copy{&node->op(), node->attrs(), {}, static_cast<int>(node->num_outputs())};
    for (const Value* input : node->inputs()) copy.inputs.push_back(input ? index.at(input) : -1);
    body->nodes.push_back(std::move(copy));
    for (const Value* output : node->outputs()) index.emplace(output, next++);
  }
  std::vector<Value*> results;
  for (const Node* node : nodes) {
    for (Value* output : node->outputs()) {
      bool read = std::any_of(output->uses.begin(), output->uses.end(), [&](const Use& use) {
        return use.node == nullptr || !inside(nodes, use.node);
      });
      if (!read) continue;
      body->outputs.push_back(index.at(output));
      results.push_back(output);
    }
  }
  return RegionDraft{std::move(body), std::move(inputs), std::move(results)};
}

Result<Node*> fuse_nodes(Graph& graph, std::span<Node* const> nodes) {
  REDLINE_ASSIGN(RegionDraft draft, draft_region(nodes));
  std::string name;
  for (const Node* node : nodes) {
    if (!node->name.empty()) name += (name.empty() ? "" : "+") + node->name;
  }
  REDLINE_ASSIGN(Node * fused, graph.add_node("fused", draft.inputs, FusedAttrs{draft.body},
                                              draft.outputs.size(), nodes.back(), name));
  for (size_t i = 0; i < draft.outputs.size(); ++i) {
    Value* output = fused->output(i);
    // The nodes may have known more of the type than the body's rules tell.
    output->type = draft.outputs[i]->type;
    output->contents = draft.outputs[i]->contents;
    output->name = draft.outputs[i]->name;
    graph.replace_uses(draft.outputs[i], output);
  }
  for (size_t i = nodes.size(); i-- > 0;) graph.erase(nodes[i]);
  return fused;
}

}  // namespace redline
