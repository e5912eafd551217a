// SPDX-License-Identifier: Apache-2.0
#include "build/choose_tactics.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "build/insert_copies.h"
#include "build/shape_arithmetic.h"
#include "ops/fused.h"
#include "tactics/cuda/small_copies.h"

namespace redline {
namespace {

OperandDesc describe(const Type& type, const Tensor* constant) {
  OperandDesc operand;
  operand.is_tensor = type.is_tensor();
  if (!operand.is_tensor) return operand;
  operand.constant = constant;
  operand.dtype = type.dtype;
  const Shape& shape = type.shape;
  operand.has_rank = shape.has_rank() && shape.rank() <= kMaxRank;
  if (operand.has_rank) {
    for (const Dim& dim : shape.dims())
      operand.dims.push_back(dim.as_const().value_or(kDynamicDim));
  }
  return operand;
}

OperandDesc describe(const Plan& plan, int index) {
  if (index < 0) {
    OperandDesc absent;
    absent.present = false;
    return absent;
  }
  const PlanValue& value = plan.values[static_cast<size_t>(index)];
  bool constant = value.storage == Storage::kConstant;
  return describe(value.type,
                  constant ? &plan.constants[static_cast<size_t>(value.constant)]->data : nullptr);
}

// Sizes to optimise for, by symbol of the model's inputs: what the caller said; else 1 for the
// first axis and for what is called a batch, 224 for the axes of an image, 128 for a text or
// series.
using Sizes = std::map<std::string, int64_t, std::less<>>;

int64_t likely_size(const std::string& symbol, int axis, int rank) {
  if (axis == 0 || symbol.find("batch") != std::string::npos) return 1;
  return rank == 4 ? 224 : 128;
}

Sizes likely_sizes(const Plan& plan, const BuildOptions::SymbolValues& values) {
  Sizes sizes(values.begin(), values.end());
  for (const NamedValue& input : plan.inputs) {
    const Type& type = plan.values[static_cast<size_t>(input.value)].type;
    if (!type.is_tensor() || !type.shape.has_rank()) continue;
    int rank = type.shape.rank();
    for (int axis = 0; axis < rank; ++axis) {
      for (const std::string& symbol : type.shape[axis].symbols()) {
        sizes.emplace(symbol, likely_size(symbol, axis, rank));
      }
    }
  }
  return sizes;
}

// Fills in what `describe` left open, as far as the sizes tell it.
void make_concrete(const Type& type, const Sizes& sizes, OperandDesc& operand) {
  if (!operand.present || !operand.is_tensor || !operand.has_rank) return;
  for (size_t i = 0; i < operand.dims.size(); ++i) {
    if (operand.dims[i] != kDynamicDim) continue;
    Result<int64_t> size = type.shape[static_cast<int>(i)].evaluate(
        [&](std::string_view symbol) -> std::optional<int64_t> {
          auto it = sizes.find(symbol);
          return it == sizes.end() ? std::nullopt : std::optional(it->second);
        });
    if (size.ok() && *size >= 0) operand.dims[i] = *size;
  }
}

Problem concrete(const Plan& plan, const PlanStep& step, const Sizes& sizes, Problem problem) {
  auto fill = [&](const std::vector<int>& values, std::vector<OperandDesc>& operands) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] < 0) continue;
      make_concrete(plan.values[static_cast<size_t>(values[i])].type, sizes, operands[i]);
    }
  };
  fill(step.inputs, problem.inputs);
  fill(step.outputs, problem.outputs);
  return problem;
}

Problem describe(const Plan& plan, const PlanStep& step) {
  Problem problem;
  problem.op = step.op;
  problem.attrs = step.attrs;
  problem.has_subgraphs = !step.subplans.empty();
  auto add = [&](int value, std::vector<OperandDesc>& operands, std::vector<const Type*>& types) {
    operands.push_back(describe(plan, value));
    types.push_back(value < 0 ? nullptr : &plan.values[static_cast<size_t>(value)].type);
  };
  std::vector<const Type*> input_types;
  std::vector<const Type*> output_types;
  for (int input : step.inputs) add(input, problem.inputs, input_types);
  for (int output : step.outputs) add(output, problem.outputs, output_types);
  note_like_output(problem, input_types, output_types);
  return problem;
}

// The step reads the packed form from now on; other readers of the constant keep the old one.
void use_packed(Plan& plan, PlanStep& step, PackedOperand packed) {
  auto old = static_cast<size_t>(step.inputs[packed.input]);
  auto constant = std::make_shared<PlanConstant>();
  constant->data = std::move(packed.bytes);
  constant->type = plan.values[old].type;
  constant->recipe = std::move(packed.recipe);
  constant->name = plan.values[old].name;
  PlanValue value = plan.values[old];
  value.constant = static_cast<int>(plan.constants.size());
  plan.constants.push_back(std::move(constant));
  step.inputs[packed.input] = static_cast<int>(plan.values.size());
  plan.values.push_back(std::move(value));
}

// What a step is asked to do: as it stands in the engine, and with the sizes to optimise for.
struct Asked {
  Problem problem;
  Problem sized;
};

Asked ask(const Plan& plan, const PlanStep& step, const Sizes& sizes) {
  Problem problem = describe(plan, step);
  Problem sized = concrete(plan, step, sizes, problem);
  return {std::move(problem), std::move(sized)};
}

// A size that only the run tells is taken for this where kernels are ranked.
constexpr int64_t kAssumedSize = 32;

void assume_sizes(Problem& problem) {
  for (auto* operands : {&problem.inputs, &problem.outputs}) {
    for (OperandDesc& operand : *operands) {
      for (int64_t& dim : operand.dims) dim = dim == kDynamicDim ? kAssumedSize : dim;
    }
  }
}

// True when a tactic was found and taken; else `reason` says why not.
Result<bool> choose_on(DeviceTuner& device, Plan& plan, PlanStep& step, const Asked& asked,
                       const BuildOptions& options, std::string& reason,
                       std::vector<Tuner::Way>* ways = nullptr, Tuner::Choice* taken = nullptr) {
  Stages::Span stage(options.stages, "choose/decide");
  Tuner::Choice choice = device.tuner.choose(
      asked.problem, asked.sized, ways != nullptr ? *ways : std::span<const Tuner::Way>());
  stage.end();
  if (choice.tactic == nullptr) {
    reason = choice.reason;
    return false;
  }
  if (ways != nullptr) {
    ways->push_back({std::string(choice.tactic->name), choice.config, choice.us, choice.error});
  }
  Status status = take_way(device, plan, step, asked.problem, asked.sized, *choice.tactic,
                           choice.config, options);
  if (status.code() == StatusCode::kUnsupported) {
    reason = str_cat(choice.tactic->name, " cannot pack: ", status.message());
    options.logger.warning("step '", step.name, "' does without ", choice.tactic->name,
                           ", which cannot pack for ", asked.sized.to_string(), ": ",
                           status.message());
    return false;
  }
  REDLINE_TRY(status);
  step.us = choice.us;
  step.error = choice.error;
  if (taken != nullptr) *taken = std::move(choice);
  return true;
}

// Of the first output; 0 when they are too many to count.
int64_t count_elements(const Problem& sized) {
  if (sized.outputs.empty()) return 0;
  double count = 1;
  for (int64_t dim : sized.outputs[0].dims) count *= static_cast<double>(dim);
  return count < 1e18 ? static_cast<int64_t>(count) : 0;
}

bool is_same(const PlanConstant& a, const PlanConstant& b) {
  return a.recipe == b.recipe && a.type == b.type && a.data.bytes() == b.data.bytes() &&
         std::memcmp(a.data.raw(), b.data.raw(), a.data.bytes()) == 0;
}

// Constants of `inputs` that `known` has too become those.
void share_constants(const Plan& plan, const std::vector<int>& known, std::vector<int>& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == known[i] || inputs[i] < 0) continue;
    const PlanConstant* theirs = constant_of(plan, inputs[i]);
    if (theirs != nullptr && is_same(*constant_of(plan, known[i]), *theirs)) inputs[i] = known[i];
  }
}

// Variants that all do what the step does anyway are none.
void drop_like_own(PlanStep& step) {
  bool all_same = std::all_of(step.variants.begin(), step.variants.end(), [&](const auto& variant) {
    return variant.tactic == step.tactic &&
           config_to_string(variant.config) == config_to_string(step.config);
  });
  if (all_same) step.variants.clear();
}

// What would be chosen for other sizes: also where that is what the step does anyway, since
// another variant may be nearer to them.
Status add_variant(DeviceTuner& gpu, Plan& plan, PlanStep& step, const std::vector<int>& unpacked,
                   const Asked& other, const BuildOptions& options, std::vector<Tuner::Way>& ways) {
  PlanVariant variant;
  variant.elements = count_elements(other.sized);
  if (variant.elements == step.elements) return {};
  for (const PlanVariant& known : step.variants) {
    if (known.elements == variant.elements) return {};
  }
  PlanStep chosen;
  chosen.op = step.op;
  chosen.attrs = step.attrs;
  chosen.inputs = unpacked;
  chosen.outputs = step.outputs;
  chosen.name = step.name;
  std::string ignored;
  REDLINE_ASSIGN(bool taken, choose_on(gpu, plan, chosen, other, options, ignored, &ways));
  if (!taken) return {};
  share_constants(plan, step.inputs, chosen.inputs);
  for (const PlanVariant& known : step.variants) share_constants(plan, known.inputs, chosen.inputs);
  variant.tactic = std::move(chosen.tactic);
  variant.config = std::move(chosen.config);
  variant.kernels = std::move(chosen.kernels);
  variant.inputs = std::move(chosen.inputs);
  step.variants.push_back(std::move(variant));
  return {};
}

bool has_choice(const PlanStep& step) {
  return step.tactic != kViewTactic && step.subplans.empty();
}

// Why a step is the host's whatever tactics there are, or empty. What decides on subgraphs is, but
// says so only where their operands are no tensors: what is in them is asked for itself.
std::string_view why_not_on_gpu(const Plan& plan, const PlanStep& step) {
  for (const auto* values : {&step.inputs, &step.outputs}) {
    for (int v : *values) {
      if (v < 0) continue;
      const Type& type = plan.values[static_cast<size_t>(v)].type;
      if (!type.is_tensor()) return "it works on sequences or optionals";
      if (type.dtype == DType::kString) return "it works on strings";
      if (!step.subplans.empty()) continue;
      bool ranked = type.shape.has_rank() && type.shape.rank() <= kMaxRank;
      if (!ranked) return "the rank of an operand is known only when it runs";
    }
  }
  return {};
}

// The kernels that the tuner will want to try of all steps, in the order in which it will.
struct KernelsToTry {
  std::vector<cuda::KernelSource> sources;
  std::vector<size_t> needed;  // places of those that a build without any time wants
};

KernelsToTry kernels_to_try(const Plan& plan, const std::vector<bool>& for_host, const Sizes& sizes,
                            const std::vector<Sizes>& further, DeviceTuner& gpu,
                            const BuildOptions& options) {
  Stages::Span stage(options.stages, "choose/write");
  std::vector<Asked> problems;
  std::vector<bool> is_likely;
  std::set<std::string> seen;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const PlanStep& step = plan.steps[i];
    if (!has_choice(step) || for_host[i] || !why_not_on_gpu(plan, step).empty()) continue;
    auto add = [&](const Sizes& at, bool likely) {
      Asked asked = ask(plan, step, at);
      assume_sizes(asked.sized);
      std::string name = asked.problem.to_string() + "\n" + asked.sized.to_string();
      if (!seen.insert(std::move(name)).second) return;
      problems.push_back(std::move(asked));
      is_likely.push_back(likely);
    };
    add(sizes, true);
    for (const Sizes& other : further) add(other, false);
  }
  gpu.tuner.expect_problems(
      static_cast<size_t>(std::count(is_likely.begin(), is_likely.end(), true)));
  KernelsToTry all;
  for (size_t i = 0; i < problems.size(); ++i) {
    const Asked& asked = problems[i];
    bool is_first = is_likely[i];
    for (cuda::KernelSource& source : gpu.tuner.kernels_to_try(asked.problem, asked.sized)) {
      if (std::exchange(is_first, false)) all.needed.push_back(all.sources.size());
      all.sources.push_back(std::move(source));
    }
  }
  all.needed.push_back(all.sources.size());
  all.sources.push_back(SmallCopies::source(*gpu.args.gpu));
  return all;
}

}  // namespace

// Constants that no step reads any more are dropped, and the rest renumbered.
void drop_unread_constants(Plan& plan) {
  std::vector<bool> read(plan.values.size());
  auto for_each_index = [&](auto&& fn) {
    for (PlanStep& step : plan.steps) {
      for (int& input : step.inputs) fn(input);
      for (int& output : step.outputs) fn(output);
      for (PlanVariant& variant : step.variants) {
        for (int& input : variant.inputs) fn(input);
      }
      for (auto& captures : step.captures) {
        for (int& value : captures) fn(value);
      }
    }
    for (NamedValue& input : plan.inputs) fn(input.value);
    for (NamedValue& output : plan.outputs) fn(output.value);
    for (PlanValue& value : plan.values) fn(value.alias_of);
  };
  for_each_index([&](int value) {
    if (value >= 0) read[static_cast<size_t>(value)] = true;
  });
  std::vector<PlanValue> values;
  std::vector<int> new_index(plan.values.size(), -1);
  std::vector<std::shared_ptr<const PlanConstant>> kept;
  std::map<const PlanConstant*, int> constant_index;
  for (size_t v = 0; v < plan.values.size(); ++v) {
    PlanValue& value = plan.values[v];
    if (value.storage == Storage::kConstant) {
      if (!read[v]) continue;
      const auto& constant = plan.constants[static_cast<size_t>(value.constant)];
      auto [it, inserted] = constant_index.emplace(constant.get(), static_cast<int>(kept.size()));
      if (inserted) kept.push_back(constant);
      value.constant = it->second;
    }
    new_index[v] = static_cast<int>(values.size());
    values.push_back(value);
  }
  for_each_index([&](int& value) {
    if (value >= 0) value = new_index[static_cast<size_t>(value)];
  });
  for (size_t v = 0; v < plan.values.size(); ++v) {
    if (new_index[v] < 0) continue;
    values[static_cast<size_t>(new_index[v])].alias_of = plan.values[v].alias_of;
  }
  plan.values = std::move(values);
  plan.constants = std::move(kept);
}

Status take_way(DeviceTuner& device, Plan& plan, PlanStep& step, const Problem& asked,
                const Problem& sized, const Tactic& tactic, Config config,
                const BuildOptions& options) {
  Stages::Span pack_stage(options.stages, "choose/pack");
  Result<PackedProblem> packed = pack_for(tactic, config, sized, device.args);
  if (!packed.ok()) return unsupported(packed.status().message());
  pack_stage.end();
  if (tactic.kernels != nullptr) {
    Stages::Span kernel_stage(options.stages, "choose/kernels");
    Problem written = with_packed(asked, packed->operands);
    REDLINE_ASSIGN(auto kernels, compile_kernels(tactic, config, written, device.args));
    step.kernels.clear();
    for (const auto& kernel : kernels) {
      auto& kept = device.kernels[kernel.get()];
      if (kept == nullptr) kept = keep_kernel(kernel);
      step.kernels.push_back(kept);
    }
  }
  for (PackedOperand& operand : packed->operands) use_packed(plan, step, std::move(operand));
  step.tactic = tactic.name;
  step.config = std::move(config);
  return {};
}

std::optional<std::vector<Dims>> input_sizes(const Plan& plan,
                                             const BuildOptions::SymbolValues& values) {
  std::vector<Type> types = types_in_sizes(plan, values);
  std::vector<Dims> all;
  for (const NamedValue& input : plan.inputs) {
    const Type& type = types[static_cast<size_t>(input.value)];
    std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
    if (!dims) return std::nullopt;
    all.push_back(*dims);
  }
  return all;
}

std::vector<Type> types_in_sizes(const Plan& plan, const BuildOptions::SymbolValues& values) {
  Sizes sizes = likely_sizes(plan, values);
  std::vector<Type> types;
  for (const PlanValue& value : plan.values) {
    types.push_back(value.type);
    OperandDesc operand = describe(value.type, nullptr);
    make_concrete(value.type, sizes, operand);
    if (!operand.is_tensor || !operand.is_static()) continue;
    types.back() = Type::tensor(value.type.dtype, Shape::of(operand.dims));
  }
  return types;
}

std::shared_ptr<const PlanKernel> keep_kernel(
    const std::shared_ptr<const cuda::CompiledKernel>& from) {
  auto kernel = std::make_shared<PlanKernel>();
  kernel->entry = from->entry;
  kernel->cubin = Tensor::wrap(DType::kUInt8, Dims{static_cast<int64_t>(from->cubin.size())},
                               from->cubin.data(), from);
  kernel->registers = from->registers;
  kernel->shared_bytes = from->static_shared_bytes;
  kernel->dynamic_shared_bytes = from->dynamic_shared_bytes;
  kernel->spill_bytes = from->spill_bytes;
  kernel->threads = from->threads;
  return kernel;
}

bool has_kernel(const RegionDraft& region, const OpDef& fused, const TacticRegistry& tactics,
                const BuildOptions& options) {
  Problem problem;
  problem.op = &fused;
  problem.attrs = Attrs::of(FusedAttrs{region.body});
  std::vector<const Type*> types;
  for (const Value* input : region.inputs) {
    problem.inputs.push_back(
        describe(input->type, input->is_constant() ? &input->constant : nullptr));
    types.push_back(&input->type);
  }
  std::vector<const Type*> output_types;
  for (const Value* output : region.outputs) {
    problem.outputs.push_back(describe(output->type, nullptr));
    output_types.push_back(&output->type);
  }
  note_like_output(problem, types, output_types);
  for (const Tactic* tactic : tactics.candidates(options.device, fused.name)) {
    if (tactic->takes(problem).ok()) return true;
  }
  return false;
}

Status choose_tactics(Plan& plan, DeviceTuner& host, DeviceTuner* gpu, const BuildOptions& options,
                      std::vector<HostStep>& host_steps, std::vector<OpenChoice>* open) {
  Sizes sizes = likely_sizes(plan, options.symbol_values);
  std::vector<Sizes> further;
  for (const auto& values : options.further_values) further.push_back(likely_sizes(plan, values));
  std::vector<bool> for_host = shape_arithmetic(plan, sized_values(plan));
  // Compiled on all cores while those that are made are tried: trying them leaves the cores idle.
  std::optional<cuda::KernelCompiler::Ahead> ahead;
  std::vector<size_t> needed;
  if (gpu != nullptr) {
    KernelsToTry all = kernels_to_try(plan, for_host, sizes, further, *gpu, options);
    needed = std::move(all.needed);
    ahead.emplace(*gpu->args.compiler, std::move(all.sources), gpu->args.pool->num_threads());
  }
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    PlanStep& step = plan.steps[i];
    if (!needed.empty() && gpu->tuner.seconds_left() <= 0) {
      ahead->restrict_to(std::exchange(needed, {}));
    }
    REDLINE_TRY(options.progress.report(
        "choose", static_cast<double>(i) / static_cast<double>(plan.steps.size())));
    std::string reason;
    for (const auto& subplan : step.subplans) {
      REDLINE_TRY(choose_tactics(*subplan, host, gpu, options, host_steps));
    }
    if (!step.subplans.empty()) reason = why_not_on_gpu(plan, step);
    bool chosen = step.tactic == kViewTactic || (!step.subplans.empty() && reason.empty());
    if (has_choice(step)) {
      Asked asked = ask(plan, step, sizes);
      if (gpu != nullptr && !for_host[i]) {
        reason = why_not_on_gpu(plan, step);
        Asked on_gpu = asked;
        assume_sizes(on_gpu.sized);
        if (reason.empty()) {
          std::vector<Asked> others;
          for (const Sizes& other : further) others.push_back(ask(plan, step, other));
          std::vector<int> unpacked = step.inputs;
          std::vector<Tuner::Way> ways;
          Tuner::Choice choice;
          Result<bool> taken = choose_on(*gpu, plan, step, on_gpu, options, reason, &ways, &choice);
          if (!taken.ok()) return taken.status().with_context(str_cat("step '", step.name, "'"));
          chosen = *taken;
          if (chosen && open != nullptr && !choice.alternatives.empty()) {
            open->push_back({i, unpacked, asked.problem, on_gpu.sized, ways[0],
                             std::move(choice.alternatives)});
          }
          step.elements = count_elements(on_gpu.sized);
          for (Asked& other : others) {
            if (!chosen) break;
            assume_sizes(other.sized);
            Status added = add_variant(*gpu, plan, step, unpacked, other, options, ways);
            if (!added.ok()) return added.with_context(str_cat("step '", step.name, "'"));
          }
          drop_like_own(step);
        }
      }
      if (!chosen && gpu != nullptr && !for_host[i]) {
        options.logger.verbose("step '", step.name, "': ", reason);
      }
      std::string ignored;
      if (!chosen) {
        Result<bool> taken = choose_on(host, plan, step, asked, options, ignored);
        if (!taken.ok()) return taken.status().with_context(str_cat("step '", step.name, "'"));
      }
    }
    if (gpu != nullptr && !chosen && !for_host[i])
      host_steps.push_back({step.name, step.op->name, reason});
  }
  // Who decides further may take other ways back.
  if (open == nullptr) drop_unread_constants(plan);
  return {};
}

}  // namespace redline
