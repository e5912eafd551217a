// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "tune/trial.h"

namespace redline {
namespace {

constexpr size_t kGuard = 256;  // bytes behind each buffer that must stay as they are
// Launches in one graph: enough that the ends of the timed span do not count.
constexpr double kSpanUs = 400;
constexpr int kMaxLaunches = 20;
// More than one launch come behind others that are not timed. What a kernel leaves in the L2 to be
// written, up to 25 MB on an H100, is waited for by what follows, and each is to wait for as much
// as it leaves. And the GPU is busy while the timed ones are handed over, which takes long now and
// then where all cores compile. One launch is enough where there are at most so many.
constexpr int kFewLaunches = 8;

class GpuTrial final : public Trial {
 public:
  Status initialize(const Tactic& tactic, Config config, const Problem& asked, const Problem& sized,
                    std::span<const Tensor> inputs, const PrepareArgs& args) {
    if (args.context == nullptr) return unsupported("there is no GPU here to try it on");
    context_ = args.context;
    REDLINE_ASSIGN(stream_, cuda::Stream::create(context_));
    REDLINE_ASSIGN(start_, cuda::Event::create(context_));
    REDLINE_ASSIGN(end_, cuda::Event::create(context_));
    REDLINE_ASSIGN(PackedProblem packed, pack_for(tactic, config, sized, args));
    Problem written = with_packed(asked, packed.operands);
    REDLINE_ASSIGN(auto kernels, compile_kernels(tactic, config, written, args));
    for (const auto& kernel : kernels) {
      REDLINE_ASSIGN(auto module, cuda::Module::create(context_, kernel->cubin));
      modules_.push_back(std::move(module));
    }
    PrepareArgs own = args;
    own.strict = true;
    own.modules = modules_;
    own.written = &written;
    REDLINE_ASSIGN(kernel_, tactic.prepare(packed.problem, config, own));
    return make_memory(sized, inputs, packed);
  }

  Result<double> run() override {
    if (launches_ == 0) {
      // The first is late for its module, and either may be for other work of this machine's cores.
      REDLINE_ASSIGN(double first, timed([&] { return launch(); }));
      REDLINE_ASSIGN(double second, timed([&] { return launch(); }));
      double us = std::min(first, second);
      launches_ = std::clamp(static_cast<int>(kSpanUs / std::max(us, 1.0)), 1, kMaxLaunches);
      REDLINE_ASSIGN(graph_, cuda::Graph::capture(stream_, [&]() -> Status {
                       for (int i = 0; i < launches_; ++i) REDLINE_TRY(launch());
                       return {};
                     }));
    }
    if (before() == 1) REDLINE_TRY(launch());
    if (before() > 1) REDLINE_TRY(graph_.launch(stream_));
    REDLINE_ASSIGN(double us, timed([&] { return graph_.launch(stream_); }));
    return us / launches_;
  }
  int runs() const override { return launches_ + before(); }

  Status run_poisoned() override {
    for (const cuda::DeviceBuffer& buffer : results_) {
      REDLINE_TRY(stream_.fill(buffer.ptr(), kPoison, buffer.bytes()));
    }
    REDLINE_TRY(launch());
    for (size_t i = 0; i < results_.size(); ++i) {
      bool workspace = i == host_.size();
      size_t bytes = results_[i].bytes() - kGuard;
      std::vector<unsigned char> guard(kGuard);
      if (!workspace && bytes > 0) {
        REDLINE_TRY(stream_.copy_to_host(host_[i].mutable_raw(), results_[i].ptr(), bytes));
      }
      REDLINE_TRY(stream_.copy_to_host(guard.data(), results_[i].ptr() + bytes, kGuard));
      REDLINE_TRY(stream_.synchronize());
      if (std::all_of(guard.begin(), guard.end(), [](unsigned char b) { return b == kPoison; })) {
        continue;
      }
      return internal_error("wrote behind ", workspace ? "its workspace" : str_cat("output ", i));
    }
    return {};
  }

  std::span<const TensorView> outputs() const override { return host_views_; }

 private:
  int before() const {
    if (launches_ == 1) return 0;
    return launches_ <= kFewLaunches ? 1 : launches_;
  }

  Status make_memory(const Problem& problem, std::span<const Tensor> inputs,
                     const PackedProblem& packed) {
    for (const Tensor& input : inputs) {
      inputs_.push_back(input.defined() ? input.view() : TensorView());
    }
    for (const PackedOperand& operand : packed.operands) {
      REDLINE_TRY(upload(operand.bytes, inputs_[operand.input]));
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
      bool is_packed = packed.problem.inputs[i].packed != nullptr;
      if (inputs[i].defined() && !is_packed) REDLINE_TRY(upload(inputs[i], inputs_[i]));
    }
    for (const OperandDesc& output : problem.outputs) {
      REDLINE_ASSIGN(Tensor host, Tensor::create(output.dtype, output.dims));
      host_.push_back(std::move(host));
      host_views_.push_back(host_.back().view());
      REDLINE_ASSIGN(cuda::DeviceBuffer buffer,
                     cuda::DeviceBuffer::create(context_, host_.back().bytes() + kGuard));
      outputs_.push_back({output.dtype, output.dims, buffer.data()});
      results_.push_back(std::move(buffer));
    }
    REDLINE_ASSIGN(cuda::DeviceBuffer workspace,
                   cuda::DeviceBuffer::create(context_, kernel_->workspace_bytes() + kGuard));
    results_.push_back(std::move(workspace));
    REDLINE_ASSIGN(kept_, stream_.zeros(kernel_->kept_bytes()));
    return stream_.synchronize();
  }

  Status upload(const Tensor& tensor, TensorView& view) {
    REDLINE_ASSIGN(cuda::DeviceBuffer buffer,
                   cuda::DeviceBuffer::create(context_, std::max<size_t>(tensor.bytes(), 1)));
    if (tensor.bytes() > 0) {
      REDLINE_TRY(stream_.copy_to_device(buffer.ptr(), tensor.raw(), tensor.bytes()));
    }
    view.data = buffer.data();
    operands_.push_back(std::move(buffer));
    return {};
  }

  Status launch() {
    KernelArgs args;
    args.inputs = inputs_;
    args.outputs = outputs_;
    args.workspace = results_.back().data();
    args.kept = kept_.data();
    args.stream = &stream_;
    return kernel_->run(args);
  }

  template <class Work>
  Result<double> timed(Work&& work) {
    REDLINE_TRY(start_.record(stream_));
    REDLINE_TRY(work());
    REDLINE_TRY(end_.record(stream_));
    REDLINE_TRY(end_.synchronize());
    return cuda::Event::microseconds_between(start_, end_);
  }

  cuda::ContextPtr context_;
  cuda::Stream stream_;
  cuda::Event start_, end_;
  std::vector<std::shared_ptr<const cuda::Module>> modules_;
  std::unique_ptr<Kernel> kernel_;
  std::vector<cuda::DeviceBuffer> operands_;
  std::vector<cuda::DeviceBuffer> results_;  // of the outputs, then the workspace
  cuda::DeviceBuffer kept_;
  std::vector<TensorView> inputs_, outputs_;
  std::vector<Tensor> host_;
  std::vector<TensorView> host_views_;
  cuda::Graph graph_;
  int launches_ = 0;
};

}  // namespace

Result<std::unique_ptr<Trial>> make_gpu_trial(const Tactic& tactic, Config config,
                                              const Problem& asked, const Problem& sized,
                                              std::span<const Tensor> inputs,
                                              const PrepareArgs& args) {
  auto trial = std::make_unique<GpuTrial>();
  REDLINE_TRY(trial->initialize(tactic, std::move(config), asked, sized, inputs, args));
  return std::unique_ptr<Trial>(std::move(trial));
}

}  // namespace redline
