// SPDX-License-Identifier: Apache-2.0
#include "tactics/chip_rates.h"

#include <algorithm>

namespace redline {
namespace {

// Fused multiply-adds of one multiprocessor in a clock, without sparsity, as NVIDIA's architecture
// papers have them.
struct GpuRow {
  int compute;  // 10 * major + minor
  int f16;      // and bf16, on tensor cores with sums in f32
  int tf32;
  int i8;
  int f8;   // 0: has none
  int f64;  // the faster of tensor cores and others
  int f32;  // not on tensor cores
};
constexpr GpuRow kGpus[] = {
    {80, 1024, 512, 2048, 0, 64, 64},       {86, 512, 256, 1024, 0, 2, 128},
    {89, 512, 256, 1024, 1024, 2, 128},     {90, 2048, 1024, 4096, 4096, 128, 128},
    {100, 4096, 2048, 8192, 8192, 64, 128}, {120, 512, 256, 1024, 1024, 2, 128},
};

}  // namespace

Rates chip_rates(const cuda::DeviceInfo& info) {
  Rates rates;
  // Two bits a pin and clock.
  rates.bytes_per_us =
      2.0 * static_cast<double>(info.memory_clock_khz) / 1e3 * info.memory_bus_bits / 8;
  rates.bytes_from = str_cat("computed: ", info.memory_bus_bits, " bits at ",
                             info.memory_clock_khz / 1000, " MHz");
  int compute = 10 * info.compute_major + info.compute_minor;
  const GpuRow* row = nullptr;
  for (const GpuRow& candidate : kGpus) {
    if (candidate.compute <= compute) row = &candidate;
  }
  if (row == nullptr) return rates;
  double per_us = 2.0 * info.multiprocessors * static_cast<double>(info.clock_khz) / 1e3;
  rates.other_flops_per_us = per_us * row->f32;
  // f32 products may be three of tf32.
  rates.matrix_flops_per_us = {
      {DType::kFloat32, per_us * std::max(row->f32 * 1.0, row->tf32 / 3.0)},
      {DType::kFloat64, per_us * row->f64},
      {DType::kFloat16, per_us * row->f16},
      {DType::kBFloat16, per_us * row->f16},
      {DType::kInt8, per_us * row->i8},
      {DType::kUInt8, per_us * row->i8}};
  for (DType f8 : {DType::kFloat8E4M3FN, DType::kFloat8E5M2}) {
    if (row->f8 > 0) rates.matrix_flops_per_us[f8] = per_us * row->f8;
  }
  rates.flops_from =
      str_cat("computed: ", info.multiprocessors, " multiprocessors at ", info.clock_khz / 1000,
              " MHz, the highest, times what one of compute capability ", row->compute / 10, ".",
              row->compute % 10, " does in a clock");
  return rates;
}

}  // namespace redline
