// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/stages.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "ir/fuse.h"
#include "ir/graph.h"
#include "ir/interpreter.h"

namespace redline {

// What lower_precision or allow_tf32 did, for people.
struct PrecisionReport {
  struct Kept {
    std::string op;
    std::string reason;
    std::vector<std::string> nodes;  // by name
  };
  DType dtype = DType::kFloat32;  // what f32 became
  bool tf32 = false;              // f32 stays, and is rounded before it is multiplied
  std::string note;               // why something else was done than asked for
  size_t lowered = 0;             // nodes
  std::vector<Kept> kept;         // nodes whose f32 results stay, by op and reason
  std::string range_check;        // what was run, or why nothing was

  // The node's results stay f32.
  void keep(const Node& node, std::string_view reason);
};

// What earlier builds found out, as texts by keys of their own.
struct BuildMemory {
  std::function<std::optional<std::string>(const std::string& key)> find;
  std::function<void(const std::string& key, const std::string& text)> keep;
};

struct PassOptions {
  std::vector<std::string> disabled;
  // Checks the graph after each pass that changed it, and not only at the end.
  bool verify_each = true;
  // Runs the graph with the references before and after each pass, on seeded random inputs with
  // the symbols' values, and compares. Slow.
  bool verify_results = false;
  SymbolValues symbol_values;
  // A folder, made if need be, for the graph after each pass that changed it; empty: none.
  std::string dump_folder;
  // f16 or bf16: what lower_precision makes of f32 where that is safe. f32: it does nothing.
  DType compute_dtype = DType::kFloat32;
  // allow_tf32 lets products round their f32 operands; else it does nothing.
  bool tf32 = false;
  // Looks for values that overflow f16 on random inputs however long that takes; else only where
  // it is cheap.
  bool check_range = false;
  GraphRunner run_graph;                        // to look for them; unset: with the references
  const BuildMemory* memory = nullptr;          // of what was found
  PrecisionReport* precision_report = nullptr;  // filled by the pass that changes any
  // True when a kernel of the target takes the region as it is. Unset: any region goes.
  std::function<bool(const RegionDraft&)> has_kernel;
  ThreadPool* pool = nullptr;  // for work on large constants; null: one thread does it
  Stages* stages = nullptr;    // gets the time of each pass, as "passes/NAME"
  Logger logger;
};

// What a pass may know besides the graph.
struct PassContext {
  const PassOptions& options;
  // Folding makes no constant larger than this unless its operands already were.
  int64_t max_folded_bytes = 16 << 20;
  // f32 became compute_dtype, or is rounded: from here on results agree with the model's to that
  // precision.
  bool lowered = false;
};

// One rewriting of the graph that keeps what it computes. A new pass is one file that exports
// register_pass_<stem>, its test tests/passes/<name>.ir, and its line in pipeline.cc.
struct Pass {
  std::string name;
  std::string summary;  // one line, for people
  // True when the graph changed. After an error the graph is only good for destruction.
  Result<bool> (*run)(Graph& graph, PassContext& context) = nullptr;
};

// All passes, by name. Filled once, then read-only and thread-safe; passed as a parameter.
class PassRegistry {
 public:
  void add(Pass pass);  // a name may be added once
  const Pass* find(std::string_view name) const;
  std::vector<const Pass*> all() const;  // by name

 private:
  std::map<std::string, Pass, std::less<>> passes_;
};

void register_pass_all(PassRegistry& registry);
std::unique_ptr<PassRegistry> make_pass_registry();

// Passes run in order, again and again until none of them changes the graph or the rounds are used
// up. Order is a decision, so each line has its reason.
struct PipelineStep {
  std::string_view pass;
  std::string_view reason;
};
struct PipelineGroup {
  std::string_view name;
  int max_rounds = 1;
  std::vector<PipelineStep> steps;
};
const std::vector<PipelineGroup>& pipeline();

// What one pass did over the whole run.
struct PassReport {
  std::string pass;
  int runs = 0;
  int changes = 0;  // runs that changed the graph
  double ms = 0;
};

// Runs one pass, re-infers types where it changed the graph, and makes the checks of the options.
Result<bool> run_pass(const Pass& pass, Graph& graph, PassContext& context);
// Runs a pipeline. Names in `disabled` that no pass has are an error.
Result<std::vector<PassReport>> run_passes(Graph& graph, const PassRegistry& registry,
                                           const std::vector<PipelineGroup>& groups,
                                           const PassOptions& options);

// Runs every node's shape rule again, so that what passes found out spreads.
Status infer_all(Graph& graph);

}  // namespace redline
