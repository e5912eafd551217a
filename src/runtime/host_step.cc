// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ops/elements.h"
#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

// Steps on the reference.
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

}  // namespace redline
