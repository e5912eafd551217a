// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rows_teams.h"
#include "tactics/cuda/rows_ways.h"

namespace redline {
namespace {

Result<RowsProblem> rows_of(const Problem& problem) {
  ElementWriter writer(problem);
  return describe_rows(problem, writer);
}

Status supports(const Problem& problem) {
  for (const auto* operands : {&problem.inputs, &problem.outputs}) {
    for (const OperandDesc& operand : *operands) {
      if (!operand.present) continue;
      if (!operand.is_tensor || !operand.has_rank)
        return unsupported("takes tensors of known rank");
      if (operand.dtype == DType::kString) return unsupported("takes no strings");
    }
  }
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check_described());
  REDLINE_ASSIGN(RowsProblem rows, describe_rows(problem, writer));
  REDLINE_TRY(writer.check_around(rows.anchor));
  if (writer.value(rows.source).dtype == DType::kBool) return unsupported("takes numbers");
  return {};
}

std::vector<Config> configs(const Problem& problem) {
  Result<RowsProblem> rows = rows_of(problem);
  if (!rows.ok()) return {{}};
  return rows_configs(problem, *rows);
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config& config,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(RowsProblem rows, rows_of(problem));
  REDLINE_ASSIGN(std::vector<RowsWay> ways, rows_ways(problem, rows, config));
  bool known = element_parameters(problem).empty();
  std::vector<cuda::KernelSource> sources;
  for (const RowsWay& way : ways) {
    bool wide = way.wide || (known && !fits_short_indices(problem));
    for (const RowsShape& shape : way.launches) {
      REDLINE_ASSIGN(ElementKernel kernel, write_rows_kernel(problem, shape));
      sources.push_back(indexed_source(kernel, wide, device));
      sources.back().dynamic_shared_bytes = static_cast<int>(rows_shared_bytes(shape));
    }
  }
  return sources;
}

// Blocks wait for the others of the same row.
Status run_together(KernelLaunch::Step& step, int members, const cuda::Context& context) {
  REDLINE_ASSIGN(int resident, step.function.occupancy(static_cast<int>(step.shape.block.x),
                                                       step.shape.shared_bytes));
  bool all = step.shape.grid.x == 0 || step.shape.grid.x >= static_cast<unsigned int>(members);
  if (resident < 1 || !all ||
      step.shape.grid.x > static_cast<unsigned int>(context.info().multiprocessors)) {
    return incompatible("a team of blocks for which the GPU has no room");
  }
  step.shape.together = true;
  return {};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  const Problem& written_problem = *args.written;
  std::vector<int64_t> sizes = parameter_values(written_problem, problem);
  REDLINE_ASSIGN(RowsProblem written, rows_of(written_problem));
  REDLINE_ASSIGN(RowsProblem rows, rows_of(problem));
  REDLINE_ASSIGN(std::vector<RowsWay> ways, rows_ways(written_problem, written, config));
  std::optional<int64_t> count = rows.known_size(false);
  std::optional<int64_t> length = rows.known_size(true);
  if (!count || !length) return unsupported("sizes that overflow");
  size_t first = 0;
  bool known = sizes.empty();
  for (const RowsWay& way : ways) {
    size_t module = first;
    first += way.launches.size();
    bool indices = way.wide || known || fits_short_indices(problem);
    if (!indices || !rows_way_takes(way, written, rows, *length)) continue;
    std::vector<KernelLaunch::Step> steps;
    KernelLaunch::Parts parts = {way.parts, rows_workspace(way, *count)};
    for (const RowsShape& shape : way.launches) {
      int64_t blocks = rows_blocks(shape, rows, way.parts, written.applies(),
                                   args.context->info().multiprocessors);
      REDLINE_ASSIGN(KernelLaunch::Step step,
                     KernelLaunch::step(args, module++, kRowsEntry, blocks, rows_threads(shape),
                                        rows_shared_bytes(shape)));
      step.shape.cluster.x = static_cast<unsigned int>(shape.cluster);
      if (shape.cluster > kPortableCluster) REDLINE_TRY(step.function.allow_large_clusters());
      if (team_waits(shape)) {
        REDLINE_TRY(run_together(step, team_members(shape), *args.context));
        parts.kept_bytes = team_kept_bytes(shape, rows);
      }
      if (in_team_columns(shape.kernel)) {
        cuda::TensorMap::Shape map = team_map(shape, rows);
        parts.maps = {{static_cast<size_t>(rows.source), map},
                      {problem.inputs.size() + team_output(rows), map}};
      }
      steps.push_back(std::move(step));
    }
    return KernelLaunch::create(problem, "cuda.rows", std::move(steps), std::move(sizes),
                                std::move(parts));
  }
  return incompatible("a step over rows whose kernels do not take its sizes");
}

}  // namespace

void register_tactic_rows(TacticRegistry& registry) {
  registry.add({.name = "cuda.rows",
                .device = "cuda",
                .ops = {"fused",
                        "reduce_sum",
                        "reduce_mean",
                        "reduce_max",
                        "reduce_min",
                        "reduce_prod",
                        "reduce_l1",
                        "reduce_l2",
                        "reduce_sum_square",
                        "reduce_log_sum",
                        "reduce_log_sum_exp",
                        "arg_max",
                        "arg_min",
                        "softmax",
                        "log_softmax",
                        "hardmax",
                        "layer_norm",
                        "rms_norm",
                        "lp_norm",
                        "mean_variance_norm",
                        "group_norm",
                        "instance_norm"},
                .supports = supports,
                .configs = configs,
                .fits = rows_config_fits,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
