// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <algorithm>

#include "build/branches.h"
#include "build/chain.h"
#include "build/choose_tactics.h"
#include "build/copy_kernel.h"
#include "build/insert_copies.h"
#include "build/lower.h"
#include "build/stamp_kernels.h"
#include "passes/pass.h"
#include "tune/prior.h"

namespace redline {
namespace {

Status optimise(Graph& graph, const TacticRegistry& tactics, ThreadPool& pool,
                TuningDatabase& database, const BuildOptions& options, PrecisionReport& precision) {
  BuildMemory memory;
  memory.find = [&](const std::string& key) -> std::optional<std::string> {
    const std::string* text = database.find_note(key);
    return text == nullptr ? std::nullopt : std::optional(*text);
  };
  memory.keep = [&](const std::string& key, const std::string& text) {
    database.add_note(key, text);
  };
  PassOptions pass_options;
  pass_options.memory = &memory;
  pass_options.disabled = options.disabled_passes;
  pass_options.verify_results = options.verify_passes;
  pass_options.symbol_values.insert(options.symbol_values.begin(), options.symbol_values.end());
  pass_options.dump_folder = options.dump_ir;
  pass_options.compute_dtype = options.compute_dtype;
  pass_options.tf32 = options.tf32;
  pass_options.check_range = options.check_range;
  pass_options.run_graph = options.run_graph;
  pass_options.precision_report = &precision;
  pass_options.pool = &pool;
  pass_options.stages = options.stages;
  pass_options.logger = options.logger;
  const OpDef& fused = graph.registry().get("fused");
  pass_options.has_kernel = [&](const RegionDraft& region) {
    return has_kernel(region, fused, tactics, options);
  };
  Stages::Span stage(options.stages, "passes");
  return run_passes(graph, *make_pass_registry(), pipeline(), pass_options).status();
}

// Nothing leaves the GPU unsaid.
Status allow_host_steps(const std::vector<HostStep>& steps, const BuildOptions& options) {
  if (steps.empty()) return {};
  constexpr size_t kShown = 8;
  std::string list;
  for (size_t i = 0; i < std::min(kShown, steps.size()); ++i) {
    list += str_cat(i == 0 ? "" : "; ", steps[i].op, " '", steps[i].name, "': ", steps[i].reason);
  }
  if (steps.size() > kShown) list += str_cat("; and ", steps.size() - kShown, " more");
  if (!options.host_fallback) {
    return unsupported(
        steps.size(), steps.size() == 1 ? " step" : " steps",
        " cannot run on the GPU (allow the host for them with fallback=allow): ", list);
  }
  options.logger.warning(steps.size(), steps.size() == 1 ? " step runs" : " steps run",
                         " on the host: ", list);
  return {};
}

}  // namespace

Result<Plan> build_plan(Graph& graph, const TacticRegistry& tactics, ThreadPool& pool,
                        const BuildOptions& options, BuildReport* report) {
  bool on_gpu = options.device == "cuda";
  PrecisionReport precision;
  TuningDatabase database(options.opt_level >= 2 ? options.tuning_database : "", options.logger);
  if (options.opt_level > 0) {
    REDLINE_TRY(optimise(graph, tactics, pool, database, options, precision));
  }
  REDLINE_ASSIGN(Plan plan, lower_graph(graph));
  if (options.opt_level == 0 && !on_gpu) return plan;
  Stages::Span stage(options.stages, "choose");
  PrepareArgs args{&pool};
  Tuner tuner(tactics, args, database,
              {"cpu", options.opt_level, options.build_seconds, options.begin, options.logger});
  DeviceTuner host{tuner, args};
  std::vector<HostStep> host_steps;
  if (!on_gpu) {
    REDLINE_TRY(choose_tactics(plan, host, nullptr, options, host_steps));
    if (report != nullptr) *report = {tuner.report(), {}, {}, std::move(precision)};
    return plan;
  }
  args.context = options.context;
  args.gpu = options.gpu;
  args.compiler = options.compiler;
  if (options.context == nullptr && options.opt_level >= 2) {
    for (const TuningRecord& record : shipped_records(options.gpu->arch(), machine_name(args))) {
      database.add_default(record);
    }
  }
  Tuner gpu_tuner(
      tactics, args, database,
      {"cuda", options.opt_level, options.build_seconds, options.begin, options.logger});
  KernelStamper stamper(*options.compiler);
  if (options.timestamps) args.compiler = &stamper.compiler();
  DeviceTuner gpu{gpu_tuner, args};
  std::vector<OpenChoice> open;
  double waited = args.compiler->seconds_waited();
  REDLINE_TRY(choose_tactics(plan, host, &gpu, options, host_steps, &open));
  if (options.stages != nullptr) {
    options.stages->add("choose/wait for kernels", args.compiler->seconds_waited() - waited);
  }
  REDLINE_TRY(allow_host_steps(host_steps, options));
  // A range of sizes is no single chain.
  if (!options.further_values.empty()) open.clear();
  ChainChoice chain(std::move(open), gpu, tactics, options);
  ChainReport chain_report;
  REDLINE_TRY(chain.begin(plan));
  drop_unread_constants(plan);
  insert_copies(plan, tactics, graph.registry().get("identity"));
  REDLINE_TRY(give_copy_kernel(plan, args));
  // What runs side by side depends little on how steps are carried out, but much the other way
  // round.
  StreamsReport streams_report;
  choose_streams(plan, gpu, tactics, options, streams_report);
  REDLINE_TRY(chain.end(plan, chain_report));
  note_streams(plan, gpu, options, streams_report);
  if (options.timestamps) {
    REDLINE_TRY(stamper.stamp(plan, pool, options.progress, options.logger));
  }
  if (report != nullptr) {
    *report = {gpu_tuner.report(), std::move(chain_report), std::move(streams_report),
               std::move(precision)};
  }
  return plan;
}

}  // namespace redline
