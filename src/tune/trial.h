// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// What the bytes of outputs and workspace hold before run_poisoned(): NaN in every float type, and
// no index survives it.
inline constexpr unsigned char kPoison = 0xff;

// One candidate made ready with memory for its operands: the only part of the tuner that launches
// kernels and knows where they run. For a problem with concrete sizes. One thread.
class Trial {
 public:
  // Packs, compiles and prepares; a failure is the tactic's refusal. Kernels are written for
  // `asked`, as those of the engine will be, and run with the sizes of `sized`. `inputs`
  // (undefined: absent) must outlive it.
  static Result<std::unique_ptr<Trial>> create(const Tactic& tactic, Config config,
                                               const Problem& asked, const Problem& sized,
                                               std::span<const Tensor> inputs,
                                               const PrepareArgs& args);
  virtual ~Trial() = default;
  // Runs once, or several times in a row where once is too short to be timed, and returns the
  // microseconds that one took.
  virtual Result<double> run() = 0;
  // How often it runs in one call.
  virtual int runs() const { return 1; }
  // Runs on outputs and workspace that hold NaN before; fails also when the kernel wrote behind
  // them. The outputs are then on the host.
  virtual Status run_poisoned() = 0;
  virtual std::span<const TensorView> outputs() const = 0;
};

// A problem whose operands were packed, and the bytes.
struct PackedProblem {
  Problem problem;
  std::vector<PackedOperand> operands;
};
Result<PackedProblem> pack_for(const Tactic& tactic, Config& config, const Problem& problem,
                               const PrepareArgs& args);

// The problem that kernels are written for: as it was asked, with the operands that were packed.
Problem with_packed(Problem asked, std::span<const PackedOperand> packed);

// The kernels of a step, compiled, in the order of Tactic::kernels.
Result<std::vector<std::shared_ptr<const cuda::CompiledKernel>>> compile_kernels(
    const Tactic& tactic, const Config& config, const Problem& problem, const PrepareArgs& args);

Result<std::unique_ptr<Trial>> make_gpu_trial(const Tactic& tactic, Config config,
                                              const Problem& asked, const Problem& sized,
                                              std::span<const Tensor> inputs,
                                              const PrepareArgs& args);

// Names what times depend on, for the database: "cpu AMD EPYC 9R14, avx512, 2 threads",
// "NVIDIA H100 80GB HBM3, sm_90a".
std::string machine_name(const PrepareArgs& args);

}  // namespace redline
