// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tactics/tactic.h"

// Kernels of our own that are launched in turn on one workspace. Those of ops whose output sizes
// depend on values count first (Kernel::finds_sizes) and write what was counted into outputs of
// just that size.
namespace redline {

// OK when all operands are tensors of numbers whose ranks are known.
Status staged_supports(const Problem& problem);

// The text of one kernel: `statements` see in0, in1, ... of their storage types, out0, ..., the
// `workspace` (char*), whose first i64 is the count, and the numbers n0, n1, ... (i64) that the
// launch gives, and `refused` for refuse(). A kernel may be launched while the one before it still
// runs, for which it waits before all of its statements.
cuda::KernelSource staged_source(const Problem& problem, const std::string& entry,
                                 const std::vector<std::string>& files,
                                 const std::string& functions, const std::string& statements,
                                 size_t numbers, const cuda::DeviceInfo& device);

class StagedKernel final : public Kernel {
 public:
  struct Step {
    cuda::Function function;
    int64_t blocks = 0;
    // Instead, of the second part: a thread for each element of this output.
    int output = -1;
    std::vector<int64_t> numbers;
    int shared_bytes = 0;
    bool programmatic = false;
  };
  using Sizes = std::function<std::vector<Dims>(int64_t count)>;

  // Without `sizes` those of the outputs are known from the start.
  StagedKernel(std::string name, size_t workspace_bytes, Sizes sizes = nullptr)
      : name_(std::move(name)), workspace_bytes_(workspace_bytes), sizes_(std::move(sizes)) {}

  // Blocks of 256 threads. `module` counts in the order of the tactic's kernels.
  Status add_find(const PrepareArgs& args, size_t module, const std::string& entry, int64_t blocks,
                  std::vector<int64_t> numbers);
  Status add_run(const PrepareArgs& args, size_t module, const std::string& entry, int64_t blocks,
                 int output, std::vector<int64_t> numbers, int shared_bytes = 0);

  size_t workspace_bytes() const override { return workspace_bytes_; }
  bool finds_sizes() const override { return sizes_ != nullptr; }
  std::vector<Dims> sizes(int64_t count) const override { return sizes_(count); }
  Status find(const KernelArgs& args) const override { return launch(find_, args); }
  Status run(const KernelArgs& args) const override { return launch(run_, args); }

  static constexpr int kThreads = 256;

 private:
  static constexpr size_t kMaxParameters = 64;
  static Status add(std::vector<Step>& steps, const PrepareArgs& args, size_t module,
                    const std::string& entry, Step step);
  Status launch(const std::vector<Step>& steps, const KernelArgs& args) const;
  std::string name_;
  size_t workspace_bytes_;
  Sizes sizes_;
  std::vector<Step> find_;
  std::vector<Step> run_;
};

// Blocks of the functions in kernels/cuda/find/select.cuh for n elements: kSelectTile a block.
inline int64_t select_tiles(int64_t n) { return (n + 4095) / 4096; }

// Places in a workspace, one after another behind the count.
class WorkspaceLayout {
 public:
  int64_t add(int64_t bytes);
  int64_t bytes() const { return end_; }

 private:
  int64_t end_ = 256;
};

}  // namespace redline
