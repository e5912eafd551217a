// SPDX-License-Identifier: Apache-2.0
#include "runtime/executor.h"

#include <algorithm>

#include "plan/control_step.h"
#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

namespace redline {
namespace {

bool same_kind(const Type& type, const HostValue& value) {
  switch (type.kind) {
    case Type::Kind::kTensor:
      return value.kind == HostValue::Kind::kTensor;
    case Type::Kind::kSequence:
      return value.kind == HostValue::Kind::kSequence;
    case Type::Kind::kOptional:
      return value.kind == HostValue::Kind::kOptional;
  }
  return false;
}

}  // namespace

Executor::Executor(const Plan& plan, const TacticRegistry& tactics, ThreadPool& pool)
    : plan_(plan), tactics_(tactics), pool_(pool) {}
// What was queued must not outlive the memory that it works on.
Executor::~Executor() { static_cast<void>(wait()); }

Result<std::unique_ptr<Executor>> Executor::create(const Plan& plan, const TacticRegistry& tactics,
                                                   ThreadPool& pool, DeviceImagePtr image) {
  std::unique_ptr<Executor> executor(new Executor(plan, tactics, pool));
  REDLINE_TRY(executor->initialize(std::move(image)));
  return executor;
}

Status Executor::initialize(DeviceImagePtr image) {
  REDLINE_TRY(check_plan(plan_, tactics_, image != nullptr));
  order_ = StepOrder::of(plan_);
  if (image != nullptr) {
    gpu_ = std::make_unique<Gpu>();
    gpu_->image = std::move(image);
    REDLINE_ASSIGN(gpu_->stream, cuda::Stream::create(gpu_->image->context()));
    gpu_->pool = std::make_unique<DevicePool>(gpu_->image->context());
    size_t words = std::max<size_t>(plan_.steps.size(), 1);
    REDLINE_ASSIGN(gpu_->refused,
                   cuda::PinnedBuffer::create(gpu_->image->context(), words * sizeof(uint32_t)));
    std::fill_n(gpu_->refused_of(0), words, 0u);
  }
  // Symbols that an input's size is, by themselves, are known at the start of a run.
  std::vector<std::string>& symbols = symbols_;
  for (const NamedValue& input : plan_.inputs) {
    const Type& type = plan_.values[static_cast<size_t>(input.value)].type;
    if (!type.is_tensor() || !type.shape.has_rank()) continue;
    for (const Dim& dim : type.shape.dims()) {
      if (!dim.is_symbol()) continue;
      if (std::find(symbols.begin(), symbols.end(), dim.symbol_name()) == symbols.end()) {
        symbols.push_back(dim.symbol_name());
      }
    }
  }
  symbol_values_.resize(symbols.size());
  auto index_of = [&](std::string_view name) {
    auto it = std::find(symbols.begin(), symbols.end(), name);
    return it == symbols.end() ? -1 : static_cast<int>(it - symbols.begin());
  };
  values_.resize(plan_.values.size());
  slots_.resize(plan_.values.size());
  for (size_t v = 0; v < plan_.values.size(); ++v) {
    const PlanValue& value = plan_.values[v];
    ValueInfo& info = values_[v];
    if (value.storage == Storage::kConstant) {
      const PlanConstant& constant = *plan_.constants[static_cast<size_t>(value.constant)];
      // Packed bytes are seen with the type they had before.
      std::optional<Dims> dims = constant.type.shape.as_static();
      if (!dims) return internal_error("constant '", value.name, "' has no sizes");
      const void* data =
          value.space == Space::kDevice ? gpu_->image->constant(constant) : constant.data.raw();
      slots_[v] = HostValue::of(Tensor::wrap(constant.type.dtype, *dims, data,
                                             plan_.constants[static_cast<size_t>(value.constant)]));
      info.sized = true;
      info.dims.clear();
      for (int64_t dim : *dims) info.dims.push_back({Dim(dim).compile(index_of)});
      continue;
    }
    if (!value.type.is_tensor() || value.type.dtype == DType::kString ||
        !value.type.shape.has_rank() || value.type.shape.rank() > kMaxRank) {
      continue;
    }
    // A view of what only the run places is placed by it too.
    info.sized =
        value.storage != Storage::kAlias || values_[static_cast<size_t>(value.alias_of)].sized;
    for (const Dim& dim : value.type.shape.dims()) {
      for (const std::string& symbol : dim.symbols()) info.sized &= index_of(symbol) >= 0;
      if (dim.is_invalid()) info.sized = false;
      info.dims.push_back({dim.compile(index_of)});
    }
  }
  for (const NamedValue& output : plan_.outputs) {
    values_[static_cast<size_t>(output.value)].is_output = true;
  }
  uploaded_from_.assign(plan_.values.size(), -1);
  downloaded_.resize(plan_.values.size());
  for (const PlanStep& step : plan_.steps) {
    if (step.outputs.empty()) continue;
    auto made = static_cast<size_t>(step.outputs[0]);
    if (step.tactic == kUploadTactic) uploaded_from_[made] = step.inputs[0];
    bool same = step.tactic == kViewTactic && downloaded_[static_cast<size_t>(step.inputs[0])];
    downloaded_[made] = step.tactic == kDownloadTactic || same;
  }
  find_ports();
  name_steps();
  steps_.resize(plan_.steps.size());
  for (size_t i = 0; i < plan_.steps.size(); ++i) {
    steps_[i].control = gpu_ != nullptr && is_control_step(plan_, plan_.steps[i]);
    for (const auto& subplan : plan_.steps[i].subplans) {
      REDLINE_ASSIGN(auto executor,
                     Executor::create(*subplan, tactics_, pool_, gpu_ ? gpu_->image : nullptr));
      executor->reuses_outputs_ = steps_[i].control;
      steps_[i].subplans.push_back(std::move(executor));
    }
  }
  return {};
}

Status Executor::bind_inputs(std::span<const HostValue> inputs) {
  if (inputs.size() != plan_.inputs.size()) {
    return invalid_argument("got ", inputs.size(), " inputs, expected ", plan_.inputs.size());
  }
  for (int64_t& value : symbol_values_) value = -1;
  found_sizes_.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const NamedValue& named = plan_.inputs[i];
    const Type& type = plan_.values[static_cast<size_t>(named.value)].type;
    const HostValue& value = inputs[i];
    if (!same_kind(type, value)) {
      return invalid_argument("input '", named.name, "' must be ", type.to_string());
    }
    slots_[static_cast<size_t>(named.value)] = value;
    if (!type.is_tensor()) continue;
    const Tensor& tensor = value.tensor;
    if (tensor.dtype() != type.dtype) {
      return invalid_argument("input '", named.name, "' has element type ",
                              dtype_name(tensor.dtype()), ", expected ", dtype_name(type.dtype));
    }
    if (!type.shape.has_rank()) continue;
    if (tensor.rank() != type.shape.rank()) {
      return invalid_argument("input '", named.name, "' has rank ", tensor.rank(), " ",
                              tensor.dims().to_string(), ", expected ", type.to_string());
    }
    for (int d = 0; d < tensor.rank(); ++d) {
      const Dim& dim = type.shape[d];
      if (!dim.is_symbol()) continue;
      auto at = static_cast<size_t>(std::find(symbols_.begin(), symbols_.end(), dim.symbol_name()) -
                                    symbols_.begin());
      int64_t size = tensor.dims()[static_cast<size_t>(d)];
      if (symbol_values_[at] >= 0 && symbol_values_[at] != size) {
        return invalid_argument("input '", named.name, "' has size ", size, " at axis ", d,
                                ", but '", dim.symbol_name(), "' is ", symbol_values_[at],
                                " elsewhere");
      }
      symbol_values_[at] = size;
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const NamedValue& named = plan_.inputs[i];
    auto v = static_cast<size_t>(named.value);
    if (!plan_.values[v].type.is_tensor()) continue;
    for (size_t d = 0; d < values_[v].dims.size(); ++d) {
      const Dim& declared = plan_.values[v].type.shape[static_cast<int>(d)];
      if (declared.is_symbol()) continue;
      Result<int64_t> expected = run_dim_program(values_[v].dims[d].code, symbol_values_);
      if (!expected.ok()) continue;  // a symbol that nothing binds: any size goes
      if (*expected != inputs[i].tensor.dims()[d]) {
        return invalid_argument("input '", named.name, "' has size ", inputs[i].tensor.dims()[d],
                                " at axis ", d, ", expected ", *expected);
      }
    }
  }
  return {};
}

Status Executor::run(std::span<const HostValue> inputs) {
  NvtxRange range(nvtx_, run_name_);
  REDLINE_TRY(start(inputs));
  return wait();
}

Status Executor::enqueue(std::span<const HostValue> inputs) {
  NvtxRange range(nvtx_, run_name_);
  return start(inputs);
}

Result<Executor::ShapeState*> Executor::begin_run(std::span<const HostValue> inputs) {
  REDLINE_TRY(wait());
  REDLINE_TRY(bind_inputs(inputs));
  REDLINE_TRY(fetch_inputs());
  REDLINE_ASSIGN(ShapeState * state, find_shape_state());
  if (state != current_ || state->placed != bases()) {
    current_ = nullptr;
    REDLINE_TRY(place_values(*state));
    current_ = state;
  }
  // Views of the caller's memory follow its address.
  for (size_t v = 0; v < plan_.values.size(); ++v) {
    auto root = static_cast<size_t>(state->placement.root[v]);
    if (root == v || plan_.values[root].storage != Storage::kInput || !values_[v].sized) continue;
    const void* data = part_of(*state, v);
    if (data == slots_[v].tensor.raw()) continue;
    slots_[v].tensor = Tensor::wrap(plan_.values[v].type.dtype, state->dims[v], data, nullptr);
  }
  for (const ShapeState::Patch& patch : state->patches) {
    state->steps[patch.step].inputs[patch.operand].data =
        slots_[static_cast<size_t>(patch.value)].tensor.view().data;
  }
  REDLINE_TRY(name_addresses(*state));
  return state;
}

Status Executor::start(std::span<const HostValue> inputs) {
  REDLINE_ASSIGN(ShapeState * state, begin_run(inputs));
  Status status = run_steps(*state);
  if (status.ok()) status = send_outputs();
  // Nothing may write into memory that the caller has back.
  if (!status.ok()) static_cast<void>(wait());
  return status;
}

Status Executor::run_steps(ShapeState& state) {
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    if (state.steps[s].skip) continue;
    bool segment = state.steps[s].segment >= 0 && observer_ == nullptr;
    if (observer_) observer_->before_step(s, plan_.steps[s]);
    Status status = segment ? run_segment(state, static_cast<size_t>(state.steps[s].segment))
                            : run_step(state, s);
    if (status.ok() && observer_) status = wait();
    if (!status.ok()) {
      const std::string& name = plan_.steps[s].name;
      return status.with_context(str_cat("step '", name, "'")).at_node(name);
    }
    if (observer_) REDLINE_TRY(observe_outputs(s));
    if (segment) s = state.segments[static_cast<size_t>(state.steps[s].segment)].end - 1;
  }
  return {};
}

Status Executor::observe_outputs(size_t index) {
  const PlanStep& step = plan_.steps[index];
  std::vector<const HostValue*> outputs;
  std::vector<HostValue> copies(step.outputs.size());
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (step.outputs[i] < 0) {
      outputs.push_back(nullptr);
      continue;
    }
    auto v = static_cast<size_t>(step.outputs[i]);
    outputs.push_back(&slots_[v]);
    bool stays = direct_[index] && step.tactic == kDownloadTactic;
    if (plan_.values[v].space == Space::kHost && !stays) continue;
    size_t from = stays ? static_cast<size_t>(step.inputs[i]) : v;
    REDLINE_ASSIGN(copies[i], on_host(slots_[from]));
    outputs.back() = &copies[i];
  }
  observer_->after_step(index, step, outputs);
  return {};
}

Status Executor::run_step(ShapeState& state, size_t index) {
  NvtxRange range = step_range(index);
  ShapeState::Step& ready = state.steps[index];
  bool on_gpu = works_on_gpu(plan_.steps[index]);
  if (!on_gpu && must_wait(state, index)) REDLINE_TRY(wait());
  if (ready.dynamic) {
    REDLINE_TRY(run_dynamic_step(state, index));
    note_sizes(index);
    return {};
  }
  if (on_gpu) {
    stage(state, index);
    return run_device_step(state, index, gpu_->stream);
  }
  if (ready.kernel == nullptr) return run_reference_step(index, ready.outputs);
  return ready.kernel->run({ready.inputs, ready.outputs, workspace_.get(), &pool_});
}

void Executor::name_runs(const std::string& name) {
  if (nvtx_ != nullptr) run_name_ = nvtx_->name(name);
}

void Executor::name_steps() {
  if (nvtx_ == nullptr) return;
  for (const PlanStep& step : plan_.steps) {
    step_names_.push_back(nvtx_->name(step.name.empty() ? step.op->name : step.name));
  }
}

NvtxRange Executor::step_range(size_t index) const {
  return {nvtx_, nvtx_ != nullptr ? step_names_[index] : Nvtx::Name()};
}

const HostValue& Executor::output(size_t i) const {
  return slots_[static_cast<size_t>(plan_.outputs[i].value)];
}

size_t Executor::arena_bytes() const {
  if (current_ == nullptr) return 0;
  return current_->placement.host.peak + current_->placement.device.peak;
}
size_t Executor::arena_lower_bound() const {
  if (current_ == nullptr) return 0;
  return current_->placement.host.lower_bound + current_->placement.device.lower_bound;
}

}  // namespace redline
