// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/module.h"
#include "device/nvrtc.h"

namespace redline {

// Small copies between page-locked memory and the GPU, several by one kernel
// (kernels/cuda/small_copies.cuh). On an H100 four copies by the copy engines make the launch of a
// graph take 13 us of the host instead of 3, and 7 us longer to end.
class SmallCopies {
 public:
  static constexpr const char* kEntry = "small_copies";
  // Above this the copy engine's bandwidth counts for more.
  static constexpr size_t kMostBytes = 64 << 10;
  static cuda::KernelSource source(const cuda::DeviceInfo& gpu);

  // `module` is what was compiled of `source`.
  static Result<SmallCopies> create(std::shared_ptr<const cuda::Module> module);
  // False when there is no place left.
  bool add(const void* from, void* to, size_t bytes);
  Status launch(const cuda::Stream& stream) const;

 private:
  explicit SmallCopies(cuda::Function function) : function_(std::move(function)) {}
  static constexpr int kThreads = 256;
  static constexpr size_t kMost = 8;  // kMostCopies of the kernel, whose parameter this is
  struct Parameter {
    const void* from[kMost] = {};
    void* to[kMost] = {};
    uint32_t bytes[kMost] = {};
  };
  cuda::Function function_;
  Parameter parameter_;
  size_t count_ = 0;
};

}  // namespace redline
