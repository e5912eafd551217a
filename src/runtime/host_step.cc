// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ops/elements.h"
#include "ops/told_sizes.h"
#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

// Steps on the reference, and those whose sizes are found during the run.
namespace redline {
namespace {

Result<Tensor> copy_tensor(const Tensor& tensor) {
  REDLINE_ASSIGN(Tensor copy, Tensor::create(tensor.dtype(), tensor.dims()));
  if (tensor.dtype() == DType::kString) {
    std::copy_n(tensor.data<std::string>(), tensor.count(), copy.mutable_data<std::string>());
  } else if (tensor.bytes() > 0) {
    std::memcpy(copy.mutable_raw(), tensor.raw(), tensor.bytes());
  }
  return copy;
}

// Values inside sequences and optionals own their memory already; tensors in the arena do not.
Result<HostValue> detach(const HostValue& value) {
  if (value.kind != HostValue::Kind::kTensor) return value;
  REDLINE_ASSIGN(Tensor copy, copy_tensor(value.tensor));
  return HostValue::of(std::move(copy));
}

}  // namespace

// A reference step on this executor's values.
class Executor::StepContext final : public ReferenceContext {
 public:
  StepContext(Executor& executor, size_t index, std::span<const TensorView> outputs)
      : executor_(executor), index_(index) {
    const PlanStep& step = executor.plan_.steps[index];
    attrs_ = &step.attrs;
    num_outputs_ = step.outputs.size();
    for (int value : step.inputs) {
      const HostValue* slot = value < 0 ? nullptr : &executor.slots_[static_cast<size_t>(value)];
      inputs_.push_back(slot);
      bool tensor = slot != nullptr && slot->kind == HostValue::Kind::kTensor;
      input_views_.push_back(tensor ? slot->tensor.view() : TensorView());
    }
    output_views_.assign(outputs.begin(), outputs.end());
    output_views_.resize(num_outputs_);
  }

  Result<TensorView> allocate_output(size_t i, DType dtype, const Dims& dims) override {
    if (i >= num_outputs_) return internal_error("output ", i, " is not wanted");
    if (output_views_[i].data != nullptr) {
      if (output_views_[i].dtype == dtype && output_views_[i].dims == dims) return output_views_[i];
      return invalid_argument("output ", i, " comes out as ", dtype_name(dtype), dims.to_string(),
                              ", the graph says ", dtype_name(output_views_[i].dtype),
                              output_views_[i].dims.to_string());
    }
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
    output_views_[i] = tensor.view();
    slot(i) = HostValue::of(std::move(tensor));
    return output_views_[i];
  }

  Type output_type(size_t i) const override { return declared(i).type; }

  Status set_output_value(size_t i, HostValue value) override {
    if (i >= num_outputs_) return {};
    if (output_views_[i].data == nullptr) {
      slot(i) = std::move(value);
      return {};
    }
    REDLINE_TRY(check_made(declared(i), value));
    REDLINE_ASSIGN(TensorView to, allocate_output(i, value.tensor.dtype(), value.tensor.dims()));
    if (to.bytes() > 0) std::memcpy(to.data, value.tensor.raw(), to.bytes());
    return {};
  }

  Result<std::vector<HostValue>> run_subgraph(size_t index,
                                              std::span<const HostValue> inputs) override {
    return executor_.run_subplan(index_, index, inputs);
  }

 private:
  const PlanValue& declared(size_t i) const {
    const PlanStep& step = executor_.plan_.steps[index_];
    return executor_.plan_.values[static_cast<size_t>(step.outputs[i])];
  }
  HostValue& slot(size_t i) {
    return executor_.slots_[static_cast<size_t>(executor_.plan_.steps[index_].outputs[i])];
  }
  Executor& executor_;
  size_t index_;
};

Status Executor::run_reference_step(size_t index, std::span<const TensorView> outputs) {
  StepContext context(*this, index, outputs);
  const PlanStep& step = plan_.steps[index];
  REDLINE_TRY(step.op->reference(context));
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (i < outputs.size() && outputs[i].data != nullptr) continue;
    auto v = static_cast<size_t>(step.outputs[i]);
    REDLINE_TRY(check_made(plan_.values[v], slots_[v]));
  }
  return {};
}

Result<std::vector<HostValue>> Executor::run_subplan(size_t step, size_t index,
                                                     std::span<const HostValue> inputs) {
  if (index >= steps_[step].subplans.size()) return internal_error("no subgraph ", index);
  Executor& executor = *steps_[step].subplans[index];
  std::vector<HostValue> arguments(inputs.begin(), inputs.end());
  for (int value : plan_.steps[step].captures[index]) {
    arguments.push_back(slots_[static_cast<size_t>(value)]);
  }
  REDLINE_TRY(executor.run(arguments));
  std::vector<HostValue> results;
  for (size_t i = 0; i < executor.plan_.outputs.size(); ++i) {
    REDLINE_ASSIGN(HostValue value, detach(executor.output(i)));
    results.push_back(std::move(value));
  }
  return results;
}

void Executor::note_sizes(size_t index) {
  for (int value : plan_.steps[index].outputs) {
    if (value < 0) continue;
    auto v = static_cast<size_t>(value);
    const Type& type = plan_.values[v].type;
    const HostValue& slot = slots_[v];
    if (!type.is_tensor() || slot.kind != HostValue::Kind::kTensor || !type.shape.has_rank() ||
        type.shape.rank() != slot.tensor.rank()) {
      continue;
    }
    for (int d = 0; d < type.shape.rank(); ++d) {
      const Dim& dim = type.shape[d];
      if (!dim.is_symbol()) continue;
      found_sizes_[dim.symbol_name()] = slot.tensor.dims()[static_cast<size_t>(d)];
    }
  }
}

Type Executor::in_numbers(Type type) const {
  if (!type.is_tensor() || !type.shape.has_rank() || type.shape.as_static()) return type;
  auto size_of = [this](std::string_view symbol) -> std::optional<int64_t> {
    if (symbol.starts_with(kFreshSymbol)) return std::nullopt;
    auto found = found_sizes_.find(symbol);
    if (found != found_sizes_.end()) return found->second;
    auto it = std::find(symbols_.begin(), symbols_.end(), symbol);
    if (it == symbols_.end()) return std::nullopt;
    int64_t value = symbol_values_[static_cast<size_t>(it - symbols_.begin())];
    return value < 0 ? std::nullopt : std::optional(value);
  };
  SymDims dims = type.shape.dims();
  for (Dim& dim : dims) {
    Result<int64_t> size = dim.evaluate(size_of);
    if (size.ok() && *size >= 0) dim = Dim(*size);
  }
  return Type::tensor(type.dtype, std::move(dims));
}

// Sizes were not known beforehand: runs the shape rule on what the inputs turned out to be,
// allocates what it tells, and leaves the rest to the reference.
Status Executor::run_dynamic_step(ShapeState& state, size_t index) {
  const PlanStep& step = plan_.steps[index];
  std::vector<TensorView> outputs(step.outputs.size());
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    auto v = static_cast<size_t>(step.outputs[i]);
    bool planned = values_[v].sized && plan_.values[v].storage == Storage::kArena;
    if (planned) outputs[i] = slots_[v].tensor.view();
  }
  if (step.subplans.empty()) {
    std::vector<Type> types(step.inputs.size());
    std::vector<InferInput> infer_inputs(step.inputs.size());
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (step.inputs[i] < 0) continue;
      const HostValue& value = slots_[static_cast<size_t>(step.inputs[i])];
      // An empty sequence has no element to tell its type: the plan knows it.
      types[i] = value.kind == HostValue::Kind::kTensor
                     ? type_of(value)
                     : plan_.values[static_cast<size_t>(step.inputs[i])].type;
      infer_inputs[i].type = &types[i];
      bool here = plan_.values[static_cast<size_t>(step.inputs[i])].space == Space::kHost;
      if (types[i].is_tensor() && here) infer_inputs[i].constant = &value.tensor;
    }
    InferContext infer(*step.op, step.attrs, infer_inputs, step.outputs.size());
    int fresh = 0;
    infer.make_symbol = [&](std::string_view) {
      return Dim::symbol(str_cat(kFreshSymbol, fresh++));
    };
    REDLINE_TRY(step.op->infer(infer));
    for (Type& type : infer.outputs()) type = in_numbers(std::move(type));
    REDLINE_TRY(check_told(*step.op, infer_inputs, infer.outputs()));
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      auto v = static_cast<size_t>(step.outputs[i]);
      const Type& type = infer.outputs()[i];
      const Dims* declared = values_[v].sized ? &state.dims[v] : nullptr;
      REDLINE_TRY(check_result(step, plan_.values[v], type, declared));
      std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
      if (!dims) continue;
      if (step.tactic == kViewTactic) {
        const HostValue& base = slots_[static_cast<size_t>(step.inputs[0])];
        if (checked_count({dims->begin(), dims->size()}) != base.tensor.count()) {
          return invalid_argument("cannot give ", base.tensor.dims().to_string(), " the sizes ",
                                  dims->to_string());
        }
        slots_[v] = HostValue::of(base.tensor.reshaped(*dims));
        outputs[i] = slots_[v].tensor.view();
        continue;
      }
      if (outputs[i].data != nullptr) continue;
      REDLINE_ASSIGN(Tensor tensor, Tensor::create(type.dtype, *dims));
      outputs[i] = tensor.view();
      slots_[v] = HostValue::of(std::move(tensor));
    }
  }
  if (step.tactic == kViewTactic) {
    if (outputs[0].data == nullptr) return internal_error("a view without sizes");
    return {};
  }
  bool known = std::all_of(outputs.begin(), outputs.end(),
                           [](const TensorView& v) { return v.data != nullptr; });
  bool empty = known && step.subplans.empty() &&
               std::all_of(outputs.begin(), outputs.end(),
                           [](const TensorView& view) { return view.count() == 0; });
  if (empty) return {};
  if (step.tactic.empty() || !known) return run_reference_step(index, outputs);

  StepState& own = steps_[index];
  std::vector<TensorView> inputs;
  std::vector<Dims> dims;
  for (int value : step.inputs) {
    inputs.push_back(value < 0 ? TensorView() : slots_[static_cast<size_t>(value)].tensor.view());
    dims.push_back(inputs.back().dims);
  }
  // Values may tell other output sizes for the same input sizes.
  for (const TensorView& output : outputs) dims.push_back(output.dims);
  if (own.kernel == nullptr || own.kernel_dims != dims) {
    REDLINE_ASSIGN(own.kernel, prepare_or_refuse(index, inputs, outputs));
    own.kernel_dims = std::move(dims);
  }
  if (own.kernel == nullptr) return run_reference_step(index, outputs);
  REDLINE_TRY(ensure_workspace(std::max(own.kernel->workspace_bytes(), state.workspace)));
  return own.kernel->run({inputs, outputs, workspace_.get(), &pool_});
}

}  // namespace redline
