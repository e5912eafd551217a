// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "device/nvrtc.h"
#include "tactics/tactic.h"

namespace redline {

// Puts kernels between others in a chain of programmatic dependent launches, all of it one graph,
// which is replayed. In front is a producer that lets the next kernel start at once, sleeps 100 us,
// and only then makes the inputs and poisons outputs and workspace: a kernel that reads or writes
// before it has waited comes out with other bits. The next but one compares the outputs, and the
// inputs, which are there only if the kernel waited for the producer before it ended, and
// overwrites both. The last looks whether anything was written after that.
class SlowProducer {
 public:
  using Compile = std::function<Result<cuda::CompiledKernel>(const cuda::KernelSource&)>;

  static Result<SlowProducer> create(cuda::ContextPtr context, const Compile& compile);

  // Whether `kernel` makes the bits of `outputs` in each replay. Operands are in memory of the
  // host. Those with `constant` set are in place from the start, as an engine's weights are.
  Status check(const Kernel& kernel, std::span<const TensorView> inputs,
               const std::vector<bool>& constant, std::span<const TensorView> outputs, int replays);
  // That other bits are found out, and where kernels run `beside` each other those that read or
  // write before they wait, or never do.
  Status check_itself(bool beside);

 private:
  struct Buffers {
    cuda::DeviceBuffer inputs, source;  // the producer copies one from the other
    cuda::DeviceBuffer results, want;   // outputs; in `results` with the workspace behind them
    size_t output_bytes = 0;
  };
  Status queue_producer(const Buffers& buffers) const;
  Status queue_comparisons(const Buffers& buffers) const;
  Status replay(const Kernel& kernel, const KernelArgs& args, const Buffers& buffers,
                int replays) const;

  cuda::ContextPtr context_;
  cuda::Stream stream_;
  cuda::Function produce_, compare_, look_again_;
  cuda::Function waits_;                         // a copy that is right
  std::map<std::string, cuda::Function> wrong_;  // and others, by what they do
  cuda::DeviceBuffer faults_;                    // words that the comparisons set
};

}  // namespace redline
