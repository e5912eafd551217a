// SPDX-License-Identifier: Apache-2.0
#include "prof/profile.h"

#include <algorithm>
#include <chrono>

#include "prof/graph_pass.h"
#include "prof/repeat.h"

namespace redline {
namespace {

Range range_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  return {values.front(), values[values.size() / 2]};
}

Status time_steps(StepTimer& timer, const Plan& plan, const Progress& progress,
                  const Profile& profile, std::vector<StepProfile>& steps) {
  std::vector<std::vector<double>> times(plan.steps.size());
  REDLINE_TRY(repeat(profile.runs, progress, "each step", [&](bool kept) -> Status {
    REDLINE_ASSIGN(std::vector<double> us, timer.time_alone());
    for (size_t s = 0; s < us.size() && kept; ++s) {
      if (us[s] >= 0) times[s].push_back(us[s]);
    }
    return {};
  }));
  for (size_t s = 0; s < times.size(); ++s) {
    if (times[s].empty()) continue;
    StepProfile step;
    step.index = s;
    step.on_gpu = timer.on_gpu(s);
    step.us = range_of(std::move(times[s]));
    step.work = work_of(plan, s, timer);
    if (step.on_gpu && !plan.steps[s].is_copy()) step.floor = profile.gpu.floor_of(step.work);
    if (!step.on_gpu && profile.host) step.floor = profile.host->floor_of(step.work);
    steps.push_back(step);
  }
  return {};
}

Status time_runs(Executor& executor, StepTimer& timer, std::span<const HostValue> inputs,
                 const Progress& progress, Profile& profile) {
  std::vector<double> plain;
  std::vector<RunTimes> parts;
  REDLINE_TRY(repeat(profile.runs, progress, "runs", [&](bool kept) -> Status {
    auto start = std::chrono::steady_clock::now();
    REDLINE_TRY(executor.run(inputs));
    std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - start;
    if (kept) plain.push_back(us.count());
    return {};
  }));
  REDLINE_TRY(repeat(profile.runs, progress, "parts", [&](bool kept) -> Status {
    REDLINE_ASSIGN(RunTimes times, timer.time_run());
    if (kept) parts.push_back(std::move(times));
    return {};
  }));
  profile.run_us = range_of(std::move(plain));
  auto middle = parts.begin() + static_cast<ptrdiff_t>(parts.size() / 2);
  std::nth_element(parts.begin(), middle, parts.end(),
                   [](const auto& a, const auto& b) { return a.total_us < b.total_us; });
  profile.parts = std::move(*middle);
  return {};
}

// A kernel's blocks are held up by the former step until this mark.
const KernelStamps::Mark& begin_of(const KernelStamps& kernel) {
  const auto& waited = kernel.marks[cuda::kStampWaited];
  return waited.blocks > 0 ? waited : kernel.marks[cuda::kStampStart];
}

double span_of(const std::vector<KernelStamps>& chain) {
  double end = 0;
  for (const KernelStamps& kernel : chain) {
    end = std::max(end, kernel.marks[cuda::kStampEnd].most_us);
  }
  return end;
}

// Parts of products: of a step's kernel that has the marks.
void add_parts(const KernelStamps& kernel, ChainTimes& times) {
  const auto& marks = kernel.marks;
  const auto& waited = marks[cuda::kStampWaited];
  const auto& loaded = marks[cuda::kStampLoaded];
  const auto& multiplied = marks[cuda::kStampMultiplied];
  if (waited.blocks > 0) {
    double hand_off = waited.mean_us - marks[cuda::kStampStart].mean_us;
    times.hand_off_us = std::max(times.hand_off_us, hand_off);
  }
  if (loaded.blocks == 0 || multiplied.blocks == 0) return;
  times.load_us = loaded.mean_us - begin_of(kernel).mean_us;
  times.multiply_us = multiplied.mean_us - loaded.mean_us;
  times.store_us = marks[cuda::kStampEnd].mean_us - multiplied.mean_us;
}

// When the last of what a step comes after had ended.
class ChainEnds {
 public:
  explicit ChainEnds(const StepOrder& order)
      : order_(order), ends_(static_cast<size_t>(order.streams())) {}
  double before(size_t step) const {
    double us = 0;
    for (int k = 0; k < order_.streams(); ++k) {
      for (const auto& [place, end] : ends_[static_cast<size_t>(k)]) {
        if (place < order_.before(step, k)) us = std::max(us, end);
      }
    }
    return us;
  }
  void add(size_t step, double us) {
    ends_[static_cast<size_t>(order_.stream(step))].emplace_back(order_.place(step), us);
  }

 private:
  const StepOrder& order_;
  std::vector<std::vector<std::pair<int, double>>> ends_;  // of each stream's steps
};

void take_chain(const Plan& plan, const std::vector<KernelStamps>& chain, const StepOrder& order,
                Profile& profile) {
  ChainEnds ends(order);
  bool behind_kernel = false;
  for (size_t i = 0; i < chain.size();) {
    size_t step = chain[i].step;
    ChainTimes times;
    double start = chain[i].marks[cuda::kStampStart].least_us;
    double last = 0;
    times.begin_us = begin_of(chain[i]).least_us;
    for (; i < chain.size() && chain[i].step == step; ++i) {
      const KernelStamps& kernel = chain[i];
      start = std::min(start, kernel.marks[cuda::kStampStart].least_us);
      times.begin_us = std::min(times.begin_us, begin_of(kernel).least_us);
      last = std::max(last, kernel.marks[cuda::kStampEnd].most_us);
      times.blocks += kernel.marks[cuda::kStampStart].blocks;
      add_parts(kernel, times);
    }
    double end = ends.before(step);
    times.us = last - times.begin_us;
    times.gap_us = times.begin_us - end;
    times.early_us = std::max(0.0, end - start);
    ends.add(step, last);
    profile.gaps_us += times.gap_us;
    bool kernel = !plan.steps[step].is_copy();
    if (kernel && behind_kernel) profile.kernel_gaps_us += times.gap_us;
    behind_kernel = kernel;
    auto found = std::find_if(profile.steps.begin(), profile.steps.end(),
                              [&](const StepProfile& s) { return s.index == step; });
    if (found != profile.steps.end()) found->chain = times;
  }
  profile.chain_us = span_of(chain);
}

Status time_chain(StepTimer& timer, const Plan& plan, const Progress& progress, Profile& profile) {
  std::vector<std::vector<KernelStamps>> chains;
  REDLINE_TRY(repeat(profile.runs, progress, "chain", [&](bool kept) -> Status {
    REDLINE_ASSIGN(std::vector<KernelStamps> chain, timer.time_chain());
    if (kept && !chain.empty()) chains.push_back(std::move(chain));
    return {};
  }));
  if (chains.empty()) return {};
  auto middle = chains.begin() + static_cast<ptrdiff_t>(chains.size() / 2);
  std::nth_element(chains.begin(), middle, chains.end(),
                   [](const auto& a, const auto& b) { return span_of(a) < span_of(b); });
  take_chain(plan, *middle, timer.order(), profile);
  return {};
}

}  // namespace

Result<Profile> make_profile(Executor& executor, const Plan& plan, ThreadPool& pool,
                             const cuda::ContextPtr& context, std::span<const HostValue> inputs,
                             int runs, const Progress& progress, const OpenTrace& open_trace) {
  Profile profile;
  profile.runs = runs;
  REDLINE_ASSIGN(std::unique_ptr<StepTimer> timer, StepTimer::create(executor, inputs));
  if (context != nullptr) {
    REDLINE_ASSIGN(profile.gpu, rates_of(context));
  }
  bool any_on_host = false;
  for (size_t s = 0; s < plan.steps.size(); ++s) any_on_host |= !timer->on_gpu(s);
  if (any_on_host) {
    REDLINE_ASSIGN(profile.host, rates_of(pool));
  }
  REDLINE_TRY(time_steps(*timer, plan, progress, profile, profile.steps));
  REDLINE_TRY(time_runs(executor, *timer, inputs, progress, profile));
  REDLINE_TRY(time_chain(*timer, plan, progress, profile));
  if (context != nullptr) {
    REDLINE_ASSIGN(profile.kernels_us, executor.time_kernels(20));
    // Last, for a trace slows what is launched under it, and may slow what comes after.
    REDLINE_TRY(trace_graphs(*timer, open_trace, progress, profile));
  }
  return profile;
}

}  // namespace redline
