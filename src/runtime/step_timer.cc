// SPDX-License-Identifier: Apache-2.0
#include "runtime/step_timer.h"

#include <algorithm>
#include <chrono>

#include "runtime/executor_state.h"
#include "runtime/fork.h"

namespace redline {
namespace {

using Clock = std::chrono::steady_clock;
using Part = RunTimes::Part;

double us_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

}  // namespace

double RunTimes::us_in(Part part) const {
  double us = 0;
  for (const Piece& piece : pieces) us += piece.part == part ? piece.span.us : 0;
  return us;
}

Result<std::unique_ptr<StepTimer>> StepTimer::create(Executor& executor,
                                                     std::span<const HostValue> inputs) {
  std::unique_ptr<StepTimer> timer(new StepTimer(executor, inputs));
  REDLINE_TRY(executor.run(inputs));
  REDLINE_TRY(timer->find_stamps());
  return timer;
}

Status StepTimer::begin_run() {
  REDLINE_TRY(executor_.begin_run(inputs_).status());
  Executor::Bases bases = executor_.bases();
  std::array<const void*, 3> now = {bases.arena, bases.device_arena, bases.device_workspace};
  if (std::exchange(graphs_are_for_, now) != now) graphs_.clear();
  return {};
}

bool StepTimer::on_gpu(size_t step) const {
  return executor_.works_on_gpu(executor_.plan_.steps[step]);
}

const std::string& StepTimer::tactic(size_t step) const {
  const PlanVariant* variant = executor_.current_->steps[step].variant;
  return variant != nullptr ? variant->tactic : executor_.plan_.steps[step].tactic;
}

const Tensor* StepTimer::value(int index) const {
  if (index < 0) return nullptr;
  const HostValue& value = executor_.slots_[static_cast<size_t>(index)];
  return value.kind == HostValue::Kind::kTensor && value.tensor.defined() ? &value.tensor : nullptr;
}

Part StepTimer::part_of(size_t step) const {
  const std::string& tactic = executor_.plan_.steps[step].tactic;
  if (tactic == kUploadTactic) return Part::kCopyIn;
  return tactic == kDownloadTactic ? Part::kCopyOut : Part::kKernels;
}

Result<StepTimer::TimedGraph*> StepTimer::timed_graph(size_t index, bool each_step) {
  TimedGraph& timed = graphs_[{index, each_step}];
  if (timed.graph) return &timed;
  Executor::ShapeState& state = *executor_.current_;
  const Executor::ShapeState::Segment& segment = state.segments[index];
  cuda::Stream& stream = executor_.gpu_->stream;
  auto mark = [&]() -> Status {
    REDLINE_ASSIGN(cuda::Event event, cuda::Event::create(stream.context()));
    timed.events.push_back(std::move(event));
    return timed.events.back().record_in_graph(stream);
  };
  timed.intervals.clear();
  timed.events.clear();
  Executor::Fork fork(*executor_.gpu_);
  if (!each_step) {
    REDLINE_ASSIGN(fork, Executor::Fork::create(*executor_.gpu_, executor_.order_));
  }
  REDLINE_ASSIGN(
      timed.graph, cuda::Graph::capture(stream, [&]() -> Status {
        for (size_t s = segment.first; s < segment.end; ++s) {
          if (state.steps[s].skip) continue;
          Part part = part_of(s);
          if (timed.intervals.empty() || each_step || timed.intervals.back().part != part) {
            REDLINE_TRY(fork.join());
            REDLINE_TRY(mark());
            timed.intervals.push_back({part, s});
          }
          REDLINE_TRY(executor_.queue_step(state, s, each_step ? s + 1 : segment.end, fork));
        }
        REDLINE_TRY(fork.join());
        return mark();
      }));
  return &timed;
}

// Steps whose sizes only the run tells are not in graphs, nor are those of the host.
Result<double> StepTimer::time_by_itself(size_t step) {
  Executor::ShapeState& state = *executor_.current_;
  REDLINE_TRY(executor_.wait());
  bool on_gpu = executor_.works_on_gpu(executor_.plan_.steps[step]);
  if (!on_gpu) {
    auto start = Clock::now();
    REDLINE_TRY(executor_.run_step(state, step));
    double us = us_since(start);
    REDLINE_TRY(executor_.wait());
    return us;
  }
  const cuda::Stream& stream = executor_.gpu_->stream;
  REDLINE_ASSIGN(cuda::Event start, cuda::Event::create(stream.context()));
  REDLINE_ASSIGN(cuda::Event end, cuda::Event::create(stream.context()));
  REDLINE_TRY(start.record(stream));
  REDLINE_TRY(executor_.run_step(state, step));
  REDLINE_TRY(end.record(stream));
  REDLINE_TRY(end.synchronize());
  REDLINE_TRY(executor_.wait());
  return cuda::Event::microseconds_between(start, end);
}

Result<std::vector<double>> StepTimer::time_alone() {
  REDLINE_TRY(begin_run());
  Executor::ShapeState* state = executor_.current_;
  std::vector<double> us(executor_.plan_.steps.size(), -1);
  for (size_t s = 0; s < us.size(); ++s) {
    if (state->steps[s].skip) continue;
    if (state->steps[s].segment < 0) {
      Result<double> time = time_by_itself(s);
      if (!time.ok()) return time.status().at_node(executor_.plan_.steps[s].name);
      us[s] = *time;
      continue;
    }
    auto index = static_cast<size_t>(state->steps[s].segment);
    REDLINE_ASSIGN(TimedGraph * timed, timed_graph(index, /*each_step=*/true));
    for (size_t staged : state->segments[index].staged) Executor::stage(*state, staged);
    executor_.gpu_->busy = true;
    REDLINE_TRY(timed->graph.launch(executor_.gpu_->stream));
    REDLINE_TRY(executor_.wait());
    for (size_t i = 0; i < timed->intervals.size(); ++i) {
      REDLINE_ASSIGN(us[timed->intervals[i].step],
                     cuda::Event::microseconds_between(timed->events[i], timed->events[i + 1]));
    }
    s = state->segments[index].end - 1;
  }
  return us;
}

Result<RunTimes> StepTimer::time_run() {
  RunTimes times;
  auto begin = Clock::now();
  double mark = 0;
  auto note = [&](Part part, size_t step) {
    double now = us_since(begin);
    times.pieces.push_back({part, step, {mark, now - mark}});
    mark = now;
  };
  REDLINE_TRY(begin_run());
  Executor::ShapeState* state = executor_.current_;
  note(Part::kPrepare, 0);
  // Graphs whose pieces are not known before the host has waited.
  std::vector<const TimedGraph*> queued;
  auto wait = [&]() -> Status {
    if (executor_.gpu_ == nullptr || !executor_.gpu_->busy) return {};
    REDLINE_TRY(executor_.wait());
    note(Part::kWait, 0);
    double end = mark;
    for (size_t q = queued.size(); q-- > 0;) {
      const TimedGraph& timed = *queued[q];
      for (size_t i = timed.intervals.size(); i-- > 0;) {
        REDLINE_ASSIGN(double us,
                       cuda::Event::microseconds_between(timed.events[i], timed.events[i + 1]));
        end -= us;
        times.pieces.push_back({timed.intervals[i].part, timed.intervals[i].step, {end, us}});
      }
    }
    queued.clear();
    return {};
  };
  for (size_t s = 0; s < executor_.plan_.steps.size(); ++s) {
    if (state->steps[s].skip) continue;
    if (state->steps[s].segment < 0) {
      REDLINE_TRY(wait());
      mark = us_since(begin);
      REDLINE_TRY(executor_.run_step(*state, s));
      if (executor_.gpu_ != nullptr) REDLINE_TRY(executor_.wait());
      note(Part::kHostStep, s);
      continue;
    }
    auto index = static_cast<size_t>(state->steps[s].segment);
    REDLINE_ASSIGN(TimedGraph * timed, timed_graph(index, /*each_step=*/false));
    for (size_t staged : state->segments[index].staged) Executor::stage(*state, staged);
    if (!state->segments[index].staged.empty()) note(Part::kStage, s);
    executor_.gpu_->busy = true;
    REDLINE_TRY(timed->graph.launch(executor_.gpu_->stream));
    note(Part::kLaunch, s);
    queued.push_back(timed);
    s = state->segments[index].end - 1;
  }
  REDLINE_TRY(wait());
  times.total_us = us_since(begin);
  std::stable_sort(times.pieces.begin(), times.pieces.end(),
                   [](const auto& a, const auto& b) { return a.span.begin_us < b.span.begin_us; });
  return times;
}

Status StepTimer::find_stamps() {
  if (executor_.gpu_ == nullptr) return {};
  const Executor::ShapeState& state = *executor_.current_;
  for (size_t s = 0; s < executor_.plan_.steps.size(); ++s) {
    const PlanStep& step = executor_.plan_.steps[s];
    const PlanVariant* variant = state.steps[s].variant;
    size_t kernel = 0;
    for (const auto& module :
         executor_.gpu_->image->modules(variant != nullptr ? variant->kernels : step.kernels)) {
      REDLINE_ASSIGN(cuda::Module::Variable found, module->variable(cuda::kStampVariable));
      if (found.bytes == cuda::kStampBytes) pages_.push_back({s, kernel, found.ptr});
      ++kernel;
    }
  }
  return {};
}

Result<std::vector<KernelStamps>> StepTimer::time_chain() {
  std::vector<KernelStamps> result;
  if (pages_.empty()) return result;
  const cuda::Stream& stream = executor_.gpu_->stream;
  REDLINE_TRY(executor_.wait());
  for (const StampPage& page : pages_) REDLINE_TRY(stream.fill(page.ptr, 0, cuda::kStampBytes));
  REDLINE_TRY(stream.synchronize());
  REDLINE_TRY(executor_.run(inputs_));
  std::vector<std::vector<cuda::StampCell>> cells(pages_.size());
  for (size_t i = 0; i < pages_.size(); ++i) {
    cells[i].resize(cuda::kStampSlots * cuda::kStampMarks);
    REDLINE_TRY(stream.copy_to_host(cells[i].data(), pages_[i].ptr, cuda::kStampBytes));
  }
  REDLINE_TRY(stream.synchronize());
  uint64_t first = UINT64_MAX;
  uint64_t last = 0;
  std::vector<std::array<cuda::Stamps, cuda::kStampMarks>> all;
  for (const auto& page : cells) {
    all.push_back(cuda::sum_up_stamps(page));
    const cuda::Stamps& start = all.back()[cuda::kStampStart];
    if (start.count > 0) first = std::min(first, start.least);
    last = std::max(last, all.back()[cuda::kStampEnd].most);
  }
  // The clock's low bits began anew in this run.
  if (last > first && last - first > uint64_t{1} << (cuda::kStampBits - 1)) return result;
  for (size_t i = 0; i < pages_.size(); ++i) {
    if (all[i][cuda::kStampStart].count == 0) continue;
    KernelStamps kernel{pages_[i].step, pages_[i].kernel, {}};
    for (size_t m = 0; m < cuda::kStampMarks; ++m) {
      const cuda::Stamps& from = all[i][m];
      if (from.count == 0) continue;
      auto us = [&](double ns) { return (ns - static_cast<double>(first)) / 1e3; };
      kernel.marks[m] = {from.count, us(static_cast<double>(from.least)),
                         us(static_cast<double>(from.most)), us(from.mean)};
    }
    result.push_back(kernel);
  }
  return result;
}

}  // namespace redline
