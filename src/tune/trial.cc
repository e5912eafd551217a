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
constexpr int kPoison = 0xff;  // NaN in every float type, and no index survives it

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

}  // namespace

Result<std::unique_ptr<Trial>> Trial::create(const Tactic& tactic, Config config,
                                             const Problem& problem, std::span<const Tensor> inputs,
                                             const PrepareArgs& args) {
  std::unique_ptr<Trial> trial(new Trial());
  trial->pool_ = args.pool;
  PrepareArgs strict = args;
  strict.strict = true;
  for (const Tensor& input : inputs) {
    trial->inputs_.push_back(input.defined() ? input.view() : TensorView());
  }
  Problem own = problem;
  if (tactic.pack != nullptr) {
    REDLINE_ASSIGN(trial->packed_, tactic.pack(problem, config, args));
    for (const PackedOperand& operand : trial->packed_) {
      own.inputs[operand.input].constant = nullptr;
      own.inputs[operand.input].packed = &operand.bytes;
      trial->inputs_[operand.input].data = const_cast<void*>(operand.bytes.raw());
    }
  }
  REDLINE_ASSIGN(trial->kernel_, tactic.prepare(own, config, strict));
  auto allocate = [&](size_t bytes) {
    void* data = std::aligned_alloc(64, padded(bytes));
    trial->memory_.emplace_back(data, [](void* p) { std::free(p); });
    trial->bytes_.push_back(bytes);
    return data;
  };
  for (const OperandDesc& output : problem.outputs) {
    TensorView view{output.dtype, output.dims, nullptr};
    view.data = allocate(view.bytes());
    if (view.data == nullptr) return out_of_memory("no memory for ", view.bytes(), " bytes");
    trial->outputs_.push_back(view);
  }
  size_t workspace = trial->kernel_->workspace_bytes();
  if (allocate(workspace) == nullptr) return out_of_memory("no memory for ", workspace, " bytes");
  return trial;
}

Result<double> Trial::run() {
  auto start = std::chrono::steady_clock::now();
  REDLINE_TRY(kernel_->run({inputs_, outputs_, memory_.back().get(), pool_}));
  std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count();
}

Status Trial::run_poisoned() {
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

std::string machine_name(const PrepareArgs& args) {
  return str_cat("cpu ", cpu_brand(), ", ", kernels::isa_name(kernels::detect_isa()), ", ",
                 args.num_threads(), args.num_threads() == 1 ? " thread" : " threads");
}

}  // namespace redline
