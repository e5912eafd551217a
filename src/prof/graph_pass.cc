// SPDX-License-Identifier: Apache-2.0
#include "prof/graph_pass.h"

#include <algorithm>

#include "prof/repeat.h"

namespace redline {
namespace {

using Run = std::vector<TracedStep>;

// From the begin to the end of each graph.
double time_in_graphs(const Run& run) {
  std::map<size_t, double> ends;
  for (const TracedStep& step : run) {
    double& end = ends[step.graph];
    end = std::max(end, step.span.begin_us + step.span.us);
  }
  double us = 0;
  for (const auto& [graph, end] : ends) us += end;
  return us;
}

void take_run(const Run& run, Profile& profile) {
  GraphPass& pass = *profile.graph;
  pass.us = time_in_graphs(run);
  double end = 0;  // of all before
  for (size_t i = 0; i < run.size(); ++i) {
    const TracedStep& step = run[i];
    bool first = i == 0 || step.graph != run[i - 1].graph;
    if (first) {
      end = 0;
      ++pass.graphs;
    }
    GraphTimes times;
    times.graph = pass.graphs - 1;
    times.begin_us = step.span.begin_us;
    times.us = step.span.us;
    times.gap_us = std::max(0.0, step.span.begin_us - end);
    times.early_us = std::max(0.0, end - step.span.begin_us);
    end = std::max(end, step.span.begin_us + step.span.us);
    pass.gaps_us += times.gap_us;
    auto found = std::find_if(profile.steps.begin(), profile.steps.end(),
                              [&](const StepProfile& s) { return s.index == step.step; });
    if (found != profile.steps.end()) found->graph = times;
  }
}

Result<Run> trace_median_run(StepTimer& timer, cuda::GpuTrace& trace, const Progress& progress,
                             int runs) {
  REDLINE_TRY(trace.start());
  struct Stop {
    cuda::GpuTrace& trace;
    ~Stop() { trace.stop(); }
  } stop{trace};
  StepTimer::TracedGraphs graphs;
  std::vector<Run> all;
  REDLINE_TRY(repeat(runs, progress, "graphs", [&](bool kept) -> Status {
    REDLINE_ASSIGN(Run run, timer.trace_run(trace, graphs));
    if (kept) all.push_back(std::move(run));
    return {};
  }));
  auto middle = all.begin() + static_cast<ptrdiff_t>(all.size() / 2);
  std::nth_element(all.begin(), middle, all.end(), [](const Run& a, const Run& b) {
    return time_in_graphs(a) < time_in_graphs(b);
  });
  return std::move(*middle);
}

}  // namespace

Status trace_graphs(StepTimer& timer, const OpenTrace& open, const Progress& progress,
                    Profile& profile) {
  if (!open) return {};
  Result<std::shared_ptr<cuda::GpuTrace>> trace = open();
  Result<Run> run =
      trace.ok() ? trace_median_run(timer, **trace, progress, profile.runs) : trace.status();
  if (!run.ok()) {
    if (run.status().code() == StatusCode::kCancelled) return run.status();
    profile.graph_left_out = run.status().message();
    return {};
  }
  profile.graph = GraphPass{(*trace)->name()};
  take_run(*run, profile);
  return {};
}

}  // namespace redline
