// SPDX-License-Identifier: Apache-2.0
#include "build/build.h"

#include <algorithm>
#include <future>
#include <system_error>

#include "api/build_graph.h"
#include "api/build_report.h"
#include "api/check_settings.h"
#include "api/engine_impl.h"
#include "api/range_sizes.h"
#include "api/run_graph.h"
#include "api/time_chain.h"
#include "base/mmap_file.h"
#include "onnx/importer.h"
#include "plan/engine_file.h"

namespace redline {
namespace {

// Whether constants are packed for this CPU and its library: no other reads them.
bool has_cpu_packing(const Plan& plan, const TacticRegistry& tactics) {
  return std::any_of(plan.steps.begin(), plan.steps.end(), [&](const PlanStep& step) {
    const Tactic* tactic = tactics.find(step.tactic);
    return (tactic != nullptr && tactic->device == "cpu" &&
            std::any_of(step.inputs.begin(), step.inputs.end(),
                        [&](int input) { return is_packed(plan, input); })) ||
           std::any_of(step.subplans.begin(), step.subplans.end(),
                       [&](const auto& subplan) { return has_cpu_packing(*subplan, tactics); });
  });
}

Result<DType> compute_dtype(const BuildSettings& settings) {
  if (settings.precision == Precision::kFloat32) return DType::kFloat32;
  if (settings.opt_level == 0) {
    return invalid_argument("a lower precision needs an optimisation level of 1 or more, not 0");
  }
  if (settings.precision == Precision::kTf32) return DType::kFloat32;
  return settings.precision == Precision::kFloat16 ? DType::kFloat16 : DType::kBFloat16;
}

Status check_not_built(const BuildSettings& settings) {
  if (settings.timestamps) {
    return invalid_argument(
        "is an engine already: its kernels have time stamps if it was built with them; give the "
        "model instead, or an engine that was built so");
  }
  if (settings.side_streams) {
    return invalid_argument("is an engine already: its streams were chosen when it was built");
  }
  if (!settings.size_ranges.empty()) {
    return invalid_argument(
        "is an engine already: the sizes that it is good at were chosen when it was built");
  }
  if (!settings.target.empty()) {
    return invalid_argument("is an engine already: its target was chosen when it was built");
  }
  if (settings.precision == Precision::kFloat32) return {};
  return invalid_argument("is an engine already: its precision was chosen when it was built");
}

// Of several values of a symbol the first counts.
Status take_sizes(const BuildSettings& settings, BuildOptions& options) {
  for (const BuildSettings::SizeRange& range : settings.size_ranges) {
    options.symbol_values.emplace_back(range.symbol, range.likely);
  }
  if (!settings.size_ranges.empty()) {
    REDLINE_ASSIGN(options.further_values, range_sizes(settings.size_ranges));
  }
  auto add_sizes = [&](BuildOptions::SymbolValues& values) {
    values.insert(values.end(), settings.optimal_sizes.begin(), settings.optimal_sizes.end());
  };
  add_sizes(options.symbol_values);
  for (BuildOptions::SymbolValues& values : options.further_values) add_sizes(values);
  return {};
}

// What a build for a GPU needs; without a compiler: the CPU.
struct GpuBuild {
  cuda::DeviceInfo info;
  cuda::ContextPtr context;  // null: built for a GPU that is not here
  std::shared_ptr<cuda::KernelCompiler> compiler;
};

Result<GpuBuild> find_build_gpu(const BuildSettings& settings, const Logger& logger) {
  GpuBuild gpu;
  if (!settings.target.empty()) {
    if (settings.device != "cuda") {
      return invalid_argument("target ", settings.target, " is for device cuda, not ",
                              settings.device);
    }
    REDLINE_ASSIGN(gpu.info, cuda::DeviceInfo::of_arch(settings.target));
  } else {
    REDLINE_ASSIGN(gpu.context, find_gpu(settings, logger));
    if (gpu.context == nullptr) return gpu;
    gpu.info = gpu.context->info();
  }
  Result<std::shared_ptr<cuda::KernelCompiler>> compiler =
      cuda::KernelCompiler::create(cuda::CubinCache(cuda::CubinCache::default_folder(), logger));
  if (compiler.ok()) {
    gpu.compiler = *std::move(compiler);
    return gpu;
  }
  if (settings.device != "auto") return compiler.status();
  logger.warning("using the CPU beside ", gpu.info.name, ": ", compiler.status().message());
  return GpuBuild();
}

// The driver takes a quarter of a second to make a context, which it may do while the model is
// read. What goes wrong is told by who asks for the context.
std::future<void> wake_gpu(const BuildSettings& settings) {
  if (settings.device == "cpu" || !settings.target.empty()) return {};
  EngineOptions options;
  options.device = settings.device;
  try {
    return std::async(std::launch::async,
                      [options] { static_cast<void>(find_gpu(options, Logger())); });
  } catch (const std::system_error&) {
    return {};  // no thread for it
  }
}

Result<Engine> build_from(const ModelBytes& model, const BuildSettings& settings) {
  if (settings.progress && !settings.progress("import", 0))
    return cancelled("stopped by the caller");
  std::future<void> gpu = wake_gpu(settings);
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<ImportRegistry> rules = make_import_registry();
  Stages stages;
  Stages::Span stage(&stages, "import");
  REDLINE_ASSIGN(ImportedModel imported, import_onnx(model, *ops, *rules));
  stage.end();
  EngineInfo info;
  info.model = model.path;
  info.metadata = std::move(imported.metadata);
  return build_graph(std::move(ops), *imported.graph, std::move(info), settings, std::move(stages));
}

}  // namespace

Result<Engine> build_graph(std::unique_ptr<OpRegistry> ops, Graph& graph, EngineInfo info,
                           const BuildSettings& settings, Stages stages) {
  REDLINE_ASSIGN(std::shared_ptr<Engine::Impl> impl, make_engine_impl(settings));
  impl->ops = std::move(ops);
  impl->info = std::move(info);
  REDLINE_TRY(check_settings(settings, graph));
  BuildOptions options;
  Stages::Span device_stage(&stages, "device");
  REDLINE_ASSIGN(GpuBuild gpu, find_build_gpu(settings, impl->logger));
  device_stage.end();
  if (gpu.compiler != nullptr) {
    options.device = impl->info.device = "cuda";
    impl->info.device_arch = gpu.info.arch();
    options.gpu = &gpu.info;
    options.context = impl->gpu = gpu.context;
    options.compiler = gpu.compiler.get();
    impl->runs_here = gpu.context != nullptr;
    options.host_fallback = settings.host_fallback || settings.device == "auto";
  }
  options.timestamps = settings.timestamps;
  options.side_streams = settings.side_streams;
  if (settings.timestamps && gpu.compiler == nullptr) {
    return invalid_argument(
        "time stamps are for the kernels of a GPU, and this engine is for the CPU, where each step "
        "is timed without them: leave them out");
  }
  options.disabled_passes = settings.disabled_passes;
  options.verify_passes = settings.verify_passes;
  options.dump_ir = settings.dump_ir;
  REDLINE_ASSIGN(options.compute_dtype, compute_dtype(settings));
  bool asks_tf32 = settings.precision == Precision::kTf32;
  options.tf32 = asks_tf32 && gpu.compiler != nullptr;
  options.check_range = settings.check_range;
  options.run_graph = cpu_graph_runner(*impl->tactics, *impl->pool);
  if (options.context != nullptr) {
    options.make_chain = gpu_chain_maker(*impl->tactics, *impl->pool, options.context);
  }
  options.opt_level = settings.opt_level;
  REDLINE_TRY(take_sizes(settings, options));
  options.logger = impl->logger;
  if (settings.progress) options.progress = Progress(settings.progress);
  options.begin = stages.begin();
  if (settings.build_seconds) options.build_seconds = *settings.build_seconds;
  options.tuning_database = settings.tuning_database.value_or(default_tuning_database());
  options.stages = &stages;
  BuildReport report;
  REDLINE_ASSIGN(impl->plan, build_plan(graph, *impl->tactics, *impl->pool, options, &report));
  if (asks_tf32 && !options.tf32) {
    report.precision.note = "asked for tf32, computes in f32: the CPU gains nothing from less";
    impl->logger.warning(report.precision.note);
  }
  if (has_cpu_packing(impl->plan, *impl->tactics)) impl->info.libraries = packing_library();
  finish_engine(*impl);
  impl->build_report = describe_build(report, stages);
  return Engine(std::move(impl));
}

Result<Engine> build(const std::string& model_path, const BuildSettings& settings) {
  Result<ModelBytes> model = open_model(model_path);
  if (!model.ok()) return model.status().at_position(model_path);
  if (looks_like_engine(model->bytes)) {
    return invalid_argument(model_path, ": is an engine already; load it instead")
        .at_position(model_path);
  }
  Result<Engine> engine = build_from(*model, settings);
  if (!engine.ok()) return engine.status().at_position(model_path);
  return engine;
}

Result<Engine> build(std::span<const std::byte> model, const BuildSettings& settings) {
  auto copy = std::make_shared<std::vector<std::byte>>(model.begin(), model.end());
  return build_from({*copy, copy, ""}, settings);
}

Result<Engine> load(const std::string& path, const BuildSettings& settings) {
  Result<std::shared_ptr<const MmapFile>> file = MmapFile::open(path);
  if (!file.ok()) return file.status().at_position(path);
  if (looks_like_engine((*file)->bytes())) {
    Status status = check_not_built(settings);
    if (!status.ok()) return status.with_context(path).at_position(path);
    return Engine::load(path, settings);
  }
  return build(path, settings);
}

Result<Engine> load(std::span<const std::byte> bytes, const BuildSettings& settings) {
  if (looks_like_engine(bytes)) {
    REDLINE_TRY(check_not_built(settings));
    return Engine::load(bytes, settings);
  }
  return build(bytes, settings);
}

Result<CheckReport> check(const std::string& model_path) {
  REDLINE_ASSIGN(ModelBytes model, open_model(model_path));
  if (looks_like_engine(model.bytes)) {
    return invalid_argument(model_path, ": is an engine, expected an ONNX model");
  }
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<ImportRegistry> rules = make_import_registry();
  ImportReport report;
  Result<ImportedModel> imported = import_onnx(model, *ops, *rules, &report);
  CheckReport result;
  for (const auto& op : report.ops) {
    result.ops.push_back({op.op, op.nodes, op.problems});
    result.nodes += op.nodes;
  }
  for (const ImportProblem& p : report.problems) {
    result.problems.push_back({p.node, p.op_type, p.domain, p.reason, p.nearest, p.opset});
  }
  if (!imported.ok() && report.problems.empty())
    result.error = std::string(imported.status().message());
  return result;
}

}  // namespace redline
