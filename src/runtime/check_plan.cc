// SPDX-License-Identifier: Apache-2.0
#include "runtime/check_plan.h"

#include <algorithm>

#include "plan/control_step.h"

namespace redline {
namespace {

Status refuse(const PlanStep& step, std::string_view what) {
  return invalid_argument("engine is damaged: step '", step.name, "' ", what, "; build it again");
}

// Only a tactic that packs constants can tell whether the bytes are as many as it reads.
Status check_operands(const Plan& plan, const PlanStep& step, const Tactic* tactic) {
  bool packs = tactic != nullptr && tactic->pack != nullptr;
  for (int input : step.inputs) {
    if (is_packed(plan, input) && !packs) return refuse(step, "reads weights packed for another");
  }
  for (const std::vector<int>& captures : step.captures) {
    for (int value : captures) {
      if (is_packed(plan, value)) return refuse(step, "hands packed weights to a subgraph");
    }
  }
  return {};
}

// A kernel that reads the other side's memory ends the process, or the GPU's work for it.
Status check_spaces(const Plan& plan, const PlanStep& step, const Tactic* tactic) {
  auto space_of = [&](int value) { return plan.values[static_cast<size_t>(value)].space; };
  bool on_gpu = tactic != nullptr && tactic->device == "cuda";
  Space reads = on_gpu || step.tactic == kDownloadTactic ? Space::kDevice : Space::kHost;
  Space writes = on_gpu || step.tactic == kUploadTactic ? Space::kDevice : Space::kHost;
  if (step.tactic == kViewTactic) reads = writes = space_of(step.inputs[0]);
  bool control = is_control_step(plan, step);
  for (size_t i = 0; i < step.inputs.size(); ++i) {
    if (step.inputs[i] < 0 || (control && i >= kFirstState)) continue;
    // The rest only tells a view's sizes.
    if (step.tactic == kViewTactic && i > 0) continue;
    if (step.op->has(kTraitReadsSizes) && reads == Space::kHost) continue;
    if (space_of(step.inputs[i]) != reads) return refuse(step, "reads a value of the other side");
  }
  for (size_t i = 0; i < step.outputs.size(); ++i) {
    if (control && (num_states(step) == 0 || i < num_states(step))) continue;
    if (space_of(step.outputs[i]) != writes) return refuse(step, "makes a value of the other side");
  }
  for (const std::vector<int>& captures : step.captures) {
    for (int value : captures) {
      if (!control && space_of(value) != Space::kHost)
        return refuse(step, "hands on a value of the GPU");
    }
  }
  return {};
}

Status check_values(const Plan& plan) {
  for (const PlanValue& value : plan.values) {
    if (value.storage == Storage::kAlias &&
        plan.values[static_cast<size_t>(value.alias_of)].space != value.space) {
      return invalid_argument("engine is damaged: value '", value.name,
                              "' shows one of the other side; build it again");
    }
    if (value.storage != Storage::kConstant) continue;
    if (value.constant < 0) {
      return invalid_argument("engine is damaged: constant '", value.name,
                              "' is missing; build it again");
    }
    const PlanConstant& constant = *plan.constants[static_cast<size_t>(value.constant)];
    std::optional<Dims> dims = value.type.is_tensor() ? value.type.shape.as_static() : std::nullopt;
    bool same =
        dims && dims == constant.type.shape.as_static() && value.type.dtype == constant.type.dtype;
    if (same) continue;
    return invalid_argument("engine is damaged: constant '", value.name, "' is ",
                            constant.type.to_string(), ", not ", value.type.to_string(),
                            "; build it again");
  }
  return {};
}

OperandDesc operand_of(const Plan& plan, int value) {
  OperandDesc operand;
  operand.present = value >= 0;
  if (!operand.present) return operand;
  const Type& type = plan.values[static_cast<size_t>(value)].type;
  operand.dtype = type.dtype;
  operand.is_tensor = type.is_tensor();
  operand.has_rank = operand.is_tensor && type.shape.has_rank() && type.shape.rank() <= kMaxRank;
  for (int i = 0; operand.has_rank && i < type.shape.rank(); ++i) {
    operand.dims.push_back(type.shape[i].as_const().value_or(kDynamicDim));
  }
  if (const PlanConstant* constant = constant_of(plan, value)) {
    (constant->recipe.empty() ? operand.constant : operand.packed) = &constant->data;
  }
  return operand;
}

// A variant is what the step is, but for its tactic and how constants are packed.
Status check_variant(const Plan& plan, const PlanStep& step, const Tactic* tactic,
                     const PlanVariant& variant, const TacticRegistry& tactics) {
  const Tactic* own = tactics.find(variant.tactic);
  if (own == nullptr) {
    return incompatible("a variant of step '", step.name, "' was built with tactic '",
                        variant.tactic,
                        "', which this build of Redline lacks; build the engine again");
  }
  bool same = tactic != nullptr && own->device == tactic->device &&
              std::find(own->ops.begin(), own->ops.end(), step.op->name) != own->ops.end() &&
              variant.inputs.size() == step.inputs.size();
  for (size_t i = 0; same && i < step.inputs.size(); ++i) {
    const PlanConstant* constant = constant_of(plan, variant.inputs[i]);
    if (constant != nullptr && !constant->recipe.empty()) same = own->pack != nullptr;
    if (!same || variant.inputs[i] == step.inputs[i]) continue;
    const PlanConstant* of_step = constant_of(plan, step.inputs[i]);
    same = constant != nullptr && of_step != nullptr && constant->type == of_step->type;
    if (!same) break;
    const PlanValue& value = plan.values[static_cast<size_t>(variant.inputs[i])];
    const PlanValue& step_value = plan.values[static_cast<size_t>(step.inputs[i])];
    same = value.space == step_value.space && value.type == step_value.type;
  }
  return same ? Status() : refuse(step, "has a variant that does not fit it");
}

}  // namespace

Problem problem_of(const Plan& plan, const PlanStep& step, std::span<const int> inputs) {
  Problem problem;
  problem.op = step.op;
  problem.attrs = step.attrs;
  problem.has_subgraphs = !step.subplans.empty();
  auto add = [&](int value, std::vector<OperandDesc>& operands, std::vector<const Type*>& types) {
    operands.push_back(operand_of(plan, value));
    types.push_back(value < 0 ? nullptr : &plan.values[static_cast<size_t>(value)].type);
  };
  std::vector<const Type*> input_types;
  std::vector<const Type*> output_types;
  for (int value : inputs) add(value, problem.inputs, input_types);
  for (int value : step.outputs) add(value, problem.outputs, output_types);
  note_like_output(problem, input_types, output_types);
  return problem;
}

Status check_plan(const Plan& plan, const TacticRegistry& tactics, bool has_gpu) {
  REDLINE_TRY(check_values(plan));
  for (const PlanStep& step : plan.steps) {
    if (step.stream < 0 || step.stream >= PlanStep::kMostStreams) {
      return refuse(step, str_cat("is on stream ", step.stream));
    }
    bool view = step.tactic == kViewTactic;
    bool copy = step.is_copy();
    if (view && !step.op->has(kTraitView)) return refuse(step, "is no view");
    if (copy && (step.op->name != "identity" || step.inputs.size() != 1 || step.inputs[0] < 0)) {
      return refuse(step, "is no copy");
    }
    if (copy && step.kernels.size() > 1) return refuse(step, "is a copy with several kernels");
    const Tactic* tactic = nullptr;
    if (!step.tactic.empty() && !view && !copy) {
      tactic = tactics.find(step.tactic);
      if (tactic == nullptr) {
        return incompatible("step '", step.name, "' was built with tactic '", step.tactic,
                            "', which this build of Redline lacks; build the engine again");
      }
      const std::vector<std::string>& ops = tactic->ops;
      if (std::find(ops.begin(), ops.end(), step.op->name) == ops.end()) {
        return refuse(step,
                      str_cat("has tactic ", step.tactic, ", which does not take ", step.op->name));
      }
    }
    REDLINE_TRY(check_operands(plan, step, tactic));
    REDLINE_TRY(check_spaces(plan, step, tactic));
    for (const PlanVariant& variant : step.variants) {
      REDLINE_TRY(check_variant(plan, step, tactic, variant, tactics));
    }
  }
  for (const PlanValue& value : plan.values) {
    if (value.space == Space::kHost) continue;
    if (!has_gpu) return incompatible("the engine needs a GPU, and none was given");
    bool sized = value.type.is_tensor() && value.type.dtype != DType::kString;
    if (sized && value.storage != Storage::kInput) continue;
    return invalid_argument("engine is damaged: value '", value.name,
                            "' cannot be on a GPU; build it again");
  }
  for (const NamedValue& output : plan.outputs) {
    if (plan.values[static_cast<size_t>(output.value)].space != Space::kHost) {
      return invalid_argument("engine is damaged: output '", output.name,
                              "' is on a GPU; build it again");
    }
    if (!is_packed(plan, output.value)) continue;
    return invalid_argument("engine is damaged: output '", output.name,
                            "' is packed weights; build it again");
  }
  return {};
}

Status check_result(const PlanStep& step, const PlanValue& declared, const Type& inferred,
                    const Dims* dims) {
  // What an optional holds may stand for it.
  if (declared.type.kind == Type::Kind::kOptional) return {};
  bool same = declared.type.kind == inferred.kind;
  if (same && inferred.is_tensor()) same = declared.type.dtype == inferred.dtype;
  if (same && inferred.is_tensor() && inferred.shape.has_rank() && declared.type.shape.has_rank()) {
    same = inferred.shape.rank() == declared.type.shape.rank();
  }
  if (same && inferred.is_tensor() && inferred.shape.has_rank() && dims != nullptr) {
    same = inferred.shape.rank() == dims->rank();
    for (int i = 0; same && i < dims->rank(); ++i) {
      std::optional<int64_t> size = inferred.shape[i].as_const();
      same = !size || *size == (*dims)[static_cast<size_t>(i)];
    }
  }
  if (same) return {};
  return invalid_argument("step '", step.name, "': output '", declared.name, "' comes out as ",
                          inferred.to_string(), ", the model declares ", declared.type.to_string(),
                          dims != nullptr ? str_cat(", here ", dims->to_string()) : "");
}

Status check_made(const PlanValue& declared, const HostValue& value) {
  if (declared.type.kind == Type::Kind::kOptional) return {};
  bool same = declared.type.is_tensor()
                  ? value.kind == HostValue::Kind::kTensor && value.tensor.defined() &&
                        value.tensor.dtype() == declared.type.dtype
                  : value.kind == HostValue::Kind::kSequence;
  if (same) return {};
  return invalid_argument("output '", declared.name, "' did not come out as ",
                          declared.type.to_string());
}

}  // namespace redline
