// SPDX-License-Identifier: Apache-2.0
// Runs a plan that nobody vouches for, when it asks for little.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "runtime/executor.h"

namespace redline {

inline constexpr int64_t kMaxElems = 4096;
inline constexpr size_t kMaxSteps = 64;
inline constexpr int64_t kSymbolSize = 2;

inline std::optional<Dims> small_sizes(const PlanValue& value) {
  if (!value.type.is_tensor() || !value.type.shape.has_rank()) return std::nullopt;
  if (value.type.shape.rank() > kMaxRank) return std::nullopt;
  Dims dims;
  for (const Dim& dim : value.type.shape.dims()) {
    Result<int64_t> size = dim.evaluate([](std::string_view) { return kSymbolSize; });
    if (!size.ok()) return std::nullopt;
    dims.push_back(*size);
  }
  std::optional<int64_t> count = checked_count({dims.begin(), dims.size()});
  if (!count || *count > kMaxElems) return std::nullopt;
  return dims;
}

// Sizes that no input has are found on the way, and need not be as small as their symbols.
inline bool has_other_symbols(const PlanValue& value, const std::set<std::string>& known) {
  for (const Dim& dim : value.type.shape.dims()) {
    for (const std::string& symbol : dim.symbols()) {
      if (!known.contains(symbol)) return true;
    }
  }
  return false;
}

// A plan may well ask for much work, and a loop for no end of it.
inline bool is_small(const Plan& plan) {
  if (plan.steps.size() > kMaxSteps) return false;
  for (const PlanValue& value : plan.values) {
    if (!small_sizes(value)) return false;
  }
  std::set<std::string> known;
  for (const NamedValue& input : plan.inputs) {
    for (const Dim& dim : plan.values[static_cast<size_t>(input.value)].type.shape.dims()) {
      for (const std::string& symbol : dim.symbols()) known.insert(symbol);
    }
  }
  // Paddings are numbers of the step, which may be large.
  auto grows = [&](const PlanStep& step) {
    bool pads = step.op->name.find("conv") != std::string::npos ||
                step.op->name.find("pool") != std::string::npos || step.op->name == "col2im";
    return pads && !step.outputs.empty() && step.outputs[0] >= 0 &&
           has_other_symbols(plan.values[static_cast<size_t>(step.outputs[0])], known);
  };
  for (const PlanStep& step : plan.steps) {
    if (step.op->name == "loop" || grows(step)) return false;
    for (const auto& subplan : step.subplans) {
      if (!is_small(*subplan)) return false;
    }
  }
  return true;
}

// Those that are not small are only made ready.
inline Status run_small_plan(const Plan& plan, const TacticRegistry& tactics, ThreadPool& pool) {
  REDLINE_ASSIGN(std::unique_ptr<Executor> executor, Executor::create(plan, tactics, pool));
  if (!is_small(plan)) return {};
  std::vector<HostValue> inputs;
  for (const NamedValue& input : plan.inputs) {
    const PlanValue& value = plan.values[static_cast<size_t>(input.value)];
    REDLINE_ASSIGN(Tensor zeros, Tensor::create(value.type.dtype, *small_sizes(value)));
    inputs.push_back(HostValue::of(std::move(zeros)));
  }
  return executor->run(inputs);
}

}  // namespace redline
