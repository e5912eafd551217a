// SPDX-License-Identifier: Apache-2.0
#include "ops/control_flow.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Node* add_parent(ImportContext& c, std::string_view op, std::vector<Value*> inputs, Attrs attrs) {
  Graph& graph = c.graph();
  return graph.add_raw_node(graph.registry().get(op), std::move(inputs), std::move(attrs),
                            c.num_outputs(), nullptr, std::string(c.node_name()));
}

Status finish_parent(ImportContext& c, Node* node) {
  REDLINE_TRY(c.graph().infer(node));
  c.set_outputs(node);
  return {};
}

Status import_if(ImportContext& c) {
  Node* node = add_parent(c, "if", c.inputs(), {});
  for (const char* branch : {"then_branch", "else_branch"}) {
    REDLINE_TRY(c.import_subgraph(branch, c.graph().add_subgraph(node, branch), {}));
  }
  return finish_parent(c, node);
}

Status import_loop(ImportContext& c) {
  std::vector<Value*> inputs = c.inputs();
  Node* node = add_parent(c, "loop", inputs, {});
  std::vector<Type> types = {Type::tensor(DType::kInt64, SymDims()),
                             Type::tensor(DType::kBool, SymDims())};
  for (size_t i = 2; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) return invalid_argument("input ", i, " is missing");
    types.push_back(inputs[i]->type);
  }
  REDLINE_TRY(c.import_subgraph("body", c.graph().add_subgraph(node, "body"), types));
  return finish_parent(c, node);
}

Status import_scan(ImportContext& c) {
  ScanAttrs attrs;
  attrs.num_scanned = c.int_attr("num_scan_inputs");
  attrs.batched = c.opset() < 9;
  std::vector<Value*> operands = c.inputs();
  if (attrs.batched) {
    attrs.input_reversed = c.ints_attr("directions");
  } else {
    attrs.input_axes = c.ints_attr("scan_input_axes");
    attrs.output_axes = c.ints_attr("scan_output_axes");
    attrs.input_reversed = c.ints_attr("scan_input_directions");
    attrs.output_reversed = c.ints_attr("scan_output_directions");
    operands.insert(operands.begin(), nullptr);  // lengths
  }
  size_t count = operands.empty() ? 0 : operands.size() - 1;
  if (attrs.num_scanned < 1 || static_cast<uint64_t>(attrs.num_scanned) > count) {
    return invalid_argument("num_scan_inputs is ", attrs.num_scanned, " of ", count, " inputs");
  }
  size_t first_scanned = operands.size() - static_cast<size_t>(attrs.num_scanned);
  std::vector<Type> types;
  for (size_t i = 1; i < operands.size(); ++i) {
    if (operands[i] == nullptr) return invalid_argument("input ", i, " is missing");
    // Sizes come from the rule, which knows which axes the body does not see.
    const Type& type = operands[i]->type;
    if (!type.is_tensor()) return invalid_argument("input ", i, " must be a tensor");
    bool same = i < first_scanned && !attrs.batched;
    types.push_back(same ? type : Type::tensor(type.dtype, Shape()));
  }
  Node* node = add_parent(c, "scan", operands, Attrs::of(std::move(attrs)));
  REDLINE_TRY(c.import_subgraph("body", c.graph().add_subgraph(node, "body"), types));
  return finish_parent(c, node);
}

}  // namespace

void register_import_control_flow(ImportRegistry& registry) {
  registry.add("If", import_if);
  registry.add("Loop", import_loop);
  registry.add("Scan", import_scan);
}

}  // namespace redline
