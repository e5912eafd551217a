// SPDX-License-Identifier: Apache-2.0
#include <set>

#include "ir/rewrite.h"
#include "ops/elements.h"
#include "ops/reshape.h"
#include "passes/bound_sizes.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Integer values that shape arithmetic knows to be numbers become constants.
Result<bool> fold_contents(Node* node) {
  bool changed = false;
  if (node->op().has(kTraitRandom)) return false;
  for (Value* output : node->outputs()) {
    if (output->uses.empty() || !output->contents) continue;
    std::optional<std::vector<int64_t>> ints = constant_ints(output);
    std::optional<Dims> dims = static_dims(output);
    if (!ints || !dims || static_cast<int64_t>(ints->size()) != dims->count()) continue;
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(output->dtype(), *dims));
    write_elements(*ints, tensor.view());
    Value* constant = node->graph()->add_constant(std::move(tensor));
    node->graph()->replace_uses(output, constant);
    changed = true;
  }
  return changed;
}

// reshape whose target sizes are known expressions stops reading its shape operand, so that the
// arithmetic that made it dies. Only where the element counts agree for all values of the symbols:
// otherwise the check of the run is needed.
bool fold_reshape(Node* node, const std::set<std::string>& symbols) {
  const auto& attrs = node->attrs<ReshapeAttrs>();
  Value* data = node->input(0);
  Value* output = node->output();
  if (attrs.sizes || !data->shape().has_rank() || !output->shape().has_rank()) return false;
  const SymDims& from = data->shape().dims();
  const SymDims& to = output->shape().dims();
  if (!is_bound(from, symbols) || !is_bound(to, symbols)) return false;
  if (*data->shape().count() != *output->shape().count()) return false;
  node->set_inputs({data});
  node->set_attrs(Attrs::of(ReshapeAttrs{.sizes = to}));
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  const std::set<std::string> symbols = bound_symbols(graph);
  return rewrite_nodes(graph, [&](Node* node) -> Result<bool> {
    REDLINE_ASSIGN(bool changed, fold_contents(node));
    // Inside subgraphs no symbol is bound.
    static const std::set<std::string> kNone;
    const std::set<std::string>& known = node->graph()->owner == nullptr ? symbols : kNone;
    if (node->is("reshape")) changed |= fold_reshape(node, known);
    return changed;
  });
}

}  // namespace

void register_pass_shape_folding(PassRegistry& registry) {
  registry.add({"shape_folding", "replaces shape arithmetic by the sizes it computes", run});
}

}  // namespace redline
