// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/module.h"
#include "device/nvrtc.h"

namespace redline {

// Copies between page-locked memory and the GPU, or between two places on it, several by one kernel
// (kernels/cuda/small_copies.cuh). On an H100 four copies by the copy engines make the launch of a
// graph take 13 us of the host instead of 3, and 7 us longer to end.
class SmallCopies {
 public:
  static constexpr const char* kEntry = "copies";
  // Above this the copy engine's bandwidth counts for more, where the host's memory is read.
  static constexpr size_t kMostBytes = 64 << 10;
  static cuda::KernelSource source(const cuda::DeviceInfo& gpu);

  // `module` is what was compiled of `source`.
  static Result<SmallCopies> create(std::shared_ptr<const cuda::Module> module);
  // At most kMostBytes. False when there is no place left.
  bool add(const void* from, void* to, size_t bytes);
  // Of any size, on the GPU: one of the two addresses is what stands at `from` or `to`, in
  // page-locked memory, when the kernel runs.
  bool add_from_named(const uint64_t* from, void* to, size_t bytes);
  bool add_to_named(const void* from, const uint64_t* to, size_t bytes);
  Status launch(const cuda::Stream& stream) const;

 private:
  explicit SmallCopies(cuda::Function function) : function_(std::move(function)) {}
  static constexpr int kThreads = 256;
  static constexpr size_t kMost = 8;  // kMostCopies of the kernel, whose parameter this is
  struct Parameter {
    const void* from[kMost] = {};
    const void* to[kMost] = {};
    uint64_t bytes[kMost] = {};
    uint32_t from_named = 0;
    uint32_t to_named = 0;
  };
  bool put(const void* from, const void* to, size_t bytes);
  cuda::Function function_;
  Parameter parameter_;
  size_t count_ = 0;
};

}  // namespace redline
