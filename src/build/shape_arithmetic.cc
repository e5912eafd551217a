// SPDX-License-Identifier: Apache-2.0
#include "build/shape_arithmetic.h"

#include <algorithm>

namespace redline {
namespace {

constexpr int64_t kMostNumbers = 64;

bool is_handful(const Type& type) {
  if (!type.is_tensor() || type.dtype == DType::kString || !type.shape.has_rank()) return false;
  std::optional<Dims> dims = type.shape.as_static();
  return dims && checked_count({dims->begin(), dims->size()}).value_or(INT64_MAX) <= kMostNumbers;
}

}  // namespace

std::vector<bool> shape_arithmetic(const Plan& plan, const std::vector<bool>& sized) {
  std::vector<bool> numbers(plan.values.size());  // made by such steps
  std::vector<bool> result;
  for (const PlanStep& step : plan.steps) {
    bool reads_numbers = false;
    bool reads_others = false;
    bool reads_unknown_size = false;
    for (int input : step.inputs) {
      if (input < 0) continue;
      auto v = static_cast<size_t>(input);
      bool constant = plan.values[v].storage == Storage::kConstant;
      reads_numbers |= numbers[v];
      reads_others |= !constant && !numbers[v];
      reads_unknown_size |= !sized[v];
    }
    bool is = step.op->has(kTraitReadsSizes) ? reads_unknown_size : reads_numbers && !reads_others;
    is = is && step.subplans.empty() &&
         std::all_of(step.outputs.begin(), step.outputs.end(),
                     [&](int v) { return is_handful(plan.values[static_cast<size_t>(v)].type); });
    for (int output : step.outputs) numbers[static_cast<size_t>(output)] = is;
    result.push_back(is);
  }
  return result;
}

}  // namespace redline
