// SPDX-License-Identifier: Apache-2.0
#include "passes/pass.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>

#include "base/file_io.h"
#include "ir/text.h"
#include "ir/verify.h"
#include "ops/compare.h"

namespace redline {
namespace {

constexpr uint64_t kSeed = 20240229;
// Rewrites may sum in another order, at most about this many terms at a time.
constexpr int64_t kReductionLength = 4096;

bool has_random(const Graph& graph) {
  bool found = false;
  graph.for_each_node([&](Node* node) { found |= node->op().has(kTraitRandom); });
  return found;
}

// To its largest element, an output of a deep network: each layer rounds once more.
// Of tf32 and f16 the steps are the same.
Tolerance lowered_tolerance(const PassOptions& options) {
  return {0, 16 * dtype_epsilon(options.tf32 ? DType::kFloat16 : options.compute_dtype)};
}

// The results of the graph on seeded inputs, kept from one pass to the next.
class ResultCheck {
 public:
  explicit ResultCheck(const PassOptions& options) : options_(options) {}

  Status start(const Graph& graph) {
    if (!options_.verify_results) return {};
    if (has_random(graph)) {
      options_.logger.warning("verify passes: the graph draws random numbers; not compared");
      return {};
    }
    REDLINE_ASSIGN(inputs_, random_inputs(graph, options_.symbol_values, kSeed));
    Result<std::vector<HostValue>> results = interpret(graph, inputs_);
    if (!results.ok()) {
      return results.status().with_context("verify passes: the graph as it came does not run");
    }
    results_ = *std::move(results);
    active_ = true;
    return {};
  }

  Status check(const Graph& graph, bool lowered) {
    if (!active_) return {};
    REDLINE_ASSIGN(std::vector<HostValue> results, interpret(graph, inputs_));
    for (size_t i = 0; i < results.size(); ++i) {
      Status same = lowered ? compare_values(results_[i], results[i], lowered_tolerance(options_))
                            : compare_values(results_[i], results[i], kReductionLength);
      if (!same.ok()) {
        return internal_error("changes output '", graph.output_names()[i], "': ", same.message());
      }
    }
    return {};
  }

 private:
  const PassOptions& options_;
  bool active_ = false;
  std::vector<HostValue> inputs_;
  std::vector<HostValue> results_;
};

std::string two_digits(int number) {
  return number < 10 ? str_cat("0", number) : std::to_string(number);
}

}  // namespace

void PrecisionReport::keep(const Node& node, std::string_view reason) {
  auto it = std::find_if(kept.begin(), kept.end(), [&](const Kept& k) {
    return k.op == node.op().name && k.reason == reason;
  });
  if (it == kept.end()) it = kept.insert(it, {node.op().name, std::string(reason), {}});
  it->nodes.push_back(node.name.empty() ? node.output()->name : node.name);
}

void PassRegistry::add(Pass pass) {
  REDLINE_ASSERT(pass.run != nullptr);
  std::string name = pass.name;
  bool inserted = passes_.emplace(std::move(name), std::move(pass)).second;
  REDLINE_ASSERT(inserted);
}

const Pass* PassRegistry::find(std::string_view name) const {
  auto it = passes_.find(name);
  return it == passes_.end() ? nullptr : &it->second;
}

std::vector<const Pass*> PassRegistry::all() const {
  std::vector<const Pass*> result;
  for (const auto& [name, pass] : passes_) result.push_back(&pass);
  return result;
}

std::unique_ptr<PassRegistry> make_pass_registry() {
  auto registry = std::make_unique<PassRegistry>();
  register_pass_all(*registry);
  return registry;
}

Status infer_all(Graph& graph) {
  for (const auto& node : graph.nodes()) REDLINE_TRY(graph.infer(node.get()));
  return {};
}

Result<bool> run_pass(const Pass& pass, Graph& graph, PassContext& context) {
  std::string where = "pass '" + pass.name + "'";
  Result<bool> changed = pass.run(graph, context);
  if (!changed.ok()) return changed.status().with_context(where);
  if (!*changed) return false;
  Status status = infer_all(graph);
  if (status.ok() && context.options.verify_each) status = verify(graph);
  if (!status.ok()) return status.with_context(where);
  return true;
}

Result<std::vector<PassReport>> run_passes(Graph& graph, const PassRegistry& registry,
                                           const std::vector<PipelineGroup>& groups,
                                           const PassOptions& options) {
  for (const std::string& name : options.disabled) {
    if (registry.find(name) == nullptr) {
      std::string names;
      for (const Pass* pass : registry.all()) names += (names.empty() ? "" : ", ") + pass->name;
      return invalid_argument("no pass is named '", name, "'; the passes are ", names);
    }
  }
  if (!options.dump_folder.empty()) {
    std::error_code problem;
    std::filesystem::create_directories(options.dump_folder, problem);
    if (problem) {
      return io_error("cannot make the folder '", options.dump_folder, "': ", problem.message());
    }
  }
  PassContext context{options};
  ResultCheck check(options);
  REDLINE_TRY(check.start(graph));
  std::vector<PassReport> reports;
  int dumps = 0;
  for (const PipelineGroup& group : groups) {
    bool changed = true;
    int round = 0;
    for (; changed && round < group.max_rounds; ++round) {
      changed = false;
      for (const PipelineStep& step : group.steps) {
        const Pass* pass = registry.find(step.pass);
        if (pass == nullptr) {
          return internal_error("the pipeline names the pass '", step.pass,
                                "', which does not exist");
        }
        if (std::find(options.disabled.begin(), options.disabled.end(), step.pass) !=
            options.disabled.end()) {
          continue;
        }
        Stages::Span stage(options.stages, str_cat("passes/", step.pass));
        auto start = std::chrono::steady_clock::now();
        REDLINE_ASSIGN(bool did, run_pass(*pass, graph, context));
        std::chrono::duration<double, std::milli> ms = std::chrono::steady_clock::now() - start;
        stage.end();
        auto report = std::find_if(reports.begin(), reports.end(),
                                   [&](const PassReport& r) { return r.pass == step.pass; });
        if (report == reports.end()) {
          report = reports.insert(report, PassReport{std::string(step.pass)});
        }
        report->ms += ms.count();
        ++report->runs;
        if (!did) continue;
        ++report->changes;
        changed = true;
        if (!options.dump_folder.empty()) {
          std::string file = str_cat(options.dump_folder, "/", two_digits(++dumps), "_", group.name,
                                     "_", step.pass, ".ir");
          REDLINE_TRY(write_file(file, print_graph(graph, {.elide_constants = true})));
        }
        Status same = check.check(graph, context.lowered);
        if (!same.ok()) return same.with_context("pass '" + pass->name + "'");
      }
    }
    if (changed && group.max_rounds > 1) {
      options.logger.verbose("pass group '", group.name, "' still changed the graph after ",
                             group.max_rounds, " rounds");
    }
  }
  REDLINE_TRY(verify(graph).with_context("after the passes"));
  for (const PassReport& report : reports) {
    options.logger.verbose("pass ", report.pass, ": ", report.changes, " of ", report.runs,
                           " runs changed the graph, ", report.ms, " ms");
  }
  return reports;
}

}  // namespace redline
