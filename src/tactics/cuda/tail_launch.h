// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device/tensor_map.h"
#include "tactics/cuda/product_tail.h"
#include "tactics/tactic.h"

// The launch of kernels that end in a ProductTail: their parameters are the inputs, the output, the
// workspace, the number of rows, what the tail wants and some of their own.
namespace redline {

// "extern "C" __global__ ... entry(const f16* in0, ..., f16* out, float* parts, int rows, ...)".
// `own`: ", int height, ...", the kernel's own parameters.
// `packed`: an input that is 16-byte chunks (kernels/cuda/product/tiles.cuh); -1: none.
// `resident`: blocks that a multiprocessor must have registers for; no more, or ptxas spills.
std::string launch_signature(const Problem& problem, const ProductTail& tail,
                             const std::string& own, std::string_view entry, int64_t threads,
                             int packed = -1, int64_t resident = 1);

class TailLaunch final : public Kernel {
 public:
  struct Step {
    cuda::Function function;
    cuda::LaunchShape shape;
  };
  // A tensor map of an input, the last parameter.
  struct Map {
    size_t input = 0;
    cuda::TensorMap::Shape shape;
  };
  // One launch after another, all with the same parameters; none: nothing is to be done.
  static Result<std::unique_ptr<Kernel>> create(const Problem& problem, const ProductTail& tail,
                                                int64_t rows, const std::vector<int>& own,
                                                std::string name, std::vector<Step> steps,
                                                size_t workspace_bytes,
                                                std::optional<Map> map = std::nullopt);
  size_t workspace_bytes() const override { return workspace_bytes_; }
  Status run(const KernelArgs& args) const override;

 private:
  static constexpr size_t kMaxOperands = 64;
  static constexpr size_t kMaxOwn = 32;
  std::string name_;
  std::vector<Step> steps_;
  std::vector<int> sizes_;
  std::optional<Map> map_;
  size_t workspace_bytes_ = 0;
};

}  // namespace redline
