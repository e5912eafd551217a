// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "device/context.h"
#include "slow_producer.h"
#include "spills.h"
#include "tactics/tactic.h"

namespace redline {

// Runs GPU tactics on host tensors for tests: compiles, uploads, launches, downloads.
class GpuRunner {
 public:
  using Compile = std::function<Result<cuda::CompiledKernel>(const cuda::KernelSource&)>;

  // On GPU 0, with NVRTC.
  static Result<std::unique_ptr<GpuRunner>> create();
  // On the tests' emulator.
  static Result<std::unique_ptr<GpuRunner>> create_emulated();
  // Compiles only, for an architecture ("sm_80").
  static Result<std::unique_ptr<GpuRunner>> create_compile_only(const std::string& arch);

  bool compile_only() const { return context_ == nullptr; }
  const cuda::DeviceInfo& device() const { return device_; }

  // One run: `written` is the problem that the kernels are written for, whose sizes may be unknown;
  // `problem` the same with its sizes. Outputs are poisoned first; a write behind one is an error.
  Status run(const Tactic& tactic, const Problem& written, const Problem& problem,
             const Config& config, ThreadPool& pool, std::span<const TensorView> inputs,
             std::span<const TensorView> outputs);

  // From now on each run is repeated and timed; nothing is read back.
  void set_timed() { timed_ = true; }
  // From now on each run is also made behind a producer that is late; see slow_producer.h. Kernels
  // that do not wait must be found out first, and the kernel of small copies must be right.
  Status set_slow_producer();
  // From now on kernels that index with 32 bits do nothing, so that one that runs is found out.
  void keep_to_wide_indices() { wide_ = true; }
  // Tactics whose results have other bits each time, and how often; they are not run that way.
  const std::map<std::string, int>& unsteady() const { return unsteady_; }

  // How many runs behind the late producer were replayed so often.
  const std::map<int, int>& late_runs() const { return late_runs_; }

  // Of the last run, on average in the fastest of several series.
  double microseconds() const { return microseconds_; }

  // From now on kernels whose matrix instructions are serialised are spills and no errors.
  void list_serialised() { lists_serialised_ = true; }
  // NVRTC's version; empty on the emulator.
  const std::string& compiler() const { return compiler_; }
  // Kernels that keep registers in memory.
  const std::vector<Spill>& spills() const { return spills_; }
  // Tactics whose kernels were made.
  const std::set<std::string>& tactics() const { return compiled_; }

 private:
  Status use_nvrtc();
  Status check_occupancy(const cuda::KernelSource& source, const cuda::CompiledKernel& kernel,
                         const std::shared_ptr<const cuda::Module>& module) const;
  Status launch(const Kernel& kernel, std::span<const TensorView> inputs,
                std::span<const TensorView> outputs);
  Status check_copies();
  Result<bool> find(const Kernel& kernel, const KernelArgs& args);
  Status time(const Kernel& kernel, const KernelArgs& args);
  Status check_behind_producer(const Tactic& tactic, const Kernel& kernel, const Problem& problem,
                               std::span<const TensorView> inputs,
                               std::span<const TensorView> outputs);
  // Runs it once more; the first output whose bits are others then.
  Result<std::optional<size_t>> changed_output(const Kernel& kernel,
                                               std::span<const TensorView> inputs,
                                               std::span<const TensorView> outputs);
  Status check_thread_order(const Kernel& kernel, std::span<const TensorView> inputs,
                            std::span<const TensorView> outputs);
  cuda::DeviceInfo device_;
  bool emulated_ = false;
  bool timed_ = false;
  bool wide_ = false;
  double microseconds_ = 0;
  cuda::ContextPtr context_;
  cuda::Stream stream_;
  Compile compile_;
  std::string compiler_;
  bool lists_serialised_ = false;
  std::vector<Spill> spills_;
  std::set<std::string> compiled_;
  std::optional<SlowProducer> producer_;
  std::map<std::string, int> behind_producer_;  // runs of each tactic
  std::map<std::string, int> unsteady_;
  std::map<int, int> late_runs_;  // by their replays
};

}  // namespace redline
