// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/small_copies.h"

#include <algorithm>

#include "kernels/cuda/sources.h"

namespace redline {

cuda::KernelSource SmallCopies::source(const cuda::DeviceInfo& gpu) {
  using kernels::cuda::source;
  cuda::KernelSource text;
  text.entry = kEntry;
  text.arch = gpu.arch();
  text.text = str_cat(source("types.cuh"), source("arch/pdl.cuh"), source("small_copies.cuh"),
                      "extern \"C\" __global__ void __launch_bounds__(", kThreads, ") ", kEntry,
                      "(SmallCopies copies) {\n  copy_small(copies, (int)blockIdx.y, blockIdx.x * ",
                      kThreads, " + threadIdx.x, gridDim.x * ", kThreads, ");\n}\n");
  return text;
}

Result<SmallCopies> SmallCopies::create(std::shared_ptr<const cuda::Module> module) {
  REDLINE_ASSIGN(cuda::Function function, cuda::Function::create(std::move(module), kEntry));
  return SmallCopies(std::move(function));
}

bool SmallCopies::add(const void* from, void* to, size_t bytes) {
  if (count_ == kMost) return false;
  parameter_.from[count_] = from;
  parameter_.to[count_] = to;
  parameter_.bytes[count_] = static_cast<uint32_t>(bytes);
  ++count_;
  return true;
}

Status SmallCopies::launch(const cuda::Stream& stream) const {
  uint32_t largest = *std::max_element(parameter_.bytes, parameter_.bytes + count_);
  // Two words of 8 bytes a thread.
  constexpr uint32_t kBlockBytes = 16 * kThreads;
  cuda::LaunchShape shape;
  shape.grid = {std::max(1u, (largest + kBlockBytes - 1) / kBlockBytes),
                static_cast<unsigned int>(count_), 1};
  shape.block = {kThreads, 1, 1};
  shape.programmatic = stream.context()->info().compute_major >= 9;
  Parameter parameter = parameter_;
  void* parameters[] = {&parameter};
  return cuda::launch(stream, function_, shape, parameters, "small copies");
}

}  // namespace redline
