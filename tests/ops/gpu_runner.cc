// SPDX-License-Identifier: Apache-2.0
#include "gpu_runner.h"

#include <algorithm>
#include <cstring>

#include "device/cubin_cache.h"
#include "device/occupancy.h"
#include "emulator.h"
#include "ops/random_tensor.h"
#include "tactics/cuda/small_copies.h"

namespace redline {
namespace {

constexpr size_t kGuardBytes = 256;
constexpr unsigned char kPoison = 0xff;
// Behind a late producer: the first runs of each tactic many times, the others some times.
constexpr int kOftenBehindProducer = 4;
constexpr int kManyReplays = 300;
constexpr int kFewReplays = 30;

// What a session copies by one kernel: plainly, and to and from where page-locked memory says.
class Copies final : public Kernel {
 public:
  Copies(SmallCopies copies, cuda::PinnedBuffer places)
      : copies_(std::move(copies)), places_(std::move(places)) {}
  Status run(const KernelArgs& args) const override {
    auto* places = static_cast<uint64_t*>(places_.data());
    SmallCopies copies = copies_;
    for (size_t i = 0; i < args.inputs.size(); ++i) {
      const void* from = args.inputs[i].data;
      void* to = args.outputs[i].data;
      places[i] = reinterpret_cast<uint64_t>(i == 0 ? from : to);
      size_t bytes = args.outputs[i].bytes();
      bool fits = i == 0   ? copies.add_from_named(&places[i], to, bytes)
                  : i == 1 ? copies.add_to_named(from, &places[i], bytes)
                           : copies.add(from, to, bytes);
      if (!fits) return internal_error("too many copies");
    }
    return copies.launch(*args.stream);
  }

 private:
  SmallCopies copies_;
  cuda::PinnedBuffer places_;
};
bool has_short_indices(const cuda::KernelSource& source) {
  return std::find(source.options.begin(), source.options.end(), "-DREDLINE_INDEX=int") !=
         source.options.end();
}

std::string does_nothing(std::string_view entry) {
  return str_cat("extern \"C\" __global__ void ", entry, "() {}\n");
}

// Compilers may move loads of what a kernel only reads in front of its wait for the former kernel.
Status check_pointers(const std::string& text, const Problem& problem) {
  constexpr std::string_view kRestrict = "* __restrict__ ";
  for (size_t at = text.find(kRestrict); at != text.npos; at = text.find(kRestrict, at + 1)) {
    size_t type = text.find_last_of("(,", at) + 1;
    if (text.find("const ", type) > at) continue;
    size_t begin = at + kRestrict.size();
    std::string name = text.substr(begin, text.find_first_of(",)", begin) - begin);
    bool constant = false;
    for (size_t i = 0; i < problem.inputs.size(); ++i) {
      constant |= name == str_cat("in", i) && problem.inputs[i].constant != nullptr;
    }
    if (!constant) return internal_error(name, ", which is no constant, is const and __restrict__");
  }
  return {};
}

}  // namespace

Status GpuRunner::use_nvrtc() {
  REDLINE_ASSIGN(const cuda::Nvrtc* nvrtc, cuda::Nvrtc::load());
  auto cache = std::make_shared<cuda::CubinCache>(cuda::CubinCache::default_folder());
  compiler_ = nvrtc->version();
  compile_ = [nvrtc, cache](const cuda::KernelSource& source) {
    return cache->get(*nvrtc, source);
  };
  return {};
}

Result<std::unique_ptr<GpuRunner>> GpuRunner::create() {
  auto runner = std::make_unique<GpuRunner>();
  REDLINE_ASSIGN(runner->context_, cuda::Context::create(0));
  REDLINE_TRY(runner->use_nvrtc());
  runner->device_ = runner->context_->info();
  REDLINE_ASSIGN(runner->stream_, cuda::Stream::create(runner->context_));
  return runner;
}

Result<std::unique_ptr<GpuRunner>> GpuRunner::create_emulated() {
  auto runner = std::make_unique<GpuRunner>();
  REDLINE_ASSIGN(runner->context_, cuda::Context::create(emulator::driver(), 0));
  runner->compile_ = emulator::compile;
  runner->emulated_ = true;
  runner->device_ = runner->context_->info();
  REDLINE_ASSIGN(runner->stream_, cuda::Stream::create(runner->context_));
  return runner;
}

Result<std::unique_ptr<GpuRunner>> GpuRunner::create_compile_only(const std::string& arch) {
  auto runner = std::make_unique<GpuRunner>();
  REDLINE_ASSIGN(runner->device_, cuda::DeviceInfo::of_arch(arch));
  REDLINE_TRY(runner->use_nvrtc());
  return runner;
}

Status GpuRunner::run(const Tactic& tactic, const Problem& written, const Problem& problem,
                      const Config& config, ThreadPool& pool, std::span<const TensorView> inputs,
                      std::span<const TensorView> outputs) {
  REDLINE_ASSIGN(std::vector<cuda::KernelSource> sources, tactic.kernels(written, config, device_));
  std::vector<std::shared_ptr<const cuda::Module>> modules;
  if (!sources.empty()) compiled_.insert(tactic.name);
  for (cuda::KernelSource& source : sources) {
    REDLINE_TRY(check_pointers(source.text, written));
    if (wide_ && has_short_indices(source)) source.text = does_nothing(source.entry);
    Result<cuda::CompiledKernel> compiled = compile_(source);
    bool serialised = lists_serialised_ && !compiled.ok() &&
                      compiled.status().message().find("serialised") != std::string_view::npos;
    if (!serialised) REDLINE_TRY(compiled.status());
    cuda::CompiledKernel kernel = serialised ? cuda::CompiledKernel() : *std::move(compiled);
    if (serialised) kernel.spill_bytes = Spill::kSerialised;
    if (kernel.spill_bytes != 0) {
      std::string knobs;
      for (const NamedAttr& knob : config) {
        knobs += str_cat(" ", knob.name, "=", attr_to_string(knob.value));
      }
      spills_.push_back({str_cat(tactic.name, " ", source.entry, knobs, ": ", written.to_string()),
                         kernel.spill_bytes, kernel.registers});
    }
    if (compile_only()) continue;
    REDLINE_ASSIGN(auto module, cuda::Module::create(context_, kernel.cubin));
    if (!emulated_) REDLINE_TRY(check_occupancy(source, kernel, module));
    modules.push_back(std::move(module));
  }
  if (compile_only()) return {};
  PrepareArgs args{&pool, context_, modules};
  args.written = &written;
  REDLINE_ASSIGN(std::unique_ptr<Kernel> kernel, tactic.prepare(problem, config, args));
  REDLINE_TRY(launch(*kernel, inputs, outputs));
  if (emulated_ && !timed_) REDLINE_TRY(check_thread_order(*kernel, inputs, outputs));
  return producer_ ? check_behind_producer(tactic, *kernel, problem, inputs, outputs) : Status();
}

// What is computed without a GPU must be what its driver says.
Status GpuRunner::check_occupancy(const cuda::KernelSource& source,
                                  const cuda::CompiledKernel& kernel,
                                  const std::shared_ptr<const cuda::Module>& module) const {
  REDLINE_ASSIGN(cuda::Function function,
                 cuda::Function::create(module, source.entry, source.dynamic_shared_bytes));
  auto dynamic = static_cast<size_t>(source.dynamic_shared_bytes);
  REDLINE_ASSIGN(int blocks, function.occupancy(source.threads(), dynamic));
  int computed =
      cuda::resident_blocks(device_, {source.threads(), kernel.registers,
                                      kernel.static_shared_bytes, source.dynamic_shared_bytes});
  if (computed == blocks) return {};
  REDLINE_ASSIGN(cuda::Function::Resources resources, function.resources());
  return internal_error(source.entry, " of ", source.threads(), " threads, ", kernel.registers,
                        " registers and ", kernel.static_shared_bytes, " + ", dynamic,
                        " bytes: ", computed, " resident blocks. The driver says ",
                        resources.registers, " registers and ", resources.static_shared_bytes,
                        " bytes: ", blocks);
}

Status GpuRunner::set_slow_producer() {
  REDLINE_ASSIGN(producer_, SlowProducer::create(context_, compile_));
  REDLINE_TRY(producer_->check_itself(/*beside=*/device_.has_programmatic_launch()));
  return check_copies();
}

Status GpuRunner::check_copies() {
  REDLINE_ASSIGN(cuda::CompiledKernel compiled, compile_(SmallCopies::source(device_)));
  REDLINE_ASSIGN(auto module, cuda::Module::create(context_, compiled.cubin));
  REDLINE_ASSIGN(SmallCopies copies, SmallCopies::create(std::move(module)));
  constexpr int64_t kBytes[] = {70001, 4096, 5, SmallCopies::kMostBytes};
  REDLINE_ASSIGN(auto places, cuda::PinnedBuffer::create(context_, sizeof kBytes));
  std::vector<Tensor> tensors;
  std::vector<TensorView> views;
  for (int64_t bytes : kBytes) {
    REDLINE_ASSIGN(Tensor tensor, random_tensor(DType::kUInt8, Dims{bytes}, /*seed=*/1));
    views.push_back(tensor.view());
    tensors.push_back(std::move(tensor));
  }
  Copies kernel(std::move(copies), std::move(places));
  std::vector<bool> constant(views.size(), false);
  return producer_->check(kernel, views, constant, views, emulated_ ? 1 : kManyReplays)
      .with_context("the kernel of small copies");
}

Status GpuRunner::check_behind_producer(const Tactic& tactic, const Kernel& kernel,
                                        const Problem& problem, std::span<const TensorView> inputs,
                                        std::span<const TensorView> outputs) {
  if (!emulated_) {
    REDLINE_ASSIGN(std::optional<size_t> changed, changed_output(kernel, inputs, outputs));
    if (changed) {
      ++unsteady_[tactic.name];
      return {};
    }
  }
  std::vector<bool> constant;
  for (const OperandDesc& input : problem.inputs) {
    constant.push_back(input.is_constant());
  }
  bool often = behind_producer_[tactic.name]++ < kOftenBehindProducer;
  int replays = emulated_ ? 1 : often ? kManyReplays : kFewReplays;
  ++late_runs_[replays];
  return producer_->check(kernel, inputs, constant, outputs, replays);
}

Result<std::optional<size_t>> GpuRunner::changed_output(const Kernel& kernel,
                                                        std::span<const TensorView> inputs,
                                                        std::span<const TensorView> outputs) {
  std::vector<Tensor> made;
  std::vector<TensorView> again;
  for (const TensorView& output : outputs) {
    REDLINE_ASSIGN(Tensor tensor, Tensor::create(output.dtype, output.dims));
    again.push_back(tensor.view());
    made.push_back(std::move(tensor));
  }
  REDLINE_TRY(launch(kernel, inputs, again));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].bytes() == 0) continue;
    if (std::memcmp(outputs[i].data, again[i].data, outputs[i].bytes()) != 0)
      return std::optional(i);
  }
  return std::optional<size_t>();
}

// Once more with the threads in the other order: a missing barrier shows.
Status GpuRunner::check_thread_order(const Kernel& kernel, std::span<const TensorView> inputs,
                                     std::span<const TensorView> outputs) {
  emulator::set_thread_order(emulator::ThreadOrder::kBackward);
  Result<std::optional<size_t>> changed = changed_output(kernel, inputs, outputs);
  emulator::set_thread_order(emulator::ThreadOrder::kForward);
  if (!changed.ok()) return changed.status();
  if (!*changed) return {};
  return internal_error("output ", **changed,
                        " depends on the order in which the threads of a block run");
}

// In graphs, so that small kernels do not wait for the host.
Status GpuRunner::time(const Kernel& kernel, const KernelArgs& args) {
  constexpr int kRuns = 20;
  constexpr int kSeries = 7;
  REDLINE_ASSIGN(cuda::Graph graph, cuda::Graph::capture(stream_, [&]() -> Status {
                   for (int i = 0; i < kRuns; ++i) REDLINE_TRY(kernel.run(args));
                   return {};
                 }));
  REDLINE_ASSIGN(cuda::Event start, cuda::Event::create(context_));
  REDLINE_ASSIGN(cuda::Event end, cuda::Event::create(context_));
  microseconds_ = 0;
  for (int i = 0; i < kSeries; ++i) {
    REDLINE_TRY(start.record(stream_));
    REDLINE_TRY(graph.launch(stream_));
    REDLINE_TRY(end.record(stream_));
    REDLINE_TRY(stream_.synchronize());
    REDLINE_ASSIGN(double us, cuda::Event::microseconds_between(start, end));
    if (i == 0 || us / kRuns < microseconds_) microseconds_ = us / kRuns;
  }
  return {};
}

// The first part of a kernel that finds its sizes, which must be those of the outputs. Whether
// there is something left to run.
Result<bool> GpuRunner::find(const Kernel& kernel, const KernelArgs& args) {
  REDLINE_TRY(kernel.find(args));
  int64_t count = 0;
  auto from = reinterpret_cast<cuda::DevicePtr>(args.workspace);
  REDLINE_TRY(stream_.copy_to_host(&count, from, sizeof count));
  REDLINE_TRY(stream_.synchronize());
  if (count < 0) return invalid_argument("the kernel refuses the operands");
  std::vector<Dims> sizes = kernel.sizes(count);
  bool empty = true;
  for (size_t i = 0; i < args.outputs.size(); ++i) {
    if (sizes[i] != args.outputs[i].dims) {
      return internal_error("found the sizes ", sizes[i].to_string(), " for output ", i,
                            ", expected ", args.outputs[i].dims.to_string());
    }
    empty &= args.outputs[i].count() == 0;
  }
  return !empty;
}

Status GpuRunner::launch(const Kernel& kernel, std::span<const TensorView> inputs,
                         std::span<const TensorView> outputs) {
  std::vector<cuda::DeviceBuffer> buffers;
  std::vector<TensorView> device_inputs(inputs.begin(), inputs.end());
  std::vector<TensorView> device_outputs(outputs.begin(), outputs.end());
  // What is only read ends where the buffer does, so that tools see who reads beyond it.
  auto place = [&](TensorView& view, size_t guard) -> Status {
    REDLINE_ASSIGN(cuda::DeviceBuffer buffer,
                   cuda::DeviceBuffer::create(context_, view.bytes() + guard));
    REDLINE_TRY(stream_.fill(buffer.ptr(), kPoison, buffer.bytes()));
    view.data = buffer.data();
    buffers.push_back(std::move(buffer));
    return {};
  };
  for (TensorView& view : device_inputs) {
    if (view.data == nullptr && view.count() > 0) continue;
    const void* host = view.data;
    REDLINE_TRY(place(view, view.bytes() > 0 ? 0 : kGuardBytes));
    REDLINE_TRY(stream_.copy_to_device(buffers.back().ptr(), host, view.bytes()));
  }
  size_t first_output = buffers.size();
  for (TensorView& view : device_outputs) REDLINE_TRY(place(view, kGuardBytes));
  size_t bytes = kernel.workspace_bytes() > 0 ? kernel.workspace_bytes() : kGuardBytes;
  REDLINE_ASSIGN(cuda::DeviceBuffer workspace, cuda::DeviceBuffer::create(context_, bytes));
  REDLINE_TRY(stream_.fill(workspace.ptr(), kPoison, workspace.bytes()));
  KernelArgs args;
  args.inputs = device_inputs;
  args.outputs = device_outputs;
  args.workspace = workspace.data();
  args.stream = &stream_;
  REDLINE_ASSIGN(cuda::DeviceBuffer kept, stream_.zeros(kernel.kept_bytes()));
  args.kept = kept.data();
  REDLINE_ASSIGN(cuda::PinnedBuffer refused,
                 cuda::PinnedBuffer::create(context_, sizeof(uint32_t)));
  args.refused = static_cast<uint32_t*>(refused.data());
  *args.refused = 0;
  if (kernel.finds_sizes()) {
    REDLINE_ASSIGN(bool runs, find(kernel, args));
    if (!runs) return {};
  }
  if (timed_) return time(kernel, args);
  REDLINE_TRY(kernel.run(args));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const cuda::DeviceBuffer& buffer = buffers[first_output + i];
    std::vector<unsigned char> guard(kGuardBytes);
    REDLINE_TRY(stream_.copy_to_host(outputs[i].data, buffer.ptr(), outputs[i].bytes()));
    REDLINE_TRY(stream_.copy_to_host(guard.data(), buffer.ptr() + outputs[i].bytes(), kGuardBytes));
    REDLINE_TRY(stream_.synchronize());
    if (std::any_of(guard.begin(), guard.end(), [](unsigned char b) { return b != kPoison; })) {
      return internal_error("wrote behind output ", i);
    }
  }
  REDLINE_TRY(stream_.synchronize());
  return *args.refused != 0 ? invalid_argument("refused") : Status();
}

}  // namespace redline
