// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tactics/tactic.h"

namespace redline {

// Kernels with the parameters of ElementWriter::whole(), launched in turn: inputs, outputs, the
// sizes that were unknown when they were written, where `parts` is given the workspace and that,
// and what is refused.
class KernelLaunch final : public Kernel {
 public:
  struct Step {
    cuda::Function function;
    cuda::LaunchShape shape;  // a grid of no blocks is left out
  };
  static Result<std::unique_ptr<Kernel>> create(const Problem& problem, std::string name,
                                                std::vector<Step> steps, std::vector<int64_t> sizes,
                                                std::optional<int64_t> parts = std::nullopt,
                                                size_t workspace_bytes = 0, size_t kept_bytes = 0);
  // One block of threads for each of `blocks`, which may start before its predecessor has ended
  // where the GPU can do that.
  static Result<Step> step(const PrepareArgs& args, size_t module, const std::string& entry,
                           int64_t blocks, int threads, unsigned int shared_bytes = 0);
  size_t workspace_bytes() const override { return workspace_bytes_; }
  size_t kept_bytes() const override { return kept_bytes_; }
  Status run(const KernelArgs& args) const override;

 private:
  static constexpr size_t kMaxParameters = 256;
  std::string name_;
  std::vector<Step> steps_;
  std::vector<int64_t> sizes_;
  std::optional<int64_t> parts_;
  size_t workspace_bytes_ = 0;
  size_t kept_bytes_ = 0;  // where there are any, `parts` is given them
};

}  // namespace redline
