// SPDX-License-Identifier: Apache-2.0
#include "ops/squeeze.h"

#include <algorithm>

#include "onnx/import_rule.h"
#include "ops/reshape.h"

namespace redline {
namespace {

bool has_known_value(const Value& axes) {
  if (axes.is_constant()) return true;
  return axes.contents && std::all_of(axes.contents->begin(), axes.contents->end(),
                                      [](const Dim& axis) { return axis.is_const(); });
}

// Emits the op, whose rule checks the operands, and puts a reshape in its place when that tells the
// sizes, so that passes meet one view op.
Status emit_view(ImportContext& c, std::string_view op, std::vector<Value*> operands,
                 Attrs attrs = {}) {
  Value* data = operands[0];
  bool known = operands.size() < 2 || has_known_value(*operands[1]);
  REDLINE_ASSIGN(Node * node, c.emit_node(op, std::move(operands), std::move(attrs), 1));
  Value* out = node->output();
  if (known && data->shape().has_rank() && out->shape().has_rank()) {
    ReshapeAttrs sizes{.sizes = out->shape().dims()};
    c.graph().erase(node);
    REDLINE_ASSIGN(out, c.emit("reshape", {data}, std::move(sizes)));
  }
  c.set_output(0, out);
  return {};
}

// Before opset 13 the axes are an attribute.
Status import_with_axes(ImportContext& c, std::string_view op) {
  Value* axes = c.input(1);
  if (c.opset() < 13 && c.has_attr("axes")) axes = c.constant_ints(c.ints_attr("axes"));
  std::vector<Value*> operands = {c.input(0)};
  if (axes != nullptr) operands.push_back(axes);
  return emit_view(c, op, std::move(operands));
}

Status import_squeeze(ImportContext& c) { return import_with_axes(c, "squeeze"); }
Status import_unsqueeze(ImportContext& c) { return import_with_axes(c, "unsqueeze"); }

Status import_flatten(ImportContext& c) {
  return emit_view(c, "flatten", {c.input(0)}, Attrs::of(FlattenAttrs{c.int_attr("axis", 1)}));
}

Status import_identity(ImportContext& c) {
  if (c.input(0) == nullptr) return c.unsupported_here("the input is missing");
  c.set_output(0, c.input(0));
  return {};
}

}  // namespace

void register_import_squeeze(ImportRegistry& registry) {
  registry.add("Squeeze", import_squeeze);
  registry.add("Unsqueeze", import_unsqueeze);
  registry.add("Flatten", import_flatten);
  registry.add("Identity", import_identity);
}

}  // namespace redline
