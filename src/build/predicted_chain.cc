// SPDX-License-Identifier: Apache-2.0
#include "build/predicted_chain.h"

#include <algorithm>
#include <limits>

#include "plan/step_order.h"
#include "plan/step_work.h"

namespace redline {
namespace {

// Even a kernel that waits most of the time is in others' way.
constexpr double kLeastBusy = 0.25;
// Of what the data sheet says a good kernel reaches about so much.
constexpr double kReached = 0.8;

// Without sizes there is none.
std::optional<double> floor_us(const Plan& plan, std::span<const Type> types, const PlanStep& step,
                               const Rates& rates) {
  bool known = true;
  Work work = work_of_step(plan, step, [&](int v) {
    const PlanConstant* constant = constant_of(plan, v);
    const Type& type = constant != nullptr ? constant->type : types[static_cast<size_t>(v)];
    known = known && type.is_tensor() && type.shape.as_static();
    return type;
  });
  if (!known) return std::nullopt;
  return rates.floor_of(work).us / kReached;
}

}  // namespace

PredictedChain::PredictedChain(const Plan& plan, std::span<const Type> types, const Rates& rates,
                               std::vector<bool> aside)
    : aside_(std::move(aside)) {
  std::vector<std::vector<size_t>> makers = makers_of_steps(plan);
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    Step step = {.makers = std::move(makers[s])};
    if (aside_[s]) {
      std::optional<double> floor = floor_us(plan, types, plan.steps[s], rates);
      step.us = plan.steps[s].us > 0 ? plan.steps[s].us : std::max(kUntimedUs, floor.value_or(0));
      if (floor) step.busy = std::clamp(*floor / step.us, kLeastBusy, 1.0);
    }
    steps_.push_back(std::move(step));
  }
}

Status PredictedChain::use_streams(std::span<const int> streams) {
  REDLINE_ASSIGN(us_, predict(streams));
  return {};
}

// Steps of a stream go one after another; one that is no kernel waits for all in front of it and
// takes no time.
Result<double> PredictedChain::predict(std::span<const int> streams) const {
  int count = 1 + *std::max_element(streams.begin(), streams.end());
  std::vector<std::vector<size_t>> queues(static_cast<size_t>(count));
  for (size_t s = 0; s < steps_.size(); ++s) {
    if (aside_[s]) queues[static_cast<size_t>(streams[s])].push_back(s);
  }
  constexpr double kNever = std::numeric_limits<double>::infinity();
  std::vector<double> end(steps_.size(), kNever);
  std::vector<double> left(steps_.size());
  std::vector<size_t> next(queues.size());
  double now = 0;
  size_t done = 0;     // of all steps, how many from the first on are
  size_t barrier = 0;  // the next that is no kernel
  // When a step may start, as far as that is known.
  auto ready = [&](size_t s, int stream) {
    double at = 0;
    for (size_t maker : steps_[s].makers) {
      bool other = aside_[maker] && streams[maker] != stream;
      at = std::max(at, end[maker] + (other ? kStreamWaitUs : 0));
    }
    return at;
  };
  while (true) {
    while (done < steps_.size() && (end[done] != kNever || !aside_[done])) {
      if (!aside_[done]) end[done] = now;
      ++done;
    }
    if (done == steps_.size()) return now;
    // What is at the head of the streams runs or waits; nothing passes a step that is no kernel.
    double busy = 0;
    double until = kNever;
    std::vector<size_t> running;
    barrier = std::max(barrier, done);
    while (barrier < steps_.size() && aside_[barrier]) ++barrier;
    for (size_t q = 0; q < queues.size(); ++q) {
      if (next[q] == queues[q].size() || queues[q][next[q]] > barrier) continue;
      size_t s = queues[q][next[q]];
      double at = ready(s, static_cast<int>(q));
      if (at > now) {
        until = std::min(until, at);
        continue;
      }
      if (left[s] == 0) left[s] = steps_[s].us;
      running.push_back(s);
      busy += steps_[s].busy;
    }
    if (running.empty() && until == kNever) return internal_error("steps wait for each other");
    double slower = std::max(1.0, busy);
    for (size_t s : running) until = std::min(until, now + left[s] * slower);
    for (size_t s : running) {
      bool ends = now + left[s] * slower <= until;
      left[s] -= (until - now) / slower;
      if (!ends) continue;
      end[s] = until;
      ++next[static_cast<size_t>(streams[s])];
    }
    now = until;
  }
}

}  // namespace redline
