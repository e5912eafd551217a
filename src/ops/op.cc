// SPDX-License-Identifier: Apache-2.0
#include "ops/op.h"

#include "ops/elements.h"
#include "ops/told_sizes.h"

namespace redline {
namespace {

size_t count_min(const std::vector<Operand>& operands) {
  size_t count = 0;
  for (size_t i = 0; i < operands.size(); ++i) {
    if (operands[i].arity == Arity::kRequired) count = i + 1;
  }
  return count;
}

size_t count_max(const std::vector<Operand>& operands) {
  if (!operands.empty() && operands.back().arity == Arity::kVariadic) return SIZE_MAX;
  return operands.size();
}

std::string operand_name(const std::vector<Operand>& operands, size_t i) {
  if (operands.empty()) return std::to_string(i);
  const Operand& operand = operands[std::min(i, operands.size() - 1)];
  if (operand.arity != Arity::kVariadic) return operand.name;
  return str_cat(operand.name, "[", i + 1 - operands.size(), "]");
}

}  // namespace

size_t OpDef::min_inputs() const { return count_min(inputs); }
size_t OpDef::max_inputs() const { return count_max(inputs); }
size_t OpDef::min_outputs() const { return count_min(outputs); }
size_t OpDef::max_outputs() const { return count_max(outputs); }

void OpRegistry::add(OpDef def) {
  REDLINE_ASSERT(def.infer != nullptr && def.reference != nullptr);
  auto owned = std::make_unique<OpDef>(std::move(def));
  std::string name = owned->name;
  bool inserted = ops_.emplace(std::move(name), std::move(owned)).second;
  REDLINE_ASSERT(inserted);
}

const OpDef* OpRegistry::find(std::string_view name) const {
  auto it = ops_.find(name);
  return it == ops_.end() ? nullptr : it->second.get();
}

const OpDef& OpRegistry::get(std::string_view name) const {
  const OpDef* op = find(name);
  REDLINE_ASSERT(op != nullptr);
  return *op;
}

std::vector<const OpDef*> OpRegistry::all() const {
  std::vector<const OpDef*> result;
  for (const auto& [name, op] : ops_) result.push_back(op.get());
  return result;
}

std::unique_ptr<OpRegistry> make_op_registry() {
  auto registry = std::make_unique<OpRegistry>();
  register_op_all(*registry);
  return registry;
}

InferContext::InferContext(const OpDef& op, const Attrs& attrs, std::span<const InferInput> inputs,
                           size_t num_outputs)
    : op_(op),
      attrs_(attrs),
      inputs_(inputs.begin(), inputs.end()),
      outputs_(num_outputs),
      contents_(num_outputs) {}

std::optional<SymDims> InferContext::contents(size_t i) const {
  if (!has_input(i)) return std::nullopt;
  const InferInput& input = inputs_[i];
  if (input.contents != nullptr) return *input.contents;
  const Tensor* constant = input.constant;
  if (constant == nullptr || constant->count() > 1024) return std::nullopt;
  if (!is_int(constant->dtype()) && constant->dtype() != DType::kBool) return std::nullopt;
  SymDims result;
  for (int64_t v : read_ints(constant->view())) {
    if (constant->dtype() == DType::kUInt64 && v < 0) return std::nullopt;  // beyond INT64_MAX
    result.emplace_back(v);
  }
  return result;
}

std::optional<std::vector<int64_t>> InferContext::const_ints(size_t i) const {
  if (const Tensor* value = constant(i); value != nullptr) {
    if (!is_int(value->dtype()) && value->dtype() != DType::kBool) return std::nullopt;
    return read_ints(value->view());
  }
  std::optional<SymDims> dims = contents(i);
  if (!dims) return std::nullopt;
  std::vector<int64_t> result;
  for (const Dim& dim : *dims) {
    std::optional<int64_t> value = dim.as_const();
    if (!value) return std::nullopt;
    result.push_back(*value);
  }
  return result;
}

void InferContext::set_contents(size_t i, SymDims contents) {
  if (i >= contents_.size()) return;
  for (const Dim& dim : contents) {
    if (dim.is_invalid()) return;
  }
  contents_[i] = std::move(contents);
}

Dim InferContext::fresh_symbol(std::string_view hint) {
  REDLINE_ASSERT(make_symbol != nullptr);
  return make_symbol(hint);
}

Result<std::vector<Type>> InferContext::infer_subgraph(size_t index, std::span<const Type> inputs) {
  REDLINE_ASSERT(subgraph != nullptr);
  return subgraph(index, inputs);
}

Status InferContext::error(std::string_view message) const {
  return invalid_argument(op_.name, ": ", message);
}

Status InferContext::input_error(size_t i, std::string_view message) const {
  return invalid_argument(op_.name, ": input '", operand_name(op_.inputs, i), "'",
                          has_input(i) ? str_cat(" (", type(i).to_string(), ")") : "", " ",
                          message);
}

Status InferContext::expect_tensor(size_t i) const {
  if (!has_input(i)) return input_error(i, "is missing");
  if (!type(i).is_tensor()) return input_error(i, "must be a tensor");
  return {};
}

Status InferContext::expect_rank(size_t i, int rank) const {
  REDLINE_TRY(expect_tensor(i));
  if (shape(i).has_rank() && shape(i).rank() != rank) {
    return input_error(i, str_cat("must have rank ", rank));
  }
  return {};
}

Status InferContext::expect_same_dtype(size_t i, size_t j) const {
  REDLINE_TRY(expect_tensor(i));
  REDLINE_TRY(expect_tensor(j));
  if (dtype(i) == dtype(j)) return {};
  return input_error(i, str_cat("must have the element type of input '",
                                operand_name(op_.inputs, j), "', ", dtype_name(dtype(j))));
}

Result<int> InferContext::normalize_axis(int64_t axis, int rank) const {
  if (axis < -rank || axis >= rank) {
    return error(str_cat("axis ", axis, " is out of range for rank ", rank));
  }
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<Shape> broadcast_shapes(std::span<const Shape> shapes) {
  int rank = 0;
  for (const Shape& shape : shapes) {
    if (!shape.has_rank()) return Shape();
    rank = std::max(rank, shape.rank());
  }
  SymDims result(static_cast<size_t>(rank), Dim(1));
  for (const Shape& shape : shapes) {
    int offset = rank - shape.rank();
    for (int i = 0; i < shape.rank(); ++i) {
      Dim& out = result[static_cast<size_t>(offset + i)];
      const Dim& in = shape[i];
      if (out.is_const() && in.is_const() && out.value() != in.value() && out.value() != 1 &&
          in.value() != 1) {
        return invalid_argument("shapes do not broadcast: sizes ", out.value(), " and ", in.value(),
                                " at axis ", offset + i);
      }
      out = broadcast(out, in);
    }
  }
  return Shape(std::move(result));
}

Dims broadcast_dims(std::span<const Dims> dims) {
  int rank = 0;
  for (const Dims& d : dims) rank = std::max(rank, d.rank());
  Dims result;
  result.resize(rank, 1);
  for (const Dims& d : dims) {
    for (int i = 0; i < d.rank(); ++i) {
      auto to = static_cast<size_t>(rank - d.rank() + i);
      if (d[static_cast<size_t>(i)] != 1) result[to] = d[static_cast<size_t>(i)];
    }
  }
  return result;
}

Type type_of(const HostValue& value) {
  switch (value.kind) {
    case HostValue::Kind::kTensor:
      return Type::tensor(value.tensor.dtype(), Shape::of(value.tensor.dims()));
    case HostValue::Kind::kSequence: {
      Type element =
          value.elements.empty() ? Type::tensor(DType::kFloat32) : type_of(value.elements[0]);
      if (element.is_tensor()) element.shape = Shape();
      return Type::sequence(std::move(element));
    }
    case HostValue::Kind::kOptional:
      return Type::optional(value.elements.empty() ? Type::tensor(DType::kFloat32)
                                                   : type_of(value.elements[0]));
  }
  return {};
}

Status check_told(const OpDef& op, std::span<const InferInput> inputs,
                  std::span<const Type> outputs) {
  // What these make, they allocate themselves.
  if (op.has(kTraitDataDependent) || op.num_subgraphs > 0 || op.name == "fused") return {};
  for (const InferInput& input : inputs) {
    if (input.type != nullptr && !input.type->is_tensor()) return {};
  }
  for (const Type& output : outputs) {
    if (!output.is_tensor() || output.shape.as_static()) continue;
    return invalid_argument(op.name, ": the operands do not tell the sizes of its output, ",
                            output.to_string());
  }
  return {};
}

namespace {

class HostReferenceContext final : public ReferenceContext {
 public:
  HostReferenceContext(const Attrs& attrs, std::span<const HostValue* const> inputs,
                       size_t num_outputs, const RunSubgraph& run, std::vector<Type> types)
      : run_(run), types_(std::move(types)), results_(num_outputs) {
    attrs_ = &attrs;
    inputs_.assign(inputs.begin(), inputs.end());
    for (const HostValue* input : inputs) {
      bool tensor = input != nullptr && input->kind == HostValue::Kind::kTensor;
      input_views_.push_back(tensor ? input->tensor.view() : TensorView());
    }
    output_views_.resize(num_outputs);
    num_outputs_ = num_outputs;
  }

  Type output_type(size_t i) const override { return types_[i]; }
  Result<TensorView> allocate_output(size_t i, DType dtype, const Dims& dims) override {
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
    results_[i] = HostValue::of(std::move(tensor));
    output_views_[i] = results_[i].tensor.view();
    return output_views_[i];
  }
  Status set_output_value(size_t i, HostValue value) override {
    if (i < results_.size()) results_[i] = std::move(value);
    return {};
  }
  Result<std::vector<HostValue>> run_subgraph(size_t index,
                                              std::span<const HostValue> inputs) override {
    if (!run_) return internal_error("this op's subgraphs cannot be run here");
    return run_(index, inputs);
  }
  std::vector<HostValue>& results() { return results_; }

 private:
  const RunSubgraph& run_;
  std::vector<Type> types_;
  std::vector<HostValue> results_;
};

}  // namespace

Result<std::vector<HostValue>> run_reference(const OpDef& op, const Attrs& attrs,
                                             std::span<const HostValue* const> inputs,
                                             size_t num_outputs, const RunSubgraph& run_subgraph,
                                             const InferContext::InferSubgraph& infer_subgraph,
                                             std::span<const Type* const> input_types) {
  std::vector<Type> types(inputs.size());
  std::vector<InferInput> infer_inputs(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    types[i] = type_of(*inputs[i]);
    if (!types[i].is_tensor() && i < input_types.size() && input_types[i]) {
      types[i] = *input_types[i];
    }
    infer_inputs[i].type = &types[i];
    if (types[i].is_tensor()) infer_inputs[i].constant = &inputs[i]->tensor;
  }
  InferContext infer(op, attrs, infer_inputs, num_outputs);
  int fresh = 0;
  infer.make_symbol = [&fresh](std::string_view) {
    return Dim::symbol("runtime" + std::to_string(fresh++));
  };
  infer.subgraph = infer_subgraph;
  if (!infer.subgraph) {
    infer.subgraph = [](size_t, std::span<const Type>) -> Result<std::vector<Type>> {
      return internal_error("this op's subgraphs cannot be inferred here");
    };
  }
  REDLINE_TRY(op.infer(infer));
  REDLINE_TRY(check_told(op, infer_inputs, infer.outputs()));

  HostReferenceContext context(attrs, inputs, num_outputs, run_subgraph, infer.outputs());
  for (size_t i = 0; i < num_outputs; ++i) {
    const Type& type = infer.outputs()[i];
    if (!type.is_tensor()) continue;
    for (int axis = 0; type.shape.has_rank() && axis < type.shape.rank(); ++axis) {
      if (type.shape[axis].is_invalid()) {
        return invalid_argument(op.name, ": size ", axis, " of output ", i, " overflows");
      }
    }
    if (std::optional<Dims> dims = type.shape.as_static()) {
      REDLINE_TRY(context.allocate_output(i, type.dtype, *dims).status());
    }
  }
  REDLINE_TRY(op.reference(context).with_context(op.name));
  return std::move(context.results());
}

}  // namespace redline
