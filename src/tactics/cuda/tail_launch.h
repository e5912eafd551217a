// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tactics/cuda/product_tail.h"
#include "tactics/tactic.h"

// The launch of kernels that end in a ProductTail: their parameters are the inputs, the output, the
// workspace, the number of rows and what the tail wants.
namespace redline {

// "extern "C" __global__ ... entry(const f16* in0, ..., f16* out, float* parts, int rows, ...)".
// `packed`: an input that is 16-byte chunks (kernels/cuda/product/tiles.cuh); -1: none.
std::string launch_signature(const Problem& problem, const ProductTail& tail,
                             std::string_view entry, int64_t threads, int packed = -1);

class TailLaunch final : public Kernel {
 public:
  struct Step {
    cuda::Function function;
    cuda::LaunchShape shape;
  };
  // One launch after another, all with the same parameters; none: nothing is to be done.
  static Result<std::unique_ptr<Kernel>> create(const Problem& problem, const ProductTail& tail,
                                                int64_t rows, std::string name,
                                                std::vector<Step> steps, size_t workspace_bytes);
  size_t workspace_bytes() const override { return workspace_bytes_; }
  Status run(const KernelArgs& args) const override;

 private:
  static constexpr size_t kMaxOperands = 64;
  std::string name_;
  std::vector<Step> steps_;
  std::vector<int> sizes_;
  size_t workspace_bytes_ = 0;
};

}  // namespace redline
