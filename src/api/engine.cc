// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>

#include "api/engine_impl.h"
#include "base/mmap_file.h"
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

}  // namespace

Result<std::shared_ptr<Engine::Impl>> make_engine_impl(const EngineOptions& options) {
  auto impl = std::make_shared<Engine::Impl>();
  impl->ops = make_op_registry();
  impl->tactics = make_tactic_registry();
  REDLINE_ASSIGN(std::unique_ptr<ThreadPool> pool, ThreadPool::create(options.num_threads));
  impl->pool = std::move(pool);
  if (options.log) impl->logger = Logger(options.log, options.log_from);
  return impl;
}

Result<cuda::ContextPtr> find_gpu(const EngineOptions& options, const Logger& logger) {
  std::string_view device = options.device;
  if (device == "cpu") return cuda::ContextPtr();
  if (device == "auto") {
    Result<cuda::ContextPtr> gpu = cuda::Context::create(0);
    if (gpu.ok()) return gpu;
    // A machine without a GPU is as usual as one with; a GPU that cannot be used is not.
    bool is_none = gpu.status().code() == StatusCode::kNotFound;
    logger.log(is_none ? Severity::kInfo : Severity::kWarning,
               "using the CPU: ", gpu.status().message());
    return cuda::ContextPtr();
  }
  int ordinal = 0;
  std::string_view number = device.starts_with("cuda:") ? device.substr(5) : "0";
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), ordinal);
  bool good = error == std::errc() && end == number.data() + number.size() && ordinal >= 0;
  if (!good || !device.starts_with("cuda") || (device.size() > 4 && device[4] != ':')) {
    return invalid_argument("unknown device '", device, "'; expected cpu, cuda, cuda:N or auto");
  }
  return cuda::Context::create(ordinal);
}

void finish_engine(Engine::Impl& impl) {
  for (const NamedValue& input : impl.plan.inputs)
    impl.inputs.push_back(describe(impl.plan, input));
  for (const NamedValue& output : impl.plan.outputs) {
    impl.outputs.push_back(describe(impl.plan, output));
  }
}

Result<DeviceImagePtr> Engine::Impl::image() const {
  if (gpu == nullptr) return DeviceImagePtr();
  std::lock_guard lock(mutex_);
  if (image_ == nullptr) {
    REDLINE_ASSIGN(image_, DeviceImage::create(plan, gpu));
  }
  return image_;
}

std::string_view version() { return REDLINE_VERSION; }

std::vector<std::string> devices() {
  std::vector<std::string> names = {"cpu"};
  Result<const cuda::DriverApi*> driver = cuda::load_driver();
  if (!driver.ok()) return names;
  Result<std::vector<cuda::DeviceInfo>> gpus = cuda::list_devices(**driver);
  if (!gpus.ok()) return names;
  for (const cuda::DeviceInfo& gpu : *gpus) {
    names.push_back(str_cat("cuda:", gpu.ordinal, " (", gpu.name, ", ", gpu.arch(), ")"));
  }
  return names;
}

namespace {

// An engine runs where it was built for, and nowhere else.
Status find_engine_device(Engine::Impl& impl, const EngineOptions& options) {
  const EngineInfo& info = impl.info;
  bool wants_gpu = options.device != "auto" && options.device != "cpu";
  if (info.device == "cpu") {
    if (!wants_gpu) return {};
    return incompatible("the engine was built for the CPU, not for '", options.device,
                        "'; build it again for that");
  }
  if (info.device != "cuda") {
    return incompatible("the engine was built for '", info.device, "', which is not known here");
  }
  if (options.device == "cpu") {
    return incompatible("the engine was built for a GPU (", info.device_arch,
                        "), not for the CPU; build it again for that");
  }
  EngineOptions gpu_options = options;
  if (options.device == "auto") gpu_options.device = "cuda";
  REDLINE_ASSIGN(impl.gpu, find_gpu(gpu_options, impl.logger));
  const cuda::DeviceInfo& gpu = impl.gpu->info();
  if (gpu.arch() == info.device_arch) return {};
  return incompatible("the engine was built for ", info.device_arch, ", here is ", gpu.name, " (",
                      gpu.arch(), "); build it again on this machine");
}

template <class Load>
Result<Engine> load_with(const EngineOptions& options, Load&& load) {
  REDLINE_ASSIGN(std::shared_ptr<Engine::Impl> impl, make_engine_impl(options));
  REDLINE_ASSIGN(LoadedEngine loaded, load(*impl->ops));
  impl->info = std::move(loaded.info);
  const std::string& libraries = impl->info.libraries;
  bool runs = options.device != "none";
  if (runs && !libraries.empty() && libraries != packing_library()) {
    return incompatible("the engine was built with ", libraries, ", here is ",
                        packing_library().empty() ? "none" : packing_library(),
                        "; build it again on this machine");
  }
  impl->plan = std::move(loaded.plan);
  impl->runs_here = runs;
  if (runs) REDLINE_TRY(find_engine_device(*impl, options));
  finish_engine(*impl);
  REDLINE_TRY(impl->image().status());
  return Engine(std::move(impl));
}

}  // namespace

Result<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
  Result<Engine> engine =
      load_with(options, [&](const OpRegistry& ops) { return load_engine(path, ops); });
  if (!engine.ok()) return engine.status().at_position(path);
  return engine;
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
std::string Engine::build_report() const { return impl_->build_report; }

Result<Session> Engine::create_session() const {
  auto session = std::make_unique<Session::Impl>();
  session->engine = impl_;
  if (!impl_->runs_here) {
    return incompatible("the engine was not loaded to be run here; it is for ", impl_->info.device,
                        " ", impl_->info.device_arch);
  }
  REDLINE_ASSIGN(DeviceImagePtr image, impl_->image());
  REDLINE_ASSIGN(session->executor,
                 Executor::create(impl_->plan, *impl_->tactics, *impl_->pool, std::move(image)));
  static const std::string kUnnamed = "redline";
  session->executor->name_runs(impl_->info.model.empty() ? kUnnamed : impl_->info.model);
  session->inputs.resize(impl_->plan.inputs.size());
  session->bound.resize(impl_->plan.inputs.size());
  session->kept.resize(impl_->plan.outputs.size());
  return Session(std::move(session));
}

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Result<size_t> find_named(const std::vector<ValueInfo>& infos, std::string_view name,
                          std::string_view what) {
  for (size_t i = 0; i < infos.size(); ++i) {
    if (infos[i].name == name) return i;
  }
  std::string names;
  for (const ValueInfo& info : infos) names += str_cat(names.empty() ? "'" : ", '", info.name, "'");
  return invalid_argument("the model has no ", what, " '", name, "'; its ", what,
                          "s are: ", names.empty() ? "none" : names);
}

Status Session::bind(std::string_view input, HostValue value) {
  REDLINE_ASSIGN(size_t i, find_named(impl_->engine->inputs, input, "input"));
  REDLINE_TRY(impl_->executor->place_input(i, Space::kHost));
  impl_->inputs[i] = std::move(value);
  impl_->bound[i] = true;
  return {};
}

Status Session::Impl::begin_run() {
  for (size_t i = 0; i < bound.size(); ++i) {
    if (bound[i]) continue;
    const ValueInfo& info = engine->inputs[i];
    if (info.kind == HostValue::Kind::kOptional) {
      inputs[i] = HostValue::optional({});
      continue;
    }
    return invalid_argument("input '", info.name, "' (", info.type, ") is missing");
  }
  has_run = queued = false;
  return {};
}

void Session::Impl::warn_of_refusals() const {
  for (const std::string& refusal : executor->take_refusals()) engine->logger.warning(refusal);
}

Status Session::run() {
  REDLINE_TRY(impl_->begin_run());
  Status status = impl_->executor->run(impl_->inputs);
  impl_->warn_of_refusals();
  impl_->has_run = status.ok();
  return status;
}

Status Session::enqueue() {
  REDLINE_TRY(impl_->begin_run());
  REDLINE_TRY(impl_->executor->enqueue(impl_->inputs));
  impl_->warn_of_refusals();
  impl_->queued = true;
  return {};
}

Status Session::wait() {
  REDLINE_TRY(impl_->executor->wait());
  impl_->has_run |= std::exchange(impl_->queued, false);
  return {};
}

Result<const HostValue*> Session::output(size_t i) const {
  if (i >= impl_->engine->outputs.size()) {
    return invalid_argument("the model has ", impl_->engine->outputs.size(), " outputs, no output ",
                            i);
  }
  if (!impl_->has_run) return invalid_argument("no run has finished yet");
  if (impl_->kept[i]) {
    return invalid_argument("output '", impl_->engine->outputs[i].name,
                            "' is kept on the GPU; device_output has it");
  }
  return &impl_->executor->output(i);
}

Result<const HostValue*> Session::output(std::string_view name) const {
  REDLINE_ASSIGN(size_t i, find_named(impl_->engine->outputs, name, "output"));
  return output(i);
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

Result<double> Session::time_kernels(int repeats, int times_in_graph) {
  constexpr int kMostTimes = 1000;
  if (repeats < 1) return invalid_argument("kernels are timed at least once, not ", repeats);
  if (times_in_graph < 1 || times_in_graph > kMostTimes) {
    return invalid_argument("a graph holds kernels 1 to ", kMostTimes, " times, not ",
                            times_in_graph);
  }
  if (!impl_->has_run) return invalid_argument("no run has finished yet");
  return impl_->executor->time_kernels(repeats, times_in_graph);
}

size_t Session::activation_bytes() const { return impl_->executor->arena_bytes(); }
size_t Session::activation_lower_bound() const { return impl_->executor->arena_lower_bound(); }

}  // namespace redline
