// SPDX-License-Identifier: Apache-2.0
#include "plan/step_order.h"

#include <algorithm>

namespace redline {

void StepOrder::add(std::span<const size_t> makers, int stream) {
  size_t step = stream_.size();
  last_.resize(static_cast<size_t>(streams_), -1);
  stream_.push_back(stream);
  before_.resize(before_.size() + static_cast<size_t>(streams_));
  auto come_after = [&](size_t other) {
    for (int k = 0; k < streams_; ++k) {
      int count = before(other, k) + (k == this->stream(other) ? 1 : 0);
      int& before = before_[index(step, k)];
      before = std::max(before, count);
    }
  };
  for (size_t maker : makers) come_after(maker);
  int& in_front = last_[static_cast<size_t>(stream)];
  if (in_front >= 0) come_after(static_cast<size_t>(in_front));
  in_front = static_cast<int>(step);
}

StepOrder StepOrder::of(const Plan& plan) {
  std::vector<int> streams;
  for (const PlanStep& step : plan.steps) streams.push_back(step.stream);
  return of(plan, streams);
}

StepOrder StepOrder::of(const Plan& plan, std::span<const int> stream_of_step) {
  bool few = stream_of_step.size() <= kMostSteps;
  int last = 0;
  for (int stream : stream_of_step) last = std::max(last, few ? stream : 0);
  StepOrder order(last + 1);
  std::vector<std::vector<size_t>> makers = makers_of_steps(plan);
  for (size_t s = 0; s < makers.size(); ++s) order.add(makers[s], few ? stream_of_step[s] : 0);
  return order;
}

std::vector<std::vector<size_t>> makers_of_steps(const Plan& plan) {
  std::vector<int> maker(plan.values.size(), -1);
  std::vector<std::vector<size_t>> makers;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    std::vector<size_t>& of_step = makers.emplace_back();
    auto read = [&](int value) {
      int by = value < 0 ? -1 : maker[static_cast<size_t>(value)];
      if (by >= 0) of_step.push_back(static_cast<size_t>(by));
    };
    for (int value : plan.steps[s].inputs) read(value);
    for (const PlanVariant& variant : plan.steps[s].variants) {
      for (int value : variant.inputs) read(value);
    }
    for (const std::vector<int>& captures : plan.steps[s].captures) {
      for (int value : captures) read(value);
    }
    for (int value : plan.steps[s].outputs) {
      if (value >= 0) maker[static_cast<size_t>(value)] = static_cast<int>(s);
    }
  }
  return makers;
}

}  // namespace redline
