// SPDX-License-Identifier: Apache-2.0
#include "runtime/executor.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "ops/elements.h"
#include "ops/told_sizes.h"
#include "runtime/check_plan.h"

namespace redline {
namespace {

constexpr size_t kMaxShapeStates = 16;
// Of all values at once; sums of this many do not overflow.
constexpr uint64_t kMaxActivationBytes = uint64_t{1} << 46;
// Of symbols for what only values tell; a plan's own symbols with that beginning have no value.
constexpr std::string_view kFreshSymbol = "\1run";

std::shared_ptr<void> allocate(size_t bytes) {
  void* data = std::aligned_alloc(64, (bytes + 127) / 64 * 64);
  if (data == nullptr) return nullptr;
  return {data, [](void* p) { std::free(p); }};
}

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

struct Executor::DimProgram {
  std::vector<int64_t> code;
};

// What does not change from run to run.
struct Executor::ValueInfo {
  std::vector<DimProgram> dims;
  bool sized = false;  // its sizes follow from the inputs' sizes
  bool is_output = false;
};

struct Executor::StepState {
  std::vector<std::unique_ptr<Executor>> subplans;
  // Of the last run of a step whose sizes are not known beforehand.
  std::unique_ptr<Kernel> kernel;
  std::vector<Dims> kernel_dims;
};

// Everything that is ready for one set of input sizes.
struct Executor::ShapeState {
  struct Step {
    bool dynamic = false;  // sizes are found on the way
    bool told = false;     // by the op's rule, without the values of the run
    bool skip = false;     // nothing to do
    std::unique_ptr<Kernel> kernel;
    std::vector<TensorView> inputs;
    std::vector<TensorView> outputs;
  };
  struct Patch {  // an operand whose address the caller chooses
    size_t step;
    size_t operand;
    int value;
  };
  std::vector<int64_t> symbols;
  std::vector<Dims> dims;  // of each sized value
  Placement placement;
  std::vector<Step> steps;
  std::vector<Patch> patches;
  std::vector<std::shared_ptr<void>> output_buffers;
  size_t workspace = 0;
  const void* arena = nullptr;  // the address the views were made for
};

Executor::Executor(const Plan& plan, const TacticRegistry& tactics, ThreadPool& pool)
    : plan_(plan), tactics_(tactics), pool_(pool) {}
Executor::~Executor() = default;

Result<std::unique_ptr<Executor>> Executor::create(const Plan& plan, const TacticRegistry& tactics,
                                                   ThreadPool& pool) {
  std::unique_ptr<Executor> executor(new Executor(plan, tactics, pool));
  REDLINE_TRY(executor->initialize());
  return executor;
}

Status Executor::initialize() {
  REDLINE_TRY(check_plan(plan_, tactics_));
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
      slots_[v] = HostValue::of(Tensor::wrap(constant.type.dtype, *dims, constant.data.raw(),
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
    // Where a view lies is known when that of what it shows is.
    info.sized =
        value.storage != Storage::kAlias || values_[static_cast<size_t>(value.alias_of)].sized;
    for (const Dim& dim : value.type.shape.dims()) {
      for (const std::string& symbol : dim.symbols()) info.sized &= index_of(symbol) >= 0;
      if (dim.is_invalid()) info.sized = false;
      info.dims.push_back({dim.compile(index_of)});
    }
    // A view of what only the run places is placed by it too.
    if (value.storage == Storage::kAlias) {
      info.sized &= values_[static_cast<size_t>(value.alias_of)].sized;
    }
  }
  for (const NamedValue& output : plan_.outputs) {
    values_[static_cast<size_t>(output.value)].is_output = true;
  }
  steps_.resize(plan_.steps.size());
  for (size_t i = 0; i < plan_.steps.size(); ++i) {
    for (const auto& subplan : plan_.steps[i].subplans) {
      REDLINE_ASSIGN(auto executor, Executor::create(*subplan, tactics_, pool_));
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

Result<Executor::ShapeState*> Executor::find_shape_state() {
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i]->symbols != symbol_values_) continue;
    if (i > 0)
      std::rotate(states_.begin(), states_.begin() + static_cast<ptrdiff_t>(i),
                  states_.begin() + static_cast<ptrdiff_t>(i) + 1);
    return states_[0].get();
  }
  auto state = std::make_unique<ShapeState>();
  state->symbols = symbol_values_;
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
  for (size_t v = 0; v < count; ++v) {
    if (!values_[v].is_output || !values_[v].sized || plan_.values[v].storage != Storage::kArena)
      continue;
    size_t bytes =
        static_cast<size_t>(state.dims[v].count()) * dtype_bytes(plan_.values[v].type.dtype);
    state.output_buffers[v] = allocate(bytes);
    if (!state.output_buffers[v]) return out_of_memory("no memory for output of ", bytes, " bytes");
  }
  return {};
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
    ready.dynamic = !step.subplans.empty() || (!ready.told && step.tactic.empty()) ||
                    std::any_of(step.inputs.begin(), step.inputs.end(), unsized) ||
                    std::any_of(step.outputs.begin(), step.outputs.end(), unsized);
    dynamic.push_back(ready.dynamic);
  }
  return plan_placement({plan_, state.dims, sized, output, std::move(dynamic)});
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
      inputs[i].constant = &slots_[v].tensor;
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

// Gives each sized value its address and each step its views, and prepares the kernels that are not
// yet.
Status Executor::place_values(ShapeState& state) {
  if (state.placement.memory.peak > arena_capacity_ || arena_ == nullptr) {
    arena_ = allocate(state.placement.memory.peak);
    if (!arena_)
      return out_of_memory("no memory for ", state.placement.memory.peak, " bytes of activations");
    arena_capacity_ = state.placement.memory.peak;
  }
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
        data = static_cast<char*>(arena_.get()) +
               state.placement.memory.offsets[static_cast<size_t>(item)];
      }
      slots_[v] = HostValue::of(Tensor::wrap(value.type.dtype, state.dims[v], data, nullptr));
    }
  }
  auto view_of = [&](int value) {
    return value < 0 ? TensorView() : slots_[static_cast<size_t>(value)].tensor.view();
  };
  auto from_input = [&](int value) {
    if (value < 0) return false;
    auto root = static_cast<size_t>(state.placement.root[static_cast<size_t>(value)]);
    return plan_.values[root].storage == Storage::kInput;
  };
  state.patches.clear();
  state.workspace = 0;
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    const PlanStep& step = plan_.steps[s];
    ShapeState::Step& ready = state.steps[s];
    ready.skip = state.placement.elided[s];
    if (ready.dynamic || ready.skip) continue;
    ready.inputs.clear();
    ready.outputs.clear();
    for (size_t i = 0; i < step.inputs.size(); ++i) {
      ready.inputs.push_back(view_of(step.inputs[i]));
      if (from_input(step.inputs[i])) state.patches.push_back({s, i, step.inputs[i]});
    }
    for (int output : step.outputs) ready.outputs.push_back(view_of(output));
    // Nothing to compute: kernels need not care for empty outputs.
    ready.skip = std::all_of(ready.outputs.begin(), ready.outputs.end(),
                             [](const TensorView& view) { return view.count() == 0; });
    if (ready.skip) continue;
    if (!step.tactic.empty() && ready.kernel == nullptr) {
      REDLINE_ASSIGN(ready.kernel, prepare_or_refuse(s, ready.inputs, ready.outputs));
      ready.dynamic = ready.kernel == nullptr && !ready.told;
    }
    if (ready.kernel) state.workspace = std::max(state.workspace, ready.kernel->workspace_bytes());
  }
  state.arena = arena_.get();
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
  workspace_ = allocate(bytes);
  if (!workspace_) return out_of_memory("no memory for a workspace of ", bytes, " bytes");
  workspace_capacity_ = bytes;
  return {};
}

Result<std::unique_ptr<Kernel>> Executor::prepare(const PlanStep& step,
                                                  std::span<const TensorView> inputs,
                                                  std::span<const TensorView> outputs) const {
  const Tactic* tactic = tactics_.find(step.tactic);
  // Whoever built the engine asked; whoever wrote the file may not have. Not sooner: tactics count
  // on what the op's rule has checked.
  Status supported = tactic->supports(problem_of(plan_, step));
  if (!supported.ok()) {
    return supported.with_context(str_cat("step '", step.name, "'")).at_node(step.name);
  }
  Problem problem;
  problem.op = step.op;
  problem.attrs = step.attrs;
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    OperandDesc operand;
    operand.present = step.inputs[i] >= 0;
    if (operand.present) {
      auto v = static_cast<size_t>(step.inputs[i]);
      operand.dtype = inputs[i].dtype;
      operand.dims = inputs[i].dims;
      const PlanValue& value = plan_.values[v];
      if (value.storage == Storage::kConstant) {
        const PlanConstant& constant = *plan_.constants[static_cast<size_t>(value.constant)];
        if (constant.recipe.empty()) {
          operand.constant = &slots_[v].tensor;
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
  Result<std::unique_ptr<Kernel>> kernel = tactic->prepare(problem, step.config, {&pool_});
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
  Result<std::unique_ptr<Kernel>> kernel = prepare(step, inputs, outputs);
  if (kernel.ok()) {
    std::string why = (*kernel)->slow_because();
    if (!why.empty()) refusals_.push_back(str_cat("step '", step.name, "' is slow: ", why));
    return kernel;
  }
  if (kernel.status().code() != StatusCode::kUnsupported) return kernel;
  for (int input : step.inputs) {
    if (input < 0 || plan_.values[static_cast<size_t>(input)].storage != Storage::kConstant)
      continue;
    int constant = plan_.values[static_cast<size_t>(input)].constant;
    if (!plan_.constants[static_cast<size_t>(constant)]->recipe.empty()) return kernel;
  }
  refusals_.push_back(
      str_cat("runs on the reference, ", step.tactic, " refuses it: ", kernel.status().message()));
  return std::unique_ptr<Kernel>();
}

Status Executor::run(std::span<const HostValue> inputs) {
  REDLINE_TRY(bind_inputs(inputs));
  REDLINE_ASSIGN(ShapeState * state, find_shape_state());
  if (state != current_ || state->arena == nullptr || state->arena != arena_.get()) {
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
  for (size_t s = 0; s < plan_.steps.size(); ++s) {
    if (state->steps[s].skip) continue;
    if (observer_) observer_->before_step(s, plan_.steps[s]);
    Status status = run_step(*state, s);
    if (!status.ok()) {
      const std::string& name = plan_.steps[s].name;
      return status.with_context(str_cat("step '", name, "'")).at_node(name);
    }
    if (observer_) {
      std::vector<const HostValue*> outputs;
      for (int value : plan_.steps[s].outputs) {
        outputs.push_back(value < 0 ? nullptr : &slots_[static_cast<size_t>(value)]);
      }
      observer_->after_step(s, plan_.steps[s], outputs);
    }
  }
  return {};
}

Status Executor::run_step(ShapeState& state, size_t index) {
  ShapeState::Step& ready = state.steps[index];
  if (ready.dynamic) {
    REDLINE_TRY(run_dynamic_step(state, index));
    note_sizes(index);
    return {};
  }
  if (ready.kernel == nullptr) return run_reference_step(index, ready.outputs);
  return ready.kernel->run({ready.inputs, ready.outputs, workspace_.get(), &pool_});
}

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
      if (types[i].is_tensor()) infer_inputs[i].constant = &value.tensor;
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
      if (step.tactic == "view") {
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
  if (step.tactic == "view") {
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

const HostValue& Executor::output(size_t i) const {
  return slots_[static_cast<size_t>(plan_.outputs[i].value)];
}

size_t Executor::arena_bytes() const { return current_ ? current_->placement.memory.peak : 0; }
size_t Executor::arena_lower_bound() const {
  return current_ ? current_->placement.memory.lower_bound : 0;
}

}  // namespace redline
