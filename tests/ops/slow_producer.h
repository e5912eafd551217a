// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "device/nvrtc.h"
#include "tactics/tactic.h"

namespace redline {

// Puts kernels behind a producer that lets the next kernel start at once (programmatic dependent
// launch), sleeps 100 us, and only then makes their inputs and poisons their outputs and workspace.
// A kernel that reads or writes before it has waited comes out with other bits. All of it is one
// graph, which is replayed.
class SlowProducer {
 public:
  using Compile = std::function<Result<cuda::CompiledKernel>(const cuda::KernelSource&)>;

  static Result<SlowProducer> create(cuda::ContextPtr context, const Compile& compile);

  // Whether `kernel` makes the bits of `outputs` in each replay. Operands are in memory of the
  // host. Those with `constant` set are in place from the start, as an engine's weights are.
  Status check(const Kernel& kernel, std::span<const TensorView> inputs,
               const std::vector<bool>& constant, std::span<const TensorView> outputs, int replays);
  // That other bits are found out, and where kernels run beside each other one that does not wait.
  Status check_itself(bool beside);

 private:
  Status queue_producer(const cuda::DeviceBuffer& inputs, const cuda::DeviceBuffer& source,
                        const cuda::DeviceBuffer& results) const;
  Status queue_comparison(const cuda::DeviceBuffer& results, const cuda::DeviceBuffer& want,
                          size_t bytes) const;

  cuda::ContextPtr context_;
  cuda::Stream stream_;
  cuda::Function produce_;
  cuda::Function compare_;
  cuda::Function hasty_;
  cuda::DeviceBuffer different_;  // a word that the comparison sets
};

}  // namespace redline
