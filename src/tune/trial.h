// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// One candidate made ready with memory for its operands: the only part of the tuner that launches
// kernels and knows where they run. For a problem with concrete sizes. One thread.
class Trial {
 public:
  // `inputs` (undefined: absent) must outlive it. Packs and prepares; a failure is the tactic's
  // refusal.
  static Result<std::unique_ptr<Trial>> create(const Tactic& tactic, Config config,
                                               const Problem& problem,
                                               std::span<const Tensor> inputs,
                                               const PrepareArgs& args);
  // Runs once and returns the microseconds it took.
  Result<double> run();
  // Runs on outputs and workspace that hold NaN before; fails also when the kernel wrote behind
  // them. The outputs are then on the host.
  Status run_poisoned();
  std::span<const TensorView> outputs() const { return outputs_; }

 private:
  Trial() = default;
  std::vector<PackedOperand> packed_;
  std::unique_ptr<Kernel> kernel_;
  std::vector<TensorView> inputs_;
  std::vector<TensorView> outputs_;
  std::vector<std::shared_ptr<void>> memory_;  // of the outputs, then the workspace
  std::vector<size_t> bytes_;
  ThreadPool* pool_ = nullptr;
};

// Names what times depend on, for the database: "cpu AMD EPYC 9R14, avx512, 2 threads".
std::string machine_name(const PrepareArgs& args);

}  // namespace redline
