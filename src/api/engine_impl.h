// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/thread_pool.h"
#include "ir/graph.h"
#include "plan/plan.h"
#include "redline/redline.h"
#include "runtime/executor.h"
#include "tactics/tactic.h"
#include "tune/tuner.h"

namespace redline {

// The registries come first: plan and executors point into them.
struct Engine::Impl {
  std::unique_ptr<OpRegistry> ops;
  std::unique_ptr<TacticRegistry> tactics;
  std::shared_ptr<ThreadPool> pool;
  Logger logger;
  EngineInfo info;
  Plan plan;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::optional<TuneReport> tuning;  // of an engine built here
};

// An engine of a graph over the ops of `ops`, which the engine takes over.
Result<Engine> build_graph(std::unique_ptr<OpRegistry> ops, Graph& graph, EngineInfo info,
                           const BuildSettings& settings);

}  // namespace redline
