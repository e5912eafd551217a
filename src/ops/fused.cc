// SPDX-License-Identifier: Apache-2.0
#include "ops/fused.h"

#include <algorithm>
#include <cstring>

#include "ops/constant.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

bool is_constant_node(const BodyNode& node) { return node.op->name == "constant"; }

// Nodes may come from a file: an op's rule counts on the operands that its definition asks for.
Status check_node(const BodyNode& node, std::span<const InferInput> inputs) {
  const OpDef& op = *node.op;
  auto outputs = static_cast<size_t>(node.num_outputs);
  if (op.num_subgraphs != 0) return invalid_argument(op.name, " has subgraphs");
  if (inputs.size() < op.min_inputs() || inputs.size() > op.max_inputs() ||
      outputs < op.min_outputs() || outputs > op.max_outputs()) {
    return invalid_argument(op.name, " has ", inputs.size(), " inputs and ", outputs, " outputs");
  }
  for (size_t i = 0; i < std::min(inputs.size(), op.inputs.size()); ++i) {
    if (inputs[i].type == nullptr && op.inputs[i].arity == Arity::kRequired) {
      return invalid_argument(op.name, " lacks its input '", op.inputs[i].name, "'");
    }
  }
  return {};
}

// Runs the rules of all nodes. `values` holds what is known of the inputs and receives the rest.
Status infer_nodes(const Body& body, std::vector<Type>& types, std::vector<InferInput>& values,
                   const std::function<Dim(std::string_view)>& make_symbol) {
  // Room first: the inputs' records point at the types.
  size_t total = static_cast<size_t>(body.num_inputs);
  for (const BodyNode& node : body.nodes) total += static_cast<size_t>(node.num_outputs);
  types.reserve(total);
  for (const BodyNode& node : body.nodes) {
    std::vector<InferInput> inputs;
    for (int index : node.inputs) {
      inputs.push_back(index < 0 ? InferInput{} : values[static_cast<size_t>(index)]);
    }
    REDLINE_TRY(check_node(node, inputs));
    InferContext context(*node.op, node.attrs, inputs, static_cast<size_t>(node.num_outputs));
    context.make_symbol = make_symbol;
    REDLINE_TRY(node.op->infer(context));
    // The vector never grows beyond what was reserved, so earlier addresses stay.
    for (const Type& type : context.outputs()) {
      types.push_back(type);
      values.push_back({&types.back(), nullptr, nullptr});
    }
    if (is_constant_node(node)) {
      const Tensor& tensor = node.attrs.as<ConstantAttrs>().value;
      if (tensor.defined()) values.back().constant = &tensor;
    }
  }
  return {};
}

Status infer_fused(InferContext& c) {
  const auto& body = c.attrs<FusedAttrs>().body;
  if (body == nullptr) return c.error("has no body");
  if (static_cast<size_t>(body->num_inputs) != c.num_inputs()) {
    return c.error(str_cat("has ", c.num_inputs(), " inputs, its body takes ", body->num_inputs));
  }
  if (body->outputs.size() != c.num_outputs()) {
    return c.error(
        str_cat("has ", c.num_outputs(), " outputs, its body makes ", body->outputs.size()));
  }
  std::vector<Type> types;
  std::vector<InferInput> values;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    types.push_back(c.has_input(i) ? c.type(i) : Type());
    values.push_back({c.has_input(i) ? &c.type(i) : nullptr, c.constant(i), nullptr});
  }
  Status status = infer_nodes(*body, types, values, c.make_symbol);
  if (!status.ok()) return status.with_context("fused");
  for (size_t i = 0; i < body->outputs.size(); ++i) {
    c.set_output(i, types[static_cast<size_t>(body->outputs[i])]);
  }
  return {};
}

// Between the ops of a region halves are not rounded: a kernel keeps them in registers. An explicit
// cast rounds.
DType kept_as(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 ? DType::kFloat32 : dtype;
}

Result<HostValue> converted(const HostValue& value, DType dtype) {
  if (value.kind != HostValue::Kind::kTensor || value.tensor.dtype() == dtype) return value;
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, value.tensor.dims()));
  write_elements(read_elements<double>(value.tensor.view()), tensor.view());
  return HostValue::of(std::move(tensor));
}

Status reference_fused(ReferenceContext& c) {
  const Body& body = *c.attrs<FusedAttrs>().body;
  std::vector<HostValue> values;
  std::vector<bool> present;
  std::vector<Type> types;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    present.push_back(c.has_input(i));
    values.push_back(c.has_input(i) ? c.input_value(i) : HostValue());
    types.push_back(c.has_input(i) ? type_of(values[i]) : Type());
  }
  REDLINE_ASSIGN(types, infer_body(body, types));
  for (const BodyNode& node : body.nodes) {
    bool wide = node.op->name != "bit_cast";  // which takes bits, not a value
    std::vector<HostValue> operands;          // of other types than they are kept in
    operands.reserve(node.inputs.size());
    std::vector<const HostValue*> inputs;
    for (int index : node.inputs) {
      auto i = static_cast<size_t>(index);
      if (index < 0 || !present[i]) {
        inputs.push_back(nullptr);
        continue;
      }
      DType dtype = wide ? kept_as(types[i].dtype) : types[i].dtype;
      REDLINE_ASSIGN(HostValue operand, converted(values[i], dtype));
      operands.push_back(std::move(operand));
      inputs.push_back(&operands.back());
    }
    REDLINE_ASSIGN(
        std::vector<HostValue> results,
        run_reference(*node.op, node.attrs, inputs, static_cast<size_t>(node.num_outputs)));
    for (HostValue& result : results) {
      values.push_back(std::move(result));
      present.push_back(true);
    }
  }
  for (size_t i = 0; i < body.outputs.size(); ++i) {
    auto v = static_cast<size_t>(body.outputs[i]);
    REDLINE_ASSIGN(HostValue result, converted(values[v], types[v].dtype));
    REDLINE_TRY(c.set_output_value(i, std::move(result)));
  }
  return {};
}

}  // namespace

const BodyNode* find_anchor(const Body& body) {
  for (const BodyNode& node : body.nodes) {
    if (!node.op->has(kTraitPointwise) && !is_constant_node(node)) return &node;
  }
  return nullptr;
}

Result<std::vector<Type>> infer_body(const Body& body, std::span<const Type> inputs,
                                     std::span<const Tensor* const> constants) {
  std::vector<Type> types(inputs.begin(), inputs.end());
  std::vector<InferInput> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values.push_back({&inputs[i], i < constants.size() ? constants[i] : nullptr, nullptr});
  }
  int fresh = 0;
  REDLINE_TRY(infer_nodes(body, types, values, [&fresh](std::string_view) {
    return Dim::symbol("body" + std::to_string(fresh++));
  }));
  return types;
}

void register_op_fused(OpRegistry& registry) {
  registry.add({.name = "fused",
                .inputs = {{"inputs", Arity::kVariadic}},
                .outputs = {{"outputs", Arity::kVariadic}},
                .attrs = attrs_type<FusedAttrs>(),
                .infer = infer_fused,
                .reference = reference_fused});
}

Status visit_body(const Body& body, std::span<const Type> inputs,
                  std::span<const Tensor* const> constants, const BodyVisitor& visit) {
  REDLINE_ASSIGN(std::vector<Type> types, infer_body(body, inputs, constants));
  auto made = static_cast<size_t>(body.num_inputs);
  for (const BodyNode& node : body.nodes) {
    std::vector<Type> operands;
    for (int i : node.inputs) {
      operands.push_back(i < 0 ? Type() : types[static_cast<size_t>(i)]);
    }
    auto results = static_cast<size_t>(node.num_outputs);
    visit(node, operands, std::span(types).subspan(made, results));
    made += results;
  }
  return {};
}

}  // namespace redline
