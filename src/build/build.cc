// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include "build/choose_tactics.h"
#include "build/lower.h"
#include "passes/pass.h"

namespace redline {
namespace {

Status optimise(Graph& graph, const TacticRegistry& tactics, const BuildOptions& options,
                PrecisionReport& precision) {
  PassOptions pass_options;
  pass_options.disabled = options.disabled_passes;
  pass_options.verify_results = options.verify_passes;
  pass_options.symbol_values.insert(options.symbol_values.begin(), options.symbol_values.end());
  pass_options.dump_folder = options.dump_ir;
  pass_options.compute_dtype = options.compute_dtype;
  pass_options.check_range = options.check_range;
  pass_options.precision_report = &precision;
  pass_options.logger = options.logger;
  const OpDef& fused = graph.registry().get("fused");
  pass_options.has_kernel = [&](const RegionDraft& region) {
    return has_kernel(region, fused, tactics, options);
  };
  return run_passes(graph, *make_pass_registry(), pipeline(), pass_options).status();
}

}  // namespace

Result<Plan> build_plan(Graph& graph, const TacticRegistry& tactics, ThreadPool& pool,
                        const BuildOptions& options, BuildReport* report) {
  PrecisionReport precision;
  if (options.opt_level > 0) REDLINE_TRY(optimise(graph, tactics, options, precision));
  REDLINE_ASSIGN(Plan plan, lower_graph(graph));
  if (options.opt_level == 0) return plan;
  TuningDatabase database(options.opt_level >= 2 ? options.tuning_database : "", options.logger);
  PrepareArgs args{&pool};
  Tuner tuner(tactics, args, database,
              {options.device, options.opt_level, options.build_seconds, options.logger});
  REDLINE_TRY(choose_tactics(plan, tuner, args, options));
  if (report != nullptr) *report = {tuner.report(), std::move(precision)};
  return plan;
}

}  // namespace redline
