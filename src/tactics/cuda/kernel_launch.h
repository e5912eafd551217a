// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device/tensor_map.h"
#include "tactics/tactic.h"

namespace redline {

// Kernels with the parameters of ElementWriter::whole(), launched in turn: inputs, outputs, the
// sizes that were unknown when they were written, where there are parts their memory, their number
// and tensor maps, and what is refused.
class KernelLaunch final : public Kernel {
 public:
  struct Step {
    cuda::Function function;
    cuda::LaunchShape shape;  // a grid of no blocks is left out
  };
  struct Parts {
    int64_t parts = 1;
    // Where any are kept, those are their memory, else the workspace.
    size_t workspace_bytes = 0, kept_bytes = 0;
    struct Map {
      size_t operand = 0;  // of the inputs, then the outputs
      cuda::TensorMap::Shape shape;
    };
    std::vector<Map> maps;  // two at most
  };
  static Result<std::unique_ptr<Kernel>> create(const Problem& problem, std::string name,
                                                std::vector<Step> steps, std::vector<int64_t> sizes,
                                                std::optional<Parts> parts = std::nullopt);
  // One block of threads for each of `blocks`, which may start before its predecessor has ended
  // where the GPU can do that.
  static Result<Step> step(const PrepareArgs& args, size_t module, const std::string& entry,
                           int64_t blocks, int threads, unsigned int shared_bytes = 0);
  size_t workspace_bytes() const override { return parts_ ? parts_->workspace_bytes : 0; }
  size_t kept_bytes() const override { return parts_ ? parts_->kept_bytes : 0; }
  Status run(const KernelArgs& args) const override;

 private:
  static constexpr size_t kMaxParameters = 256;
  static constexpr size_t kMaxMaps = 2;
  std::string name_;
  std::vector<Step> steps_;
  std::vector<int64_t> sizes_;
  std::optional<Parts> parts_;
};

}  // namespace redline
