// SPDX-License-Identifier: Apache-2.0
#include "ops/sequence.h"

#include "onnx/import_rule.h"

namespace redline {
namespace {

Status import_sequence_empty(ImportContext& c) {
  SequenceEmptyAttrs attrs{.dtype = c.dtype_attr("dtype", DType::kFloat32)};
  REDLINE_ASSIGN(Value * out, c.emit("sequence_empty", {}, attrs));
  c.set_output(0, out);
  return {};
}

Status import_sequence_map(ImportContext& c) {
  Graph& graph = c.graph();
  std::vector<Type> types;
  for (const Value* input : c.inputs()) {
    if (input == nullptr) return invalid_argument("an input is missing");
    bool sequence = input->type.kind == Type::Kind::kSequence;
    types.push_back(sequence ? *input->type.element : input->type);
  }
  Node* node = graph.add_raw_node(graph.registry().get("sequence_map"), c.inputs(), {},
                                  c.num_outputs(), nullptr, std::string(c.node_name()));
  REDLINE_TRY(c.import_subgraph("body", graph.add_subgraph(node, "body"), types));
  REDLINE_TRY(graph.infer(node));
  c.set_outputs(node);
  return {};
}

Status import_optional(ImportContext& c) {
  OptionalAttrs attrs;
  if (c.input(0) == nullptr) {
    REDLINE_ASSIGN(Type type, c.type_attr("type"));
    attrs.sequence = type.kind == Type::Kind::kSequence;
    const Type& tensor = attrs.sequence ? *type.element : type;
    if (!tensor.is_tensor()) return c.unsupported_here("an optional of a nested type");
    attrs.dtype = tensor.dtype;
  }
  REDLINE_ASSIGN(Value * out, c.emit("optional", c.inputs(), attrs));
  c.set_output(0, out);
  return {};
}

}  // namespace

void register_import_sequence(ImportRegistry& registry) {
  registry.add("SequenceEmpty", import_sequence_empty);
  registry.add("SequenceConstruct",
               [](ImportContext& c) { return c.import_same("sequence_construct"); });
  registry.add("SequenceAt", [](ImportContext& c) { return c.import_same("sequence_at"); });
  registry.add("SequenceInsert", [](ImportContext& c) { return c.import_same("sequence_insert"); });
  registry.add("SequenceErase", [](ImportContext& c) { return c.import_same("sequence_erase"); });
  registry.add("SequenceLength", [](ImportContext& c) { return c.import_same("sequence_length"); });
  registry.add("SplitToSequence",
               [](ImportContext& c) { return c.import_same("split_to_sequence"); });
  registry.add("ConcatFromSequence",
               [](ImportContext& c) { return c.import_same("concat_from_sequence"); });
  registry.add("SequenceMap", import_sequence_map);
  registry.add("Optional", import_optional);
  registry.add("OptionalGetElement",
               [](ImportContext& c) { return c.import_same("optional_get_element"); });
  registry.add("OptionalHasElement",
               [](ImportContext& c) { return c.import_same("optional_has_element"); });
}

}  // namespace redline
