// SPDX-License-Identifier: Apache-2.0
#include "tune/trial.h"

#include <cpuid.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

#include "kernels/cpu/isa.h"

namespace redline {
namespace {

constexpr size_t kGuard = 64;  // bytes behind each buffer that must stay as they are

size_t padded(size_t bytes) { return (bytes + 63) / 64 * 64 + kGuard; }

std::string cpu_brand() {
  unsigned registers[12] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf) {
    unsigned* r = registers + leaf * 4;
    if (!__get_cpuid(0x80000002 + leaf, &r[0], &r[1], &r[2], &r[3])) return "x86-64";
  }
  char text[sizeof registers + 1] = {};
  std::memcpy(text, registers, sizeof registers);
  std::string brand(text);
  size_t first = brand.find_first_not_of(' ');
  if (first == std::string::npos) return "x86-64";
  return brand.substr(first, brand.find_last_not_of(' ') + 1 - first);
}

class HostTrial final : public Trial {
 public:
  static Result<std::unique_ptr<Trial>> make(const Tactic& tactic, Config config,
                                             const Problem& problem, std::span<const Tensor> inputs,
                                             const PrepareArgs& args) {
    auto trial = std::make_unique<HostTrial>();
    trial->pool_ = args.pool;
    PrepareArgs strict = args;
    strict.strict = true;
    for (const Tensor& input : inputs) {
      trial->inputs_.push_back(input.defined() ? input.view() : TensorView());
    }
    REDLINE_ASSIGN(trial->packed_, pack_for(tactic, config, problem, args));
    for (const PackedOperand& operand : trial->packed_.operands) {
      trial->inputs_[operand.input].data = const_cast<void*>(operand.bytes.raw());
    }
    REDLINE_ASSIGN(trial->kernel_, tactic.prepare(trial->packed_.problem, config, strict));
    for (const OperandDesc& output : problem.outputs) {
      TensorView view{output.dtype, output.dims, nullptr};
      REDLINE_ASSIGN(view.data, trial->allocate(view.bytes()));
      trial->outputs_.push_back(view);
    }
    REDLINE_TRY(trial->allocate(trial->kernel_->workspace_bytes()).status());
    return std::unique_ptr<Trial>(std::move(trial));
  }

  Result<double> run() override {
    auto start = std::chrono::steady_clock::now();
    REDLINE_TRY(kernel_->run({inputs_, outputs_, memory_.back().get(), pool_}));
    std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
    return elapsed.count();
  }

  Status run_poisoned() override {
    for (size_t i = 0; i < memory_.size(); ++i) {
      std::memset(memory_[i].get(), kPoison, padded(bytes_[i]));
    }
    REDLINE_TRY(run().status());
    for (size_t i = 0; i < memory_.size(); ++i) {
      const auto* bytes = static_cast<const uint8_t*>(memory_[i].get());
      for (size_t at = bytes_[i]; at < padded(bytes_[i]); ++at) {
        if (bytes[at] == kPoison) continue;
        bool workspace = i + 1 == memory_.size();
        return internal_error("wrote behind ", workspace ? "its workspace" : str_cat("output ", i));
      }
    }
    return {};
  }

  std::span<const TensorView> outputs() const override { return outputs_; }

 private:
  Result<void*> allocate(size_t bytes) {
    void* data = std::aligned_alloc(64, padded(bytes));
    if (data == nullptr) return out_of_memory("no memory for ", bytes, " bytes");
    memory_.emplace_back(data, [](void* p) { std::free(p); });
    bytes_.push_back(bytes);
    return data;
  }

  PackedProblem packed_;
  std::unique_ptr<Kernel> kernel_;
  std::vector<TensorView> inputs_;
  std::vector<TensorView> outputs_;
  std::vector<std::shared_ptr<void>> memory_;  // of the outputs, then the workspace
  std::vector<size_t> bytes_;
  ThreadPool* pool_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Trial>> Trial::create(const Tactic& tactic, Config config,
                                             const Problem& asked, const Problem& sized,
                                             std::span<const Tensor> inputs,
                                             const PrepareArgs& args) {
  if (tactic.device == "cuda") {
    return make_gpu_trial(tactic, std::move(config), asked, sized, inputs, args);
  }
  return HostTrial::make(tactic, std::move(config), sized, inputs, args);
}

Result<PackedProblem> pack_for(const Tactic& tactic, Config& config, const Problem& problem,
                               const PrepareArgs& args) {
  PackedProblem packed{problem, {}};
  if (tactic.pack == nullptr) return packed;
  REDLINE_ASSIGN(packed.operands, tactic.pack(problem, config, args));
  packed.problem = with_packed(std::move(packed.problem), packed.operands);
  return packed;
}

Problem with_packed(Problem asked, std::span<const PackedOperand> packed) {
  for (const PackedOperand& operand : packed) {
    asked.inputs[operand.input].constant = nullptr;
    asked.inputs[operand.input].packed = &operand.bytes;
  }
  return asked;
}

Result<std::vector<std::shared_ptr<const cuda::CompiledKernel>>> compile_kernels(
    const Tactic& tactic, const Config& config, const Problem& problem, const PrepareArgs& args) {
  std::vector<std::shared_ptr<const cuda::CompiledKernel>> kernels;
  REDLINE_ASSIGN(std::vector<cuda::KernelSource> sources,
                 tactic.kernels(problem, config, *args.gpu));
  for (const cuda::KernelSource& source : sources) {
    REDLINE_ASSIGN(auto kernel, args.compiler->get(source));
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

std::string machine_name(const PrepareArgs& args) {
  if (args.gpu != nullptr) return str_cat(args.gpu->name, ", ", args.gpu->arch());
  return str_cat("cpu ", cpu_brand(), ", ", kernels::isa_name(kernels::detect_isa()), ", ",
                 args.num_threads(), args.num_threads() == 1 ? " thread" : " threads");
}

}  // namespace redline
