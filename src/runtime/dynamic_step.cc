// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ops/told_sizes.h"
#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

// Steps whose sizes are found during the run, on either side.
namespace redline {
namespace {

// What tells sizes is small. On the GPU it costs a wait for all that was queued.
constexpr size_t kMostToldBytes = 4096;

bool is_told(const std::vector<Type>& types) {
  return std::all_of(types.begin(), types.end(), [](const Type& type) {
    return type.is_tensor() && type.shape.as_static().has_value();
  });
}

// Sizes as far as they are known, for kernels that find out the rest.
Dims known_dims(const Type& type) {
  Dims dims;
  for (const Dim& dim : type.shape.dims()) dims.push_back(dim.as_const().value_or(kDynamicDim));
  return dims;
}

}  // namespace

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

const Tensor* Executor::at_host(int value) const {
  auto v = static_cast<size_t>(value);
  if (const PlanConstant* constant = constant_of(plan_, value)) {
    return constant->recipe.empty() ? &constant->data : nullptr;
  }
  if (far_[v]) return nullptr;
  if (plan_.values[v].space == Space::kHost) return &slots_[v].tensor;
  return uploaded_from_[v] < 0 ? nullptr : at_host(uploaded_from_[v]);
}

Status Executor::infer_step(size_t index, std::span<const InferInput> inputs,
                            std::vector<Type>& found) {
  const PlanStep& step = plan_.steps[index];
  InferContext infer(*step.op, step.attrs, inputs, step.outputs.size());
  int fresh = 0;
  infer.make_symbol = [&](std::string_view) { return Dim::symbol(str_cat(kFreshSymbol, fresh++)); };
  REDLINE_TRY(step.op->infer(infer));
  found = std::move(infer.outputs());
  for (Type& type : found) type = in_numbers(std::move(type));
  return {};
}

// Values that lie on the GPU are fetched only when the rest does not tell the sizes.
Result<std::vector<Type>> Executor::find_types(size_t index) {
  const PlanStep& step = plan_.steps[index];
  std::vector<Type> types(step.inputs.size());
  std::vector<InferInput> inputs(step.inputs.size());
  std::vector<size_t> far;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    auto v = static_cast<size_t>(step.inputs[i]);
    const HostValue& value = slots_[v];
    // An empty sequence has no element to tell its type: the plan knows it.
    types[i] = value.kind == HostValue::Kind::kTensor ? type_of(value) : plan_.values[v].type;
    inputs[i].type = &types[i];
    if (!types[i].is_tensor()) continue;
    inputs[i].constant = at_host(step.inputs[i]);
    bool fetchable = value.tensor.bytes() <= kMostToldBytes && !is_packed(plan_, step.inputs[i]);
    if (inputs[i].constant == nullptr && fetchable) far.push_back(i);
  }
  std::vector<Type> found;
  REDLINE_TRY(infer_step(index, inputs, found));
  std::vector<HostValue> fetched(step.inputs.size());
  if (!is_told(found) && !step.op->has(kTraitDataDependent) && !far.empty()) {
    for (size_t i : far) {
      REDLINE_ASSIGN(fetched[i], on_host(slots_[static_cast<size_t>(step.inputs[i])]));
      inputs[i].constant = &fetched[i].tensor;
    }
    REDLINE_TRY(infer_step(index, inputs, found));
  }
  REDLINE_TRY(check_told(*step.op, inputs, found));
  return found;
}

Result<Tensor> Executor::allocate(Space space, DType dtype, const Dims& dims) {
  if (space == Space::kHost) return Tensor::create(dtype, dims);
  std::optional<int64_t> count = checked_count({dims.begin(), dims.size()});
  size_t bytes = 0;
  if (!count || __builtin_mul_overflow(static_cast<size_t>(*count), dtype_bytes(dtype), &bytes)) {
    return invalid_argument("a value would have the size ", dims.to_string());
  }
  REDLINE_ASSIGN(std::shared_ptr<void> memory, gpu_->pool->allocate(bytes));
  const void* data = memory.get();
  return Tensor::wrap(dtype, dims, data, std::move(memory));
}

// Checks what the rule told and makes the outputs whose sizes are known by now.
Status Executor::make_outputs(ShapeState& state, size_t index, std::span<const Type> types,
                              std::vector<TensorView>& outputs) {
  const PlanStep& step = plan_.steps[index];
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    auto v = static_cast<size_t>(step.outputs[i]);
    const Dims* declared = values_[v].sized ? &state.dims[v] : nullptr;
    REDLINE_TRY(check_result(step, plan_.values[v], types[i], declared));
    std::optional<Dims> dims = types[i].is_tensor() ? types[i].shape.as_static() : std::nullopt;
    if (!dims || outputs[i].data != nullptr) continue;
    REDLINE_ASSIGN(Tensor tensor, allocate(plan_.values[v].space, types[i].dtype, *dims));
    outputs[i] = tensor.view();
    slots_[v] = HostValue::of(std::move(tensor));
  }
  return {};
}

Status Executor::make_view(ShapeState& state, size_t index) {
  const PlanStep& step = plan_.steps[index];
  REDLINE_ASSIGN(std::vector<Type> types, find_types(index));
  auto v = static_cast<size_t>(step.outputs[0]);
  const Dims* declared = values_[v].sized ? &state.dims[v] : nullptr;
  REDLINE_TRY(check_result(step, plan_.values[v], types[0], declared));
  std::optional<Dims> dims = types[0].is_tensor() ? types[0].shape.as_static() : std::nullopt;
  if (!dims) return internal_error("a view without sizes");
  const HostValue& base = slots_[static_cast<size_t>(step.inputs[0])];
  if (checked_count({dims->begin(), dims->size()}) != base.tensor.count()) {
    return invalid_argument("cannot give ", base.tensor.dims().to_string(), " the sizes ",
                            dims->to_string());
  }
  slots_[v] = HostValue::of(base.tensor.reshaped(*dims));
  return {};
}

// From the host to the GPU, or back.
Status Executor::copy_value(size_t index) {
  const PlanStep& step = plan_.steps[index];
  const Tensor& from = slots_[static_cast<size_t>(step.inputs[0])].tensor;
  auto v = static_cast<size_t>(step.outputs[0]);
  Space space = plan_.values[v].space;
  REDLINE_ASSIGN(Tensor to, allocate(space, from.dtype(), from.dims()));
  gpu_->busy = true;
  if (from.bytes() > 0 && space == Space::kDevice) {
    REDLINE_TRY(gpu_->stream.copy_to_device(reinterpret_cast<cuda::DevicePtr>(to.raw()), from.raw(),
                                            from.bytes()));
  } else if (from.bytes() > 0) {
    REDLINE_TRY(gpu_->stream.copy_to_host(
        to.mutable_raw(), reinterpret_cast<cuda::DevicePtr>(from.raw()), from.bytes()));
  }
  slots_[v] = HostValue::of(std::move(to));
  return {};
}

// Sizes were not known beforehand: runs the shape rule on what the inputs turned out to be,
// allocates what it tells, and leaves the rest to the reference, or to a kernel that finds it.
Status Executor::run_dynamic_step(ShapeState& state, size_t index) {
  const PlanStep& step = plan_.steps[index];
  if (step.tactic == kViewTactic) return make_view(state, index);
  if (step.is_copy()) return copy_value(index);
  std::vector<TensorView> outputs(step.outputs.size());
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    auto v = static_cast<size_t>(step.outputs[i]);
    bool planned = values_[v].sized && plan_.values[v].storage == Storage::kArena;
    if (planned) outputs[i] = slots_[v].tensor.view();
  }
  if (steps_[index].control) return run_control_step(index, outputs);
  if (!step.subplans.empty()) return run_reference_step(index, outputs);
  REDLINE_ASSIGN(std::vector<Type> types, find_types(index));
  REDLINE_TRY(make_outputs(state, index, types, outputs));
  bool known = std::all_of(outputs.begin(), outputs.end(),
                           [](const TensorView& v) { return v.data != nullptr; });
  bool empty = known && std::all_of(outputs.begin(), outputs.end(),
                                    [](const TensorView& view) { return view.count() == 0; });
  bool on_gpu = is_on_gpu(step);
  if (empty) return {};
  if (step.tactic.empty() || (!known && !on_gpu)) return run_reference_step(index, outputs);
  bool finds_sizes = on_gpu && step.op->has(kTraitDataDependent);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].data != nullptr) continue;
    bool ranked = types[i].is_tensor() && types[i].shape.has_rank();
    if (!finds_sizes || !ranked) {
      return invalid_argument("the operands do not tell the sizes of output ", i, ", ",
                              types[i].to_string());
    }
    outputs[i] = TensorView{types[i].dtype, known_dims(types[i]), nullptr};
  }
  return run_kernel(state, index, outputs);
}

Status Executor::run_kernel(ShapeState& state, size_t index, std::vector<TensorView>& outputs) {
  const PlanStep& step = plan_.steps[index];
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
    own.kept = {};
  }
  if (own.kernel == nullptr) return run_reference_step(index, outputs);
  KernelArgs args{inputs, outputs, nullptr, &pool_};
  if (!is_on_gpu(step)) {
    REDLINE_TRY(ensure_workspace(std::max(own.kernel->workspace_bytes(), state.workspace)));
    args.workspace = workspace_.get();
    return own.kernel->run(args);
  }
  // Not the one that graphs know the address of.
  REDLINE_ASSIGN(std::shared_ptr<void> workspace,
                 gpu_->pool->allocate(own.kernel->workspace_bytes()));
  args.pool = nullptr;
  args.workspace = workspace.get();
  args.stream = &gpu_->stream;
  args.refused = gpu_->refused_of(index);
  if (own.kernel->kept_bytes() > own.kept.bytes()) {
    REDLINE_ASSIGN(own.kept, gpu_->stream.zeros(own.kernel->kept_bytes()));
  }
  args.kept = own.kept.data();
  gpu_->busy = true;
  if (own.kernel->finds_sizes()) return find_and_run(state, index, *own.kernel, args, outputs);
  return own.kernel->run(args);
}

// The one place where a run waits for the GPU to tell sizes.
Status Executor::find_and_run(ShapeState& state, size_t index, const Kernel& kernel,
                              KernelArgs args, std::vector<TensorView>& outputs) {
  const PlanStep& step = plan_.steps[index];
  REDLINE_TRY(kernel.find(args));
  if (gpu_->count.bytes() == 0) {
    REDLINE_ASSIGN(gpu_->count,
                   cuda::PinnedBuffer::create(gpu_->image->context(), sizeof(int64_t)));
  }
  REDLINE_TRY(gpu_->stream.copy_to_host(
      gpu_->count.data(), reinterpret_cast<cuda::DevicePtr>(args.workspace), sizeof(int64_t)));
  REDLINE_TRY(gpu_->stream.synchronize());
  int64_t count = 0;
  std::memcpy(&count, gpu_->count.data(), sizeof count);
  if (count < 0) return invalid_argument(step.op->name, ": an operand selects what is not there");
  std::vector<Dims> sizes = kernel.sizes(count);
  std::vector<Type> types;
  for (size_t i = 0; i < outputs.size(); ++i) {
    types.push_back(Type::tensor(outputs[i].dtype, Shape::of(sizes[i])));
  }
  REDLINE_TRY(make_outputs(state, index, types, outputs));
  bool empty = std::all_of(outputs.begin(), outputs.end(),
                           [](const TensorView& view) { return view.count() == 0; });
  if (empty) return {};
  args.outputs = outputs;
  return kernel.run(args);
}

}  // namespace redline
