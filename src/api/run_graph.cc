// SPDX-License-Identifier: Apache-2.0
#include "api/run_graph.h"

#include <algorithm>

#include "build/choose_tactics.h"
#include "build/lower.h"
#include "runtime/executor.h"

namespace redline {
namespace {

// Step i of a plan that was lowered and not changed since is node i of its graph.
class NodeObserver final : public StepObserver {
 public:
  NodeObserver(const Graph& graph, const ValueObserver& observer) : observer_(observer) {
    for (const auto& node : graph.nodes()) nodes_.push_back(node.get());
  }
  void before_step(size_t, const PlanStep&) override {}
  void after_step(size_t index, const PlanStep&,
                  std::span<const HostValue* const> outputs) override {
    const Node& node = *nodes_[index];
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (outputs[i] != nullptr) observer_(*node.outputs()[i], *outputs[i]);
    }
  }

 private:
  std::vector<const Node*> nodes_;
  const ValueObserver& observer_;
};

Status run(const Graph& graph, std::span<const HostValue> inputs, const ValueObserver& observer,
           const TacticRegistry& tactics, ThreadPool& pool) {
  bool nested = std::any_of(graph.nodes().begin(), graph.nodes().end(),
                            [](const auto& node) { return !node->subgraphs().empty(); });
  if (nested) return interpret(graph, inputs, observer).status();
  REDLINE_ASSIGN(Plan plan, lower_graph(graph));
  BuildOptions options;
  options.opt_level = 1;
  TuningDatabase database("", options.logger);
  Tuner tuner(tactics, {&pool}, database, {"cpu", options.opt_level});
  DeviceTuner host{tuner, {&pool}};
  std::vector<HostStep> host_steps;
  REDLINE_TRY(choose_tactics(plan, host, nullptr, options, host_steps));
  REDLINE_ASSIGN(std::unique_ptr<Executor> executor, Executor::create(plan, tactics, pool));
  NodeObserver nodes(graph, observer);
  executor->set_observer(&nodes);
  return executor->run(inputs);
}

}  // namespace

GraphRunner cpu_graph_runner(const TacticRegistry& tactics, ThreadPool& pool) {
  return [&tactics, &pool](const Graph& graph, std::span<const HostValue> inputs,
                           const ValueObserver& observer) {
    return run(graph, inputs, observer, tactics, pool);
  };
}

}  // namespace redline
