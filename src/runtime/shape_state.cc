// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "runtime/check_plan.h"
#include "runtime/executor_state.h"

// What an executor makes ready for one set of input sizes.
namespace redline {
namespace {

// The variant that was chosen for sizes nearer to these than the step's own way was; null when
// that is the nearest. As factors: 4 is as far from 1 as from 16.
const PlanVariant* nearest(const PlanStep& step, std::span<const TensorView> outputs) {
  if (step.variants.empty() || outputs.empty()) return nullptr;
  int64_t elements = outputs[0].count();
  auto distance = [&](int64_t chosen_for) {
    if (chosen_for <= 0) return std::numeric_limits<double>::infinity();
    return std::abs(std::log(static_cast<double>(std::max<int64_t>(elements, 1)) /
                             static_cast<double>(chosen_for)));
  };
  const PlanVariant* found = nullptr;
  double least = distance(step.elements);
  for (const PlanVariant& variant : step.variants) {
    if (distance(variant.elements) >= least) continue;
    least = distance(variant.elements);
    found = &variant;
  }
  return found;
}

constexpr size_t kMaxShapeStates = 16;
// Of all values at once; sums of this many do not overflow.
constexpr uint64_t kMaxActivationBytes = uint64_t{1} << 46;

}  // namespace

const PlanVariant* Executor::variant_for(size_t step, std::span<const TensorView> outputs) const {
  const PlanStep& of = plan_.steps[step];
  if (forced_.empty()) return nearest(of, outputs);
  int forced = forced_[step];
  return forced < 0 ? nullptr : &of.variants[static_cast<size_t>(forced)];
}

void Executor::use_variants(std::vector<int> variants) {
  static_cast<void>(wait());
  forced_ = std::move(variants);
  current_ = nullptr;
  states_.clear();
}

void Executor::use_streams(std::span<const int> streams) {
  static_cast<void>(wait());
  order_ = StepOrder::of(plan_, streams);
  current_ = nullptr;
  states_.clear();
}

Result<Executor::ShapeState*> Executor::find_shape_state() {
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i]->symbols != symbol_values_ || states_[i]->direct != direct_) continue;
    if (i > 0)
      std::rotate(states_.begin(), states_.begin() + static_cast<ptrdiff_t>(i),
                  states_.begin() + static_cast<ptrdiff_t>(i) + 1);
    return states_[0].get();
  }
  auto state = std::make_unique<ShapeState>();
  state->symbols = symbol_values_;
  state->direct = direct_;
  REDLINE_TRY(build_shape_state(*state));
  if (states_.size() >= kMaxShapeStates) states_.pop_back();
  states_.insert(states_.begin(), std::move(state));
  return states_[0].get();
}

Status Executor::build_shape_state(ShapeState& state) {
  size_t count = plan_.values.size();
  uint64_t total = 0;
  state.dims.resize(count);
  for (size_t v = 0; v < count; ++v) {
    if (!values_[v].sized) continue;
    for (const DimProgram& program : values_[v].dims) {
      Result<int64_t> size = run_dim_program(program.code, symbol_values_);
      if (!size.ok() || *size < 0) {
        return invalid_argument("value '", plan_.values[v].name, "' of type ",
                                plan_.values[v].type.to_string(),
                                " cannot be sized for these inputs", size.ok() ? "" : ": ",
                                size.ok() ? "" : size.status().message());
      }
      state.dims[v].push_back(*size);
    }
    const PlanValue& value = plan_.values[v];
    std::optional<int64_t> elems = checked_count({state.dims[v].begin(), state.dims[v].size()});
    uint64_t bytes = 0;
    if (!elems || __builtin_mul_overflow(*elems, dtype_bytes(value.type.dtype), &bytes) ||
        bytes > kMaxActivationBytes) {
      return invalid_argument("value '", value.name, "' would have the size ",
                              state.dims[v].to_string());
    }
    if (value.storage == Storage::kArena) total += bytes;
    if (total > kMaxActivationBytes) {
      return out_of_memory("no memory for activations of ", total, " bytes and more");
    }
    if (value.storage == Storage::kAlias &&
        *elems != state.dims[static_cast<size_t>(value.alias_of)].count()) {
      return invalid_argument("value '", value.name, "' cannot show ",
                              state.dims[static_cast<size_t>(value.alias_of)].to_string(), " as ",
                              state.dims[v].to_string());
    }
  }

  state.steps.resize(plan_.steps.size());
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    REDLINE_ASSIGN(bool told, check_step_sizes(state, plan_.steps[s]));
    state.steps[s].told = told;
  }

  state.placement = place(state);
  state.output_buffers.resize(count);
  std::vector<bool> stays(count);  // on the GPU
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    if (!direct_[s] || plan_.steps[s].tactic != kDownloadTactic) continue;
    stays[static_cast<size_t>(plan_.steps[s].outputs[0])] = true;
  }
  for (size_t v = 0; v < count; ++v) {
    if (!values_[v].is_output || !values_[v].sized || plan_.values[v].storage != Storage::kArena ||
        stays[v])
      continue;
    size_t bytes =
        static_cast<size_t>(state.dims[v].count()) * dtype_bytes(plan_.values[v].type.dtype);
    REDLINE_ASSIGN(state.output_buffers[v], allocate_host(bytes));
  }
  return {};
}

// Page-locked beside a GPU, which then copies from and to it by itself.
Result<std::shared_ptr<void>> Executor::allocate_host(size_t bytes) const {
  if (gpu_ != nullptr && bytes > 0) {
    REDLINE_ASSIGN(cuda::PinnedBuffer pinned,
                   cuda::PinnedBuffer::create(gpu_->image->context(), bytes));
    auto owner = std::make_shared<cuda::PinnedBuffer>(std::move(pinned));
    return std::shared_ptr<void>(owner, owner->data());
  }
  void* data = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (data == nullptr) return out_of_memory("no memory for ", bytes, " bytes of activations");
  return std::shared_ptr<void>(data, [](void* p) { std::free(p); });
}

Placement Executor::place(ShapeState& state) const {
  std::vector<bool> sized;
  std::vector<bool> output;
  for (const ValueInfo& info : values_) {
    sized.push_back(info.sized);
    output.push_back(info.is_output);
  }
  std::vector<bool> dynamic;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    auto unsized = [&](int value) { return value >= 0 && !sized[static_cast<size_t>(value)]; };
    ShapeState::Step& ready = state.steps[s];
    // Kernels work with the sizes they were made for, references with what the values say.
    bool finds_sizes = step.op->has(kTraitDataDependent) && is_on_gpu(step);
    ready.dynamic = !step.subplans.empty() || finds_sizes || (!ready.told && step.tactic.empty()) ||
                    std::any_of(step.inputs.begin(), step.inputs.end(), unsized) ||
                    std::any_of(step.outputs.begin(), step.outputs.end(), unsized);
    dynamic.push_back(ready.dynamic);
  }
  return plan_placement({plan_, state.dims, sized, output, std::move(dynamic), order_});
}

// The sizes that symbols gave must be what the op's own rule says of the actual sizes: the symbolic
// rules take operands to agree where they cannot know. False when the rule must be asked again
// during the run, since only values tell the sizes.
Result<bool> Executor::check_step_sizes(const ShapeState& state, const PlanStep& step) const {
  if (!step.subplans.empty()) return false;
  std::vector<Type> types(step.inputs.size());
  std::vector<InferInput> inputs(step.inputs.size());
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0) continue;
    auto v = static_cast<size_t>(step.inputs[i]);
    if (!values_[v].sized) return false;
    types[i] = Type::tensor(plan_.values[v].type.dtype, Shape::of(state.dims[v]));
    inputs[i].type = &types[i];
    const PlanValue& value = plan_.values[v];
    if (value.storage == Storage::kConstant &&
        plan_.constants[static_cast<size_t>(value.constant)]->recipe.empty()) {
      inputs[i].constant = &plan_.constants[static_cast<size_t>(value.constant)]->data;
    }
  }
  InferContext infer(*step.op, step.attrs, inputs, step.outputs.size());
  int fresh = 0;
  infer.make_symbol = [&](std::string_view) { return Dim::symbol(str_cat(kFreshSymbol, fresh++)); };
  Status status = step.op->infer(infer);
  if (!status.ok())
    return status.with_context(str_cat("step '", step.name, "'")).at_node(step.name);
  bool told = true;
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    auto v = static_cast<size_t>(step.outputs[i]);
    const Dims* dims = values_[v].sized ? &state.dims[v] : nullptr;
    Type type = in_numbers(std::move(infer.outputs()[i]));
    REDLINE_TRY(check_result(step, plan_.values[v], type, dims));
    told &= type.is_tensor() && type.shape.as_static().has_value();
  }
  return told;
}

Status Executor::ensure_arena(const Placement& placement) {
  if (placement.host.peak > arena_capacity_ || arena_ == nullptr) {
    REDLINE_ASSIGN(arena_, allocate_host(placement.host.peak));
    arena_capacity_ = placement.host.peak;
  }
  return gpu_ != nullptr ? ensure_device_memory(placement.device.peak, 0) : Status();
}

Executor::Bases Executor::bases() const {
  if (gpu_ == nullptr) return {arena_.get(), nullptr, nullptr};
  return {arena_.get(), gpu_->arena.data(), gpu_->workspace.data()};
}

// Gives each sized value its address.
Status Executor::place_values(ShapeState& state) {
  REDLINE_TRY(ensure_arena(state.placement));
  for (bool roots : {true, false}) {
    for (size_t v = 0; v < plan_.values.size(); ++v) {
      const PlanValue& value = plan_.values[v];
      auto root = static_cast<size_t>(state.placement.root[v]);
      bool own = root == v;
      bool fixed = value.storage == Storage::kInput || value.storage == Storage::kConstant;
      if (own != roots || fixed || !values_[v].sized) continue;
      int item = state.placement.item_of_value[v];
      const void* data = state.output_buffers[v].get();
      if (!own) {
        data = part_of(state, v);
      } else if (item >= 0) {
        bool device = value.space == Space::kDevice;
        const MemoryPlan& memory = device ? state.placement.device : state.placement.host;
        const void* base = device ? gpu_->arena.data() : arena_.get();
        data = static_cast<const char*>(base) + memory.offsets[static_cast<size_t>(item)];
      }
      slots_[v] = HostValue::of(Tensor::wrap(value.type.dtype, state.dims[v], data, nullptr));
    }
  }
  REDLINE_TRY(prepare_steps(state));
  state.placed = bases();
  return {};
}

// Gives each step its views, and prepares the kernels that are not yet.
Status Executor::prepare_steps(ShapeState& state) {
  auto view_of = [&](int value) {
    return value < 0 ? TensorView() : slots_[static_cast<size_t>(value)].tensor.view();
  };
  auto read_inputs = [&](const PlanStep& step, ShapeState::Step& ready) {
    ready.inputs.clear();
    for (int input : ready.variant != nullptr ? ready.variant->inputs : step.inputs) {
      ready.inputs.push_back(view_of(input));
    }
  };
  auto from_input = [&](int value) {
    if (value < 0) return false;
    auto root = static_cast<size_t>(state.placement.root[static_cast<size_t>(value)]);
    return plan_.values[root].storage == Storage::kInput;
  };
  state.patches.clear();
  state.workspace = state.device_workspace = 0;
  std::array<size_t, PlanStep::kMostStreams> of_stream = {};
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    ShapeState::Step& ready = state.steps[s];
    ready.skip = state.placement.elided[s];
    bool on_gpu = is_on_gpu(step);
    if (ready.dynamic || ready.skip) continue;
    ready.outputs.clear();
    for (int output : step.outputs) ready.outputs.push_back(view_of(output));
    if (ready.kernel == nullptr) ready.variant = variant_for(s, ready.outputs);
    read_inputs(step, ready);
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      if (from_input(step.inputs[i])) state.patches.push_back({s, i, step.inputs[i]});
    }
    // Nothing to compute: kernels need not care for empty outputs.
    ready.skip = std::all_of(ready.outputs.begin(), ready.outputs.end(),
                             [](const TensorView& view) { return view.count() == 0; });
    if (ready.skip) continue;
    if (!step.tactic.empty() && !step.is_copy() && ready.kernel == nullptr) {
      if (ready.variant != nullptr) {
        Result<std::unique_ptr<Kernel>> kernel =
            prepare(step, ready.variant, ready.inputs, ready.outputs);
        bool refused = kernel.status().code() == StatusCode::kUnsupported;
        if (!refused) {
          REDLINE_ASSIGN(ready.kernel, std::move(kernel));
        }
      }
      if (ready.kernel == nullptr) {
        ready.variant = nullptr;
        read_inputs(step, ready);
        REDLINE_ASSIGN(ready.kernel, prepare_or_refuse(s, ready.inputs, ready.outputs));
      }
      ready.dynamic = ready.kernel == nullptr && !ready.told;
    }
    if (ready.kernel) {
      auto stream = static_cast<size_t>(order_.stream(s));
      size_t& workspace = on_gpu ? of_stream[stream] : state.workspace;
      workspace = std::max(workspace, ready.kernel->workspace_bytes());
    }
  }
  state.workspace_of_stream.clear();
  for (size_t bytes : of_stream) {
    state.workspace_of_stream.push_back(state.device_workspace);
    constexpr size_t kAlignment = 256;
    state.device_workspace += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  if (gpu_ != nullptr) {
    REDLINE_TRY(ensure_device_memory(0, state.device_workspace));
    REDLINE_TRY(make_staging(state));
    REDLINE_TRY(make_kept(state));
    find_segments(state);
  }
  return ensure_workspace(state.workspace);
}

// Where a value lies that has no memory of its own.
const void* Executor::part_of(const ShapeState& state, size_t value) const {
  auto root = static_cast<size_t>(state.placement.root[value]);
  const void* base = slots_[root].tensor.raw();
  // An empty tensor has no address to add to.
  return base == nullptr ? base : static_cast<const char*>(base) + state.placement.offset[value];
}

Status Executor::ensure_workspace(size_t bytes) {
  if (bytes <= workspace_capacity_) return {};
  REDLINE_ASSIGN(workspace_, allocate_host(bytes));
  workspace_capacity_ = bytes;
  return {};
}

Result<std::unique_ptr<Kernel>> Executor::prepare(const PlanStep& step, const PlanVariant* variant,
                                                  std::span<const TensorView> inputs,
                                                  std::span<const TensorView> outputs) const {
  const std::vector<int>& operands = variant != nullptr ? variant->inputs : step.inputs;
  const Tactic* tactic = tactics_.find(variant != nullptr ? variant->tactic : step.tactic);
  // Whoever built the engine asked; whoever wrote the file may not have. Not sooner: tactics count
  // on what the op's rule has checked.
  Problem asked = problem_of(plan_, step, operands);
  Status supported = tactic->takes(asked);
  if (!supported.ok()) {
    return supported.with_context(str_cat("step '", step.name, "'")).at_node(step.name);
  }
  Problem problem;
  problem.op = step.op;
  problem.attrs = step.attrs;
  for (size_t i = 0; i < operands.size(); ++i) {
    OperandDesc operand;
    operand.present = operands[i] >= 0;
    if (operand.present) {
      auto v = static_cast<size_t>(operands[i]);
      operand.dtype = inputs[i].dtype;
      operand.dims = inputs[i].dims;
      const PlanValue& value = plan_.values[v];
      if (value.storage == Storage::kConstant) {
        const PlanConstant& constant = *plan_.constants[static_cast<size_t>(value.constant)];
        if (constant.recipe.empty()) {
          operand.constant = &constant.data;
        } else {
          operand.packed = &constant.data;
        }
      }
    }
    problem.inputs.push_back(operand);
  }
  for (const TensorView& output : outputs) {
    OperandDesc operand;
    operand.dtype = output.dtype;
    operand.dims = output.dims;
    problem.outputs.push_back(operand);
  }
  PrepareArgs args{&pool_};
  if (gpu_ != nullptr) {
    args.context = gpu_->image->context();
    args.written = &asked;
    args.modules = gpu_->image->modules(variant != nullptr ? variant->kernels : step.kernels);
  }
  Result<std::unique_ptr<Kernel>> kernel =
      tactic->prepare(problem, variant != nullptr ? variant->config : step.config, args);
  if (!kernel.ok())
    return kernel.status().with_context(str_cat("step '", step.name, "'")).at_node(step.name);
  return kernel;
}

// A tactic may turn out not to take some sizes. The reference does, unless the weights were packed
// for the tactic; that it had to is remembered, for a slow right answer must not pass unseen.
Result<std::unique_ptr<Kernel>> Executor::prepare_or_refuse(size_t index,
                                                            std::span<const TensorView> inputs,
                                                            std::span<const TensorView> outputs) {
  const PlanStep& step = plan_.steps[index];
  Result<std::unique_ptr<Kernel>> kernel = prepare(step, nullptr, inputs, outputs);
  if (kernel.ok()) {
    std::string why = (*kernel)->slow_because();
    if (!why.empty()) refusals_.push_back(str_cat("step '", step.name, "' is slow: ", why));
    return kernel;
  }
  if (kernel.status().code() != StatusCode::kUnsupported || is_on_gpu(step)) return kernel;
  for (int input : step.inputs) {
    if (is_packed(plan_, input)) return kernel;
  }
  refusals_.push_back(
      str_cat("runs on the reference, ", step.tactic, " refuses it: ", kernel.status().message()));
  return std::unique_ptr<Kernel>();
}

}  // namespace redline
