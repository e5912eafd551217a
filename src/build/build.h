// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/cancel.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "ir/graph.h"
#include "passes/pass.h"
#include "plan/plan.h"
#include "tactics/tactic.h"
#include "tune/tuner.h"

namespace redline {

// A plan that is ready to run on random inputs.
class Chain {
 public:
  virtual ~Chain() = default;
  // Microseconds of its kernels, the mean of `repeats` runs, with these variants of its steps; -1:
  // the step's own way. Without any: those that are for its sizes.
  virtual Result<double> time(std::span<const int> variants, int repeats) = 0;
  // From now on its inputs are of these sizes.
  virtual Status use_sizes(std::span<const Dims> input_sizes) = 0;
  // From now on its steps are on these streams, one number a step.
  virtual Status use_streams(std::span<const int> streams) = 0;
};
using MakeChain =
    std::function<Result<std::unique_ptr<Chain>>(const Plan&, std::span<const Dims> input_sizes)>;

struct BuildOptions {
  std::string device = "cpu";  // or "cuda", with the next three
  const cuda::DeviceInfo* gpu = nullptr;
  cuda::ContextPtr context;  // null: there is no such GPU here, nothing is timed or checked
  cuda::KernelCompiler* compiler = nullptr;
  bool timestamps = false;     // kernels note when they pass their parts; for profiles
  bool host_fallback = false;  // steps that no GPU tactic takes run on the host
  std::vector<std::string> disabled_passes;
  bool verify_passes = false;             // compare the reference before and after each pass
  std::string dump_ir;                    // folder for the graph after each pass; empty: none
  DType compute_dtype = DType::kFloat32;  // PassOptions has these
  bool tf32 = false;
  bool check_range = false;
  GraphRunner run_graph;
  int opt_level = 3;  // 0: references only, no passes; 1 and more: see TuneOptions::level
  // After these seconds since `begin` nothing is tried any more: what must be done is.
  double build_seconds = std::numeric_limits<double>::infinity();
  std::chrono::steady_clock::time_point begin = std::chrono::steady_clock::now();
  std::string tuning_database;  // file of times measured before; empty: none
  using SymbolValues = std::vector<std::pair<std::string, int64_t>>;
  SymbolValues symbol_values;  // sizes to optimise for, by symbol
  // On a GPU: others to be good at too, by variants of steps (PlanVariant).
  std::vector<SymbolValues> further_values;
  // On a GPU: whether independent steps run side by side; unset: where that is known to be faster.
  std::optional<bool> side_streams;
  MakeChain make_chain;  // to choose among ways by the time of the whole; unset: alone only
  Logger logger;
  Progress progress;
  Stages* stages = nullptr;  // gets what took how long
};

// What timing the whole network changed.
struct ChainReport {
  struct Changed {
    std::string step, from, to;
  };
  int tried = 0;         // 0: it was not timed
  double us_before = 0;  // with the ways that are best alone
  double us = 0;
  std::vector<Changed> changed;
};

// Whether independent steps run side by side, and what timing the whole so showed.
struct StreamsReport {
  int count = 1;      // streams that the plan has
  std::string why;    // empty: not on a GPU
  int tried = 0;      // 0: it was not timed
  double us_one = 0;  // all on one stream
  double us = 0;
  bool measured = false;
};

// How a plan came about, for people.
struct BuildReport {
  TuneReport tuning;
  ChainReport chain;
  StreamsReport streams;
  PrecisionReport precision;
};

// Optimises the graph in place, chooses a tactic for each step and packs its constants. `report`,
// when given, receives how the tactics were chosen and what was computed in which type.
Result<Plan> build_plan(Graph& graph, const TacticRegistry& tactics, ThreadPool& pool,
                        const BuildOptions& options, BuildReport* report = nullptr);

}  // namespace redline
