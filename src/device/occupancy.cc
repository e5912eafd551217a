// SPDX-License-Identifier: Apache-2.0
#include "device/occupancy.h"

#include <algorithm>

#include "base/checked.h"

namespace redline::cuda {
namespace {

// Sources: CUDA C++ Programming Guide 13.0, technical specifications per compute capability, for
// the limits; for how memory is given out, the tuning guides and the toolkit's cuda_occupancy.h.
// All are the same from compute capability 8.0 to 12.0.
constexpr int64_t kWarpThreads = 32;
constexpr int64_t kMostThreads = 1024;   // of a block
constexpr int64_t kMostRegisters = 255;  // of a thread
constexpr int64_t kRegisterUnit = 256;   // registers that a warp gets at once
constexpr int64_t kPartitions = 4;       // of a multiprocessor, each with its registers
constexpr int64_t kSharedUnit = 128;     // bytes that a block gets at once

int64_t round_up(int64_t value, int64_t unit) { return divide_up(value, unit) * unit; }

int64_t warps_of(const BlockNeeds& needs) { return divide_up(needs.threads, kWarpThreads); }

// A warp has its registers in one of the parts; those of a block need not be spread evenly.
int64_t blocks_by_registers(const DeviceInfo& device, const BlockNeeds& needs) {
  if (needs.registers == 0) return device.blocks_per_multiprocessor;
  int64_t of_warp = round_up(needs.registers * kWarpThreads, kRegisterUnit);
  if (of_warp * round_up(warps_of(needs), kPartitions) > device.registers_per_multiprocessor) {
    return 0;
  }
  int64_t warps = device.registers_per_multiprocessor / kPartitions / of_warp * kPartitions;
  return warps / warps_of(needs);
}

int64_t blocks_by_shared_memory(const DeviceInfo& device, const BlockNeeds& needs) {
  int64_t asked = int64_t{needs.static_shared_bytes} + needs.dynamic_shared_bytes;
  if (asked > device.shared_bytes_per_block) return 0;
  int64_t of_block = round_up(asked + kReservedSharedBytes, kSharedUnit);
  return device.shared_bytes_per_multiprocessor / of_block;
}

}  // namespace

int resident_blocks(const DeviceInfo& device, const BlockNeeds& needs) {
  if (needs.threads < 1 || needs.threads > kMostThreads) return 0;
  if (needs.registers < 0 || needs.registers > kMostRegisters) return 0;
  int64_t most_warps = device.threads_per_multiprocessor / kWarpThreads;
  return static_cast<int>(std::min(
      {static_cast<int64_t>(device.blocks_per_multiprocessor), most_warps / warps_of(needs),
       blocks_by_registers(device, needs), blocks_by_shared_memory(device, needs)}));
}

double occupancy(const DeviceInfo& device, const BlockNeeds& needs) {
  int blocks = resident_blocks(device, needs);
  if (blocks == 0) return 0;
  return static_cast<double>(blocks * warps_of(needs) * kWarpThreads) /
         device.threads_per_multiprocessor;
}

}  // namespace redline::cuda
