// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <chrono>
#include <cstring>

#include "api/engine_impl.h"
#include "base/file_io.h"
#include "base/mmap_file.h"
#include "build/build.h"
#include "onnx/importer.h"
#include "plan/engine_file.h"

namespace redline {
namespace {

ValueInfo describe(const Plan& plan, const NamedValue& named) {
  const Type& type = plan.values[static_cast<size_t>(named.value)].type;
  ValueInfo info;
  info.name = named.name;
  info.kind = static_cast<HostValue::Kind>(type.kind);
  info.type = type.to_string();
  info.dtype = type.dtype;
  info.has_rank = type.is_tensor() && type.shape.has_rank();
  if (info.has_rank) {
    for (const Dim& dim : type.shape.dims()) info.dims.push_back(dim.to_string());
  }
  return info;
}

Result<std::shared_ptr<Engine::Impl>> make_impl(const EngineOptions& options) {
  if (options.device != "cpu" && options.device != "auto") {
    return unsupported("device '", options.device, "'; this build of Redline has: cpu");
  }
  auto impl = std::make_shared<Engine::Impl>();
  impl->ops = make_op_registry();
  impl->tactics = make_tactic_registry();
  REDLINE_ASSIGN(std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.num_threads));
  impl->pool = std::move(pool);
  if (options.log) impl->logger = Logger(options.log);
  return impl;
}

bool has_packed_constants(const Plan& plan) {
  for (const auto& constant : plan.constants) {
    if (!constant->recipe.empty()) return true;
  }
  return std::any_of(plan.steps.begin(), plan.steps.end(), [](const PlanStep& step) {
    return std::any_of(step.subplans.begin(), step.subplans.end(),
                       [](const auto& subplan) { return has_packed_constants(*subplan); });
  });
}

void fill_infos(Engine::Impl& impl) {
  for (const NamedValue& input : impl.plan.inputs)
    impl.inputs.push_back(describe(impl.plan, input));
  for (const NamedValue& output : impl.plan.outputs) {
    impl.outputs.push_back(describe(impl.plan, output));
  }
}

Result<Engine> build_from(const ModelBytes& model, const BuildSettings& settings) {
  if (settings.progress && !settings.progress("import", 0))
    return cancelled("stopped by the caller");
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  std::unique_ptr<ImportRegistry> rules = make_import_registry();
  REDLINE_ASSIGN(ImportedModel imported, import_onnx(model, *ops, *rules));
  EngineInfo info;
  info.model = model.path;
  info.metadata = std::move(imported.metadata);
  return build_graph(std::move(ops), *imported.graph, std::move(info), settings);
}

}  // namespace

Result<Engine> build_graph(std::unique_ptr<OpRegistry> ops, Graph& graph, EngineInfo info,
                           const BuildSettings& settings) {
  REDLINE_ASSIGN(std::shared_ptr<Engine::Impl> impl, make_impl(settings));
  impl->ops = std::move(ops);
  impl->info = std::move(info);
  BuildOptions options;
  options.device = "cpu";
  options.disabled_passes = settings.disabled_passes;
  options.verify_passes = settings.verify_passes;
  options.dump_ir = settings.dump_ir;
  options.opt_level = settings.opt_level;
  options.symbol_values = settings.optimal_sizes;
  options.logger = impl->logger;
  if (settings.progress) options.progress = Progress(settings.progress);
  if (settings.build_seconds) options.build_seconds = *settings.build_seconds;
  options.tuning_database = settings.tuning_database.value_or(default_tuning_database());
  REDLINE_ASSIGN(impl->plan,
                 build_plan(graph, *impl->tactics, *impl->pool, options, &impl->tuning.emplace()));
  if (has_packed_constants(impl->plan)) impl->info.libraries = packing_library();
  fill_infos(*impl);
  return Engine(std::move(impl));
}

std::string_view version() { return REDLINE_VERSION; }

Result<Engine> build(const std::string& model_path, const BuildSettings& settings) {
  REDLINE_ASSIGN(ModelBytes model, open_model(model_path));
  if (looks_like_engine(model.bytes)) {
    return invalid_argument(model_path, ": is an engine already; load it instead");
  }
  return build_from(model, settings);
}

Result<Engine> build(std::span<const std::byte> model, const BuildSettings& settings) {
  auto copy = std::make_shared<std::vector<std::byte>>(model.begin(), model.end());
  return build_from({*copy, copy, ""}, settings);
}

Result<Engine> load(const std::string& path, const BuildSettings& settings) {
  REDLINE_ASSIGN(std::shared_ptr<const MmapFile> file, MmapFile::open(path));
  if (looks_like_engine(file->bytes())) return Engine::load(path, settings);
  return build(path, settings);
}

Result<Engine> load(std::span<const std::byte> bytes, const BuildSettings& settings) {
  if (looks_like_engine(bytes)) return Engine::load(bytes, settings);
  return build(bytes, settings);
}

namespace {

template <class Load>
Result<Engine> load_with(const EngineOptions& options, Load&& load) {
  REDLINE_ASSIGN(std::shared_ptr<Engine::Impl> impl, make_impl(options));
  REDLINE_ASSIGN(LoadedEngine loaded, load(*impl->ops));
  impl->info = std::move(loaded.info);
  const std::string& libraries = impl->info.libraries;
  if (!libraries.empty() && libraries != packing_library()) {
    return incompatible("the engine was built with ", libraries, ", here is ",
                        packing_library().empty() ? "none" : packing_library(),
                        "; build it again on this machine");
  }
  impl->plan = std::move(loaded.plan);
  fill_infos(*impl);
  return Engine(std::move(impl));
}

}  // namespace

Result<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
  return load_with(options, [&](const OpRegistry& ops) { return load_engine(path, ops); });
}

Result<Engine> Engine::load(std::span<const std::byte> bytes, const EngineOptions& options) {
  auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  return load_with(options, [&](const OpRegistry& ops) { return parse_engine(*copy, copy, ops); });
}

Status Engine::save(const std::string& path) const {
  return save_engine(path, impl_->info, impl_->plan);
}
Result<std::vector<std::byte>> Engine::serialize() const {
  return serialize_engine(impl_->info, impl_->plan);
}

const std::vector<ValueInfo>& Engine::inputs() const { return impl_->inputs; }
const std::vector<ValueInfo>& Engine::outputs() const { return impl_->outputs; }
const std::vector<std::pair<std::string, std::string>>& Engine::metadata() const {
  return impl_->info.metadata;
}
std::string_view Engine::device() const { return impl_->info.device; }

struct Session::Impl {
  std::shared_ptr<const Engine::Impl> engine;
  std::unique_ptr<Executor> executor;
  std::vector<HostValue> inputs;
  std::vector<bool> bound;
  bool has_run = false;
};

Result<Session> Engine::create_session() const {
  auto session = std::make_unique<Session::Impl>();
  session->engine = impl_;
  REDLINE_ASSIGN(session->executor, Executor::create(impl_->plan, *impl_->tactics, *impl_->pool));
  session->inputs.resize(impl_->plan.inputs.size());
  session->bound.resize(impl_->plan.inputs.size());
  return Session(std::move(session));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Status Session::bind(std::string_view input, HostValue value) {
  const std::vector<ValueInfo>& infos = impl_->engine->inputs;
  for (size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name != input) continue;
    impl_->inputs[i] = std::move(value);
    impl_->bound[i] = true;
    return {};
  }
  std::string names;
  for (const ValueInfo& info : infos) names += str_cat(names.empty() ? "'" : ", '", info.name, "'");
  return invalid_argument("the model has no input '", input,
                          "'; its inputs are: ", names.empty() ? "none" : names);
}

Status Session::run() {
  for (size_t i = 0; i < impl_->bound.size(); ++i) {
    if (impl_->bound[i]) continue;
    const ValueInfo& info = impl_->engine->inputs[i];
    if (info.kind == HostValue::Kind::kOptional) {
      impl_->inputs[i] = HostValue::optional({});
      continue;
    }
    return invalid_argument("input '", info.name, "' (", info.type, ") is missing");
  }
  impl_->has_run = false;
  REDLINE_TRY(impl_->executor->run(impl_->inputs));
  for (const std::string& refusal : impl_->executor->take_refusals()) {
    impl_->engine->logger.warning(refusal);
  }
  impl_->has_run = true;
  return {};
}

Result<const HostValue*> Session::output(size_t i) const {
  if (i >= impl_->engine->outputs.size()) {
    return invalid_argument("the model has ", impl_->engine->outputs.size(), " outputs, no output ",
                            i);
  }
  if (!impl_->has_run) return invalid_argument("no run has finished yet");
  return &impl_->executor->output(i);
}

Result<const HostValue*> Session::output(std::string_view name) const {
  const std::vector<ValueInfo>& infos = impl_->engine->outputs;
  for (size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name == name) return output(i);
  }
  std::string names;
  for (const ValueInfo& info : infos) names += str_cat(names.empty() ? "'" : ", '", info.name, "'");
  return invalid_argument("the model has no output '", name, "'; its outputs are: ", names);
}

namespace {

class StepTimer final : public StepObserver {
 public:
  using Clock = std::chrono::steady_clock;
  std::vector<Session::StepTime> times;
  void before_step(size_t, const PlanStep&) override { start_ = Clock::now(); }
  void after_step(size_t, const PlanStep& step, std::span<const HostValue* const>) override {
    std::chrono::duration<double, std::micro> elapsed = Clock::now() - start_;
    times.push_back({step.name, step.op->name, step.tactic.empty() ? "reference" : step.tactic,
                     elapsed.count()});
  }

 private:
  Clock::time_point start_;
};

}  // namespace

Result<std::vector<Session::StepTime>> Session::run_timed() {
  StepTimer timer;
  impl_->executor->set_observer(&timer);
  Status status = run();
  impl_->executor->set_observer(nullptr);
  REDLINE_TRY(status);
  return std::move(timer.times);
}

size_t Session::activation_bytes() const { return impl_->executor->arena_bytes(); }
size_t Session::activation_lower_bound() const { return impl_->executor->arena_lower_bound(); }

Result<CheckReport> check(const std::string& model_path) {
  REDLINE_ASSIGN(ModelBytes model, open_model(model_path));
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
