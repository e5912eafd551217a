// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/control_flow.h"
#include "passes/pass.h"

namespace redline {
namespace {

constexpr size_t kFirstResult = 1;  // of the body's outputs

// The value before the loop is that of each iteration and behind it.
bool is_same(const Value* given, const Value* entry) {
  return given != nullptr && given->type.kind == entry->type.kind &&
         (!given->type.is_tensor() || given->dtype() == entry->dtype());
}

Result<bool> rewrite(Node* node) {
  if (!node->is("loop")) return false;
  Graph& body = *node->subgraphs()[0];
  bool changed = false;
  for (size_t i = node->num_inputs(); i-- > kFirstState;) {
    size_t state = i - kFirstState;
    Value* given = node->input(i);
    Value* entry = body.inputs()[i];
    size_t result = kFirstResult + state;
    if (body.outputs()[result] != entry || !is_same(given, entry)) continue;
    body.erase_output(result);
    body.replace_uses(entry, given);
    body.erase_input(i);
    std::vector<Value*> inputs = node->inputs();
    inputs.erase(inputs.begin() + static_cast<std::ptrdiff_t>(i));
    node->set_inputs(std::move(inputs));
    if (state < node->num_outputs()) {
      node->graph()->replace_uses(node->output(state), given);
      node->graph()->erase_output(node, state);
    }
    changed = true;
  }
  if (node->num_outputs() == 0) node->graph()->erase(node);
  return changed;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_nodes(graph, rewrite); }

}  // namespace

void register_pass_loop_invariants(PassRegistry& registry) {
  registry.add(
      {"loop_invariants", "states that a loop leaves alone are read from outside of it", run});
}

}  // namespace redline
