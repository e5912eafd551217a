// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/gpu_trace.h"
#include "device/timestamps.h"
#include "runtime/executor.h"

namespace redline {

// Something that took a while; microseconds from the start of the run.
struct TimedSpan {
  double begin_us = 0;
  double us = 0;
};

// Where one run's time went. What the GPU does is placed so that it ends when the host has waited
// for it.
struct RunTimes {
  enum class Part : uint8_t {
    kPrepare,   // inputs are checked, and views follow their addresses
    kStage,     // inputs are copied to page-locked memory
    kLaunch,    // work is queued on the GPU
    kWait,      // the host waits for the GPU
    kHostStep,  // a step on the host, or one whose sizes only the run tells
    kCopyIn,    // the GPU copies from the host's memory
    kKernels,   // the GPU's kernels, one behind another, with what is between them
    kCopyOut,
  };
  struct Piece {
    Part part;
    size_t step = 0;  // of kHostStep; of parts on the GPU the first
    TimedSpan span;
  };
  std::vector<Piece> pieces;
  double total_us = 0;
  double us_in(Part part) const;
};

// When the blocks of a kernel passed its marks, in microseconds from the first of all.
struct KernelStamps {
  size_t step = 0;
  size_t kernel = 0;  // of the step's
  struct Mark {
    uint64_t blocks = 0;  // none: the kernel has no such mark, or was not run
    double least_us = 0;
    double most_us = 0;
    double mean_us = 0;
  };
  std::array<Mark, cuda::kStampMarks> marks;
};

// When a step ran in a graph of a run, by the GPU's own record: from the begin of its first kernel
// or copy to the end of its last.
struct TracedStep {
  size_t step = 0;
  size_t graph = 0;  // of the run
  TimedSpan span;    // from the begin of the graph's first
};

// A graph's nodes, in the order in which their steps were captured.
struct TracedGraph {
  struct Node {
    size_t step = 0;
    cuda::Activity::Kind kind = cuda::Activity::Kind::kKernel;
    std::string kernel;  // its name
    uint64_t id = 0;     // cuda::GpuTrace::node_id
  };
  std::vector<Node> nodes;  // those of a step in a row, in no order
  bool chain = true;        // one step behind another
  cuda::Graph graph;
};
// The activity that each node was: by the nodes' ids, or in a chain by their order in time; kinds
// and names of kernels must be the same. Refused where these do not tell. `activities` are in the
// order of time.
Result<std::vector<size_t>> match_nodes(const TracedGraph& graph,
                                        std::span<const cuda::Activity> activities);

// Times the runs of an executor on the same inputs. Both must outlive it, and nobody else may run
// the executor meanwhile.
class StepTimer {
 public:
  // Runs once.
  static Result<std::unique_ptr<StepTimer>> create(Executor& executor,
                                                   std::span<const HostValue> inputs);
  // Microseconds of each step of the plan by itself: nothing else runs meanwhile. Negative: there
  // is nothing to do for it.
  Result<std::vector<double>> time_alone();
  Result<RunTimes> time_run();
  // In the order of the run; empty when the engine has no time stamps.
  Result<std::vector<KernelStamps>> time_chain();

  // The graphs of runs that one trace sees; kept from run to run.
  struct TracedGraphs {
    std::map<size_t, TracedGraph> by_segment;
    std::array<const void*, 3> are_for = {};
  };
  // A run under a trace that was started, graph by graph, in the order of time in each. Fails when
  // the trace does not say what the steps did.
  Result<std::vector<TracedStep>> trace_run(cuda::GpuTrace& trace, TracedGraphs& graphs);

  // Of a step as it was run; for steps with nothing to do, too.
  bool on_gpu(size_t step) const;
  const std::string& tactic(size_t step) const;
  const StepOrder& order() const { return executor_.order_; }
  // Null: absent, or not a tensor.
  const Tensor* value(int index) const;

 private:
  // A segment's graph with events between its steps, or between its parts.
  struct TimedGraph {
    struct Interval {
      RunTimes::Part part;
      size_t step;
    };
    std::vector<Interval> intervals;
    std::vector<cuda::Event> events;  // one more
    cuda::Graph graph;
  };
  StepTimer(Executor& executor, std::span<const HostValue> inputs)
      : executor_(executor), inputs_(inputs) {}
  Status find_stamps();
  // Executor::begin_run(); graphs of memory that is no longer used are forgotten.
  Status begin_run();
  RunTimes::Part part_of(size_t step) const;
  Result<TimedGraph*> timed_graph(size_t segment, bool each_step);
  Result<double> time_by_itself(size_t step);
  Result<TracedGraph*> traced_graph(size_t segment, cuda::GpuTrace& trace, TracedGraphs& graphs);

  Executor& executor_;
  std::span<const HostValue> inputs_;
  std::map<std::pair<size_t, bool>, TimedGraph> graphs_;
  std::array<const void*, 3> graphs_are_for_ = {};
  struct StampPage {
    size_t step;
    size_t kernel;
    cuda::DevicePtr ptr;
  };
  std::vector<StampPage> pages_;
};

}  // namespace redline
