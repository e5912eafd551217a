// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <unordered_map>

#include "runtime/executor_state.h"
#include "runtime/step_timer.h"

// The graphs of a run as the GPU's own trace saw them.
namespace redline {
namespace {

using Node = TracedGraph::Node;
using Kind = cuda::Activity::Kind;

bool fits(const Node& node, const cuda::Activity& activity) {
  return node.kind == activity.kind && node.kernel == activity.name;
}

std::string describe(Kind kind, const std::string& kernel) {
  return kind == Kind::kKernel ? kernel : kind == Kind::kCopy ? "a copy" : "a fill";
}

Status misfit(const Node& node, const cuda::Activity& activity) {
  return incompatible("the trace has ", describe(activity.kind, activity.name),
                      " where a graph has ", describe(node.kind, node.kernel));
}

std::optional<std::vector<size_t>> match_ids(const TracedGraph& graph,
                                             std::span<const cuda::Activity> activities) {
  std::unordered_map<uint64_t, size_t> by_id;
  for (size_t i = 0; i < activities.size(); ++i) {
    if (activities[i].node == 0 || !by_id.emplace(activities[i].node, i).second) return {};
  }
  std::vector<size_t> found;
  for (const Node& node : graph.nodes) {
    auto activity = by_id.find(node.id);
    if (activity == by_id.end()) return {};
    found.push_back(activity->second);
    by_id.erase(activity);
  }
  return found;
}

Result<std::vector<size_t>> match_order(const TracedGraph& graph,
                                        std::span<const cuda::Activity> activities) {
  std::vector<size_t> order(graph.nodes.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t n = 0; n < order.size(); ++n) {
    auto same_step = [&](size_t i) { return graph.nodes[i].step == graph.nodes[n].step; };
    size_t other = n;
    while (other < order.size() && same_step(other) &&
           !fits(graph.nodes[n], activities[order[other]])) {
      ++other;
    }
    if (other == order.size() || !same_step(other)) {
      return misfit(graph.nodes[n], activities[order[n]]);
    }
    std::swap(order[n], order[other]);
  }
  return order;
}

// Of the nodes of one segment, by step; activities in the order of time.
std::vector<TracedStep> spans_of(const TracedGraph& graph, size_t index,
                                 std::span<const cuda::Activity> activities,
                                 std::span<const size_t> activity_of) {
  std::map<size_t, std::pair<uint64_t, uint64_t>> by_step;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const cuda::Activity& activity = activities[activity_of[n]];
    auto [entry, fresh] =
        by_step.emplace(graph.nodes[n].step, std::pair(activity.begin_ns, activity.end_ns));
    auto& [begin, end] = entry->second;
    begin = std::min(begin, activity.begin_ns);
    end = std::max(end, activity.end_ns);
  }
  std::vector<TracedStep> steps;
  for (const auto& [step, span] : by_step) {
    auto us = [](uint64_t ns) { return static_cast<double>(ns) / 1e3; };
    uint64_t first = activities.front().begin_ns;
    steps.push_back({step, index, {us(span.first - first), us(span.second - span.first)}});
  }
  std::stable_sort(steps.begin(), steps.end(), [](const TracedStep& a, const TracedStep& b) {
    return a.span.begin_us < b.span.begin_us;
  });
  return steps;
}

}  // namespace

Result<std::vector<size_t>> match_nodes(const TracedGraph& graph,
                                        std::span<const cuda::Activity> activities) {
  if (activities.size() != graph.nodes.size()) {
    return incompatible("a graph has ", graph.nodes.size(), " kernels and copies, but the trace ",
                        activities.size());
  }
  if (auto found = match_ids(graph, activities)) {
    for (size_t n = 0; n < found->size(); ++n) {
      const cuda::Activity& activity = activities[(*found)[n]];
      if (!fits(graph.nodes[n], activity)) return misfit(graph.nodes[n], activity);
    }
    return *std::move(found);
  }
  if (!graph.chain) {
    return incompatible(
        "the trace does not tell nodes of a graph apart, whose steps run side by side");
  }
  return match_order(graph, activities);
}

Result<TracedGraph*> StepTimer::traced_graph(size_t index, cuda::GpuTrace& trace,
                                             TracedGraphs& graphs) {
  TracedGraph& traced = graphs.by_segment[index];
  if (traced.graph) return &traced;
  traced = {};
  const cuda::Context& context = *executor_.gpu_->stream.context();
  std::set<cuda::GraphNodeHandle> known;
  auto note_nodes = [&](size_t step) -> Status {
    REDLINE_ASSIGN(cuda::CapturedNodes nodes, cuda::captured_nodes(executor_.gpu_->stream));
    std::set<cuda::GraphNodeHandle> own;
    for (cuda::GraphNodeHandle node : nodes.all) {
      if (!known.insert(node).second) continue;
      own.insert(node);
      REDLINE_ASSIGN(cuda::NodeWork work, cuda::work_of(context, node));
      Kind kind = work.type == cuda::kMemcpyNode   ? Kind::kCopy
                  : work.type == cuda::kMemsetNode ? Kind::kFill
                                                   : Kind::kKernel;
      traced.nodes.push_back({step, kind, std::move(work.kernel), trace.node_id(node)});
    }
    // What comes next waits for this step and for nothing else.
    bool follows = own.empty() || (nodes.last.size() == 1 && own.contains(nodes.last[0]));
    traced.chain = traced.chain && follows;
    return {};
  };
  REDLINE_ASSIGN(traced.graph, executor_.capture(*executor_.current_, index, true, note_nodes));
  return &traced;
}

Result<std::vector<TracedStep>> StepTimer::trace_run(cuda::GpuTrace& trace, TracedGraphs& graphs) {
  REDLINE_TRY(begin_run());
  if (std::exchange(graphs.are_for, graphs_are_for_) != graphs_are_for_) graphs.by_segment.clear();
  Executor::ShapeState* state = executor_.current_;
  std::vector<TracedStep> steps;
  for (size_t s = 0; s < executor_.plan_.steps.size(); ++s) {
    if (state->steps[s].skip) continue;
    REDLINE_TRY(executor_.wait());
    if (state->steps[s].segment < 0) {
      REDLINE_TRY(executor_.run_step(*state, s));
      continue;
    }
    auto index = static_cast<size_t>(state->steps[s].segment);
    REDLINE_ASSIGN(TracedGraph * traced, traced_graph(index, trace, graphs));
    for (size_t staged : state->segments[index].staged) Executor::stage(*state, staged);
    REDLINE_TRY(trace.take().status());
    executor_.gpu_->busy = true;
    REDLINE_TRY(traced->graph.launch(executor_.gpu_->stream));
    REDLINE_TRY(executor_.wait());
    REDLINE_ASSIGN(std::vector<cuda::Activity> activities, trace.take());
    REDLINE_ASSIGN(std::vector<size_t> activity_of, match_nodes(*traced, activities));
    std::vector<TracedStep> in_graph = spans_of(*traced, index, activities, activity_of);
    steps.insert(steps.end(), in_graph.begin(), in_graph.end());
    s = state->segments[index].end - 1;
  }
  REDLINE_TRY(executor_.wait());
  return steps;
}

}  // namespace redline
