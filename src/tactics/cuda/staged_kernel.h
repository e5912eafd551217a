// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/checked.h"
#include "tactics/tactic.h"

// Kernels of our own that are launched in turn on one workspace. Those of ops whose output sizes
// depend on values count first (Kernel::finds_sizes) and write what was counted into outputs of
// just that size.
namespace redline {

// OK when all operands are tensors of numbers whose ranks are known.
Status staged_supports(const Problem& problem);

// `statements` see in0, in1, ... of their storage types, out0, ..., the `workspace` (char*), whose
// first i64 is the count, and the numbers n0, n1, ... (i64) that the launch gives, and `refused`
// for refuse(). A kernel may be launched while the one before it still runs, for which it waits
// before all of its statements.
struct StagedText {
  std::string entry;
  std::string statements;
};

// What stands around the statements.
struct StagedFrame {
  std::vector<const char*> files;  // of kernels/cuda
  size_t numbers = 0;
  std::string functions = {};
  std::string prelude = {};  // in front of the statements
};

cuda::KernelSource staged_source(const Problem& problem, const StagedText& text,
                                 const StagedFrame& frame, const cuda::DeviceInfo& device);
std::vector<cuda::KernelSource> staged_sources(const Problem& problem,
                                               const std::vector<StagedText>& texts,
                                               const StagedFrame& frame,
                                               const cuda::DeviceInfo& device);

// What a number is called in a text.
inline std::string n(size_t number) { return str_cat("n", number); }

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

  void set_workspace_bytes(size_t bytes) { workspace_bytes_ = bytes; }
  size_t workspace_bytes() const override { return workspace_bytes_; }
  bool finds_sizes() const override { return sizes_ != nullptr; }
  std::vector<Dims> sizes(int64_t count) const override { return sizes_(count); }
  Status find(const KernelArgs& args) const override { return launch(find_, args); }
  Status run(const KernelArgs& args) const override { return launch(run_, args); }

  static constexpr int kThreads = 256;
  static int64_t blocks_of(int64_t threads) { return divide_up(threads, kThreads); }

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
inline int64_t select_tiles(int64_t n) { return divide_up(n, 4096); }

// Places in a workspace, one after another behind the count.
class WorkspaceLayout {
 public:
  int64_t add(int64_t bytes);
  int64_t bytes() const { return end_; }

 private:
  int64_t end_ = 256;
};

// Which numbers of its kernels are a radix sort's (kernels/cuda/sort/radix.cuh).
struct RadixNumbers {
  size_t from, to;  // places in the workspace; negative: the items are the operand's
  size_t counts, totals;
  size_t shift, tiles;
};
// `counts`, `totals`, `tiles` and `shift`, for statements.
std::string radix_tables(const RadixNumbers& at);

// Makes a kernel out of launches of `texts`, each with the numbers as they are by then.
class StagedBuilder {
 public:
  StagedBuilder(const PrepareArgs& args, std::string name, std::vector<StagedText> texts,
                std::vector<int64_t> numbers, StagedKernel::Sizes sizes = nullptr)
      : args_(args),
        texts_(std::move(texts)),
        numbers_(std::move(numbers)),
        kernel_(std::make_unique<StagedKernel>(std::move(name), size_t{0}, std::move(sizes))) {}

  int64_t& operator[](size_t number) { return numbers_[number]; }
  int64_t add_space(int64_t bytes) { return layout_.add(bytes); }
  Status find(std::string_view entry, int64_t blocks);
  Status run(std::string_view entry, int64_t blocks, int output = -1);

  // Space for a radix sort of up to `rows` rows of `size` items, and where it is.
  void add_radix(const RadixNumbers& at, int64_t rows, int64_t size, int64_t item_bytes);
  // The passes over `rows` rows, of kernels NAME_count, NAME_sum and NAME_move; the items are at
  // `from` then.
  Status run_radix(const RadixNumbers& at, const std::string& name, int64_t rows,
                   std::span<const int64_t> shifts);

  std::unique_ptr<Kernel> build();

 private:
  Result<size_t> module_of(std::string_view entry) const;
  const PrepareArgs& args_;
  std::vector<StagedText> texts_;
  std::vector<int64_t> numbers_;
  WorkspaceLayout layout_;
  int64_t radix_sides_[2] = {};
  std::unique_ptr<StagedKernel> kernel_;
};

}  // namespace redline
