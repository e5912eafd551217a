// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/small_copies.h"

#include <algorithm>

#include "base/checked.h"
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

bool SmallCopies::put(const void* from, const void* to, size_t bytes) {
  if (count_ == kMost) return false;
  parameter_.from[count_] = from;
  parameter_.to[count_] = to;
  parameter_.bytes[count_] = bytes;
  ++count_;
  return true;
}

bool SmallCopies::add(const void* from, void* to, size_t bytes) { return put(from, to, bytes); }

bool SmallCopies::add_from_named(const uint64_t* from, void* to, size_t bytes) {
  if (!put(from, to, bytes)) return false;
  parameter_.from_named |= 1u << (count_ - 1);
  return true;
}

bool SmallCopies::add_to_named(const void* from, const uint64_t* to, size_t bytes) {
  if (!put(from, to, bytes)) return false;
  parameter_.to_named |= 1u << (count_ - 1);
  return true;
}

Status SmallCopies::launch(const cuda::Stream& stream) const {
  const cuda::DeviceInfo& gpu = stream.context()->info();
  uint64_t largest = *std::max_element(parameter_.bytes, parameter_.bytes + count_);
  // Two words of 8 bytes a thread, but no more blocks than run at once.
  constexpr uint64_t kBlockBytes = 16 * kThreads;
  const auto most = static_cast<uint64_t>(std::max(gpu.multiprocessors, 1)) * 8;
  uint64_t blocks = divide_up(largest, kBlockBytes);
  cuda::LaunchShape shape;
  shape.grid = {static_cast<unsigned int>(std::clamp<uint64_t>(blocks, 1, most)),
                static_cast<unsigned int>(count_), 1};
  shape.block = {kThreads, 1, 1};
  shape.programmatic = gpu.has_programmatic_launch();
  Parameter parameter = parameter_;
  void* parameters[] = {&parameter};
  return cuda::launch(stream, function_, shape, parameters, "copies");
}

}  // namespace redline
