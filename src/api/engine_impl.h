// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/thread_pool.h"
#include "ops/op.h"
#include "plan/plan.h"
#include "redline/engine.h"
#include "runtime/executor.h"
#include "tactics/tactic.h"

namespace redline {

// The registries come first: plan and executors point into them.
struct Engine::Impl {
  std::unique_ptr<OpRegistry> ops;
  std::unique_ptr<TacticRegistry> tactics;
  std::shared_ptr<ThreadPool> pool;
  Logger logger;
  EngineInfo info;
  Plan plan;
  cuda::ContextPtr gpu;  // null: the CPU
  bool runs_here = true;
  std::vector<ValueInfo> inputs;
  std::vector<ValueInfo> outputs;
  std::string build_report = "{}";  // of an engine built here

  // What the sessions share of the plan on its GPU, made for the first of them; null: the CPU.
  // Thread-safe.
  Result<DeviceImagePtr> image() const;

 private:
  mutable std::mutex mutex_;
  mutable DeviceImagePtr image_;
};

struct Session::Impl {
  std::shared_ptr<const Engine::Impl> engine;
  std::unique_ptr<Executor> executor;
  std::vector<HostValue> inputs;
  std::vector<bool> bound;
  std::vector<bool> kept;  // outputs, on the GPU
  bool queued = false;
  bool has_run = false;

  // Fails when an input is missing.
  Status begin_run();
  void warn_of_refusals() const;
};

// Which input or output (`what`) has the name, or an error that lists them.
Result<size_t> find_named(const std::vector<ValueInfo>& infos, std::string_view name,
                          std::string_view what);
// An engine that lacks its plan and info, and its GPU.
Result<std::shared_ptr<Engine::Impl>> make_engine_impl(const EngineOptions& options);
// The GPU that the options name; null: the CPU. "auto" takes a GPU when one can be used.
Result<cuda::ContextPtr> find_gpu(const EngineOptions& options, const Logger& logger);
// Describes the inputs and outputs of the plan that `impl` has by now.
void finish_engine(Engine::Impl& impl);

}  // namespace redline
