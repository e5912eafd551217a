// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "prof/rates.h"
#include "prof/work.h"
#include "runtime/step_timer.h"

namespace redline {

struct Range {
  double least = 0;
  double median = 0;
};

// How a step ran in the chain, by its kernels' time stamps. Its time is from when its first block
// could go on to when its last had ended, so that times and gaps add up to the whole chain on one
// stream.
struct ChainTimes {
  double begin_us = 0;  // from the chain's first block
  double us = 0;
  double gap_us = 0;    // from the end of what it comes after
  double early_us = 0;  // how long before that end its first block had begun; 0: it had not
  uint64_t blocks = 0;
  // Means over the blocks: from a block's start until it may read what was written before it, and
  // the parts of products from there. Negative: its kernel has no such mark.
  double hand_off_us = -1;
  double load_us = -1;
  double multiply_us = -1;
  double store_us = -1;
};

// How a step ran in a graph of a run, by the GPU's own trace, which makes graphs somewhat slower.
struct GraphTimes {
  size_t graph = 0;     // of the run
  double begin_us = 0;  // from the begin of the graph's first step
  double us = 0;
  double gap_us = 0;    // since the last end of those that began before it
  double early_us = 0;  // how long before that end it began
};

// Of all graphs of a run: where the time of steps, and that between them, add up.
struct GraphPass {
  std::string traced_by;
  size_t graphs = 0;
  double us = 0;
  double gaps_us = 0;
};

struct StepProfile {
  size_t index = 0;  // in the plan
  bool on_gpu = false;
  Range us;  // by itself
  Work work;
  Rates::Floor floor;  // 0: there is no rate for it, as for copies between host and GPU
  std::optional<ChainTimes> chain;
  std::optional<GraphTimes> graph;  // where it ran in one
};

struct Profile {
  int runs = 0;
  Rates gpu;                       // of an engine for one
  std::optional<Rates> host;       // where steps run on the host
  std::vector<StepProfile> steps;  // that have something to do, in the order of the run
  Range run_us;                    // of whole runs, as anybody runs them
  RunTimes parts;                  // of the run with the median time among those timed by parts
  double chain_us = 0;             // with time stamps: from the first block to the last one's end
  double gaps_us = 0;
  double kernel_gaps_us = 0;  // those between two kernels that are no copies
  double kernels_us = 0;      // of the GPU, all in a row, many times
  std::optional<GraphPass> graph;
  std::string graph_left_out;  // why there is none, where it was asked for
};

using OpenTrace = std::function<Result<std::shared_ptr<cuda::GpuTrace>>()>;

// Times an executor's runs on these inputs, `runs` times each way.
Result<Profile> make_profile(Executor& executor, const Plan& plan, ThreadPool& pool,
                             const cuda::ContextPtr& context, std::span<const HostValue> inputs,
                             int runs, const Progress& progress = {},
                             const OpenTrace& open_trace = nullptr);

}  // namespace redline
