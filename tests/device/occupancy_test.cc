// SPDX-License-Identifier: Apache-2.0
#include "device/occupancy.h"

#include <gtest/gtest.h>

#include <algorithm>

#if __has_include(<cuda_occupancy.h>)
#include <cuda_occupancy.h>
#endif

namespace redline::cuda {
namespace {

int blocks(const char* arch, const BlockNeeds& needs) {
  return resident_blocks(DeviceInfo::of_arch(arch).value(), needs);
}

// The CUDA C++ Programming Guide's technical specifications: resident blocks of a multiprocessor.
TEST(Occupancy, BlocksOfOneWarpAreAsManyAsAnArchitectureAllows) {
  EXPECT_EQ(blocks("sm_80", {32, 16}), 32);
  EXPECT_EQ(blocks("sm_86", {32, 16}), 16);
  EXPECT_EQ(blocks("sm_89", {32, 16}), 24);
  EXPECT_EQ(blocks("sm_90a", {32, 16}), 32);
  EXPECT_EQ(blocks("sm_100a", {32, 16}), 32);
  EXPECT_EQ(blocks("sm_120", {32, 16}), 24);
}

// There too: 2048 threads, 1536 where there are 100 KB of shared memory.
TEST(Occupancy, LargeBlocksAreAsManyAsThereAreWarps) {
  EXPECT_EQ(blocks("sm_80", {1024, 32}), 2);
  EXPECT_EQ(blocks("sm_86", {1024, 32}), 1);
  EXPECT_EQ(blocks("sm_90a", {256, 32}), 8);
  EXPECT_EQ(blocks("sm_89", {256, 32}), 6);
  EXPECT_EQ(blocks("sm_90a", {1025, 32}), 0);
}

TEST(Occupancy, RegistersAreGivenOutByWarpAndPart) {
  EXPECT_EQ(blocks("sm_90a", {256, 32}), 8);   // 8 * 256 * 32 are all 65536
  EXPECT_EQ(blocks("sm_90a", {256, 33}), 6);   // as 40: 12 warps in each of 4 parts
  EXPECT_EQ(blocks("sm_90a", {256, 255}), 1);  // 8 warps of 8192
  EXPECT_EQ(blocks("sm_90a", {288, 255}), 0);  // 9 are more than there are
  EXPECT_EQ(blocks("sm_90a", {64, 200}), 4);   // 2 warps in each part, for 16384 / 6400
  EXPECT_EQ(blocks("sm_90a", {64, 168}), 6);   // 3
}

// The tuning guides: 164, 100 and 228 KB of shared memory, of which the driver takes 1 KB a block.
TEST(Occupancy, SharedMemoryIsStaticDynamicAndReserved) {
  EXPECT_EQ(blocks("sm_90a", {256, 32, 0, 227 << 10}), 1);
  EXPECT_EQ(blocks("sm_90a", {256, 32, 0, (227 << 10) + 1}), 0);
  EXPECT_EQ(blocks("sm_90a", {256, 32, 1 << 10, 112 << 10}), 2);
  EXPECT_EQ(blocks("sm_90a", {256, 32, 1 << 10, (112 << 10) + 1}), 1);
  EXPECT_EQ(blocks("sm_80", {256, 32, 40 << 10, 0}), 4);
  EXPECT_EQ(blocks("sm_86", {256, 32, 24 << 10, 0}), 4);
  EXPECT_EQ(blocks("sm_90a", {256, 32, INT32_MAX, INT32_MAX}), 0);
}

TEST(Occupancy, IsTheShareOfTheWarps) {
  DeviceInfo h100 = DeviceInfo::of_arch("sm_90a").value();
  EXPECT_EQ(occupancy(h100, {256, 32}), 1);
  EXPECT_EQ(occupancy(h100, {256, 33}), 0.75);
  EXPECT_EQ(occupancy(h100, {384, 168, 0, 196736}), 12.0 / 64);
  EXPECT_EQ(occupancy(h100, {33, 16}), 1);  // a second warp of one thread is a warp
  EXPECT_EQ(occupancy(h100, {0, 32}), 0);
}

#if __has_include(<cuda_occupancy.h>)
int blocks_by_nvidia(const DeviceInfo& chip, const BlockNeeds& needs) {
  cudaOccDeviceProp device = {};
  device.computeMajor = chip.compute_major;
  device.computeMinor = chip.compute_minor;
  device.maxThreadsPerBlock = 1024;
  device.maxThreadsPerMultiprocessor = chip.threads_per_multiprocessor;
  device.regsPerBlock = device.regsPerMultiprocessor = chip.registers_per_multiprocessor;
  device.warpSize = 32;
  device.sharedMemPerBlock = 48 << 10;
  device.sharedMemPerMultiprocessor = static_cast<size_t>(chip.shared_bytes_per_multiprocessor);
  device.numSms = chip.multiprocessors;
  device.sharedMemPerBlockOptin = static_cast<size_t>(chip.shared_bytes_per_block);
  device.reservedSharedMemPerBlock = 1024;
  cudaOccFuncAttributes kernel = {};
  kernel.maxThreadsPerBlock = 1024;
  kernel.numRegs = needs.registers;
  kernel.sharedSizeBytes = static_cast<size_t>(needs.static_shared_bytes);
  kernel.maxDynamicSharedSizeBytes =
      static_cast<size_t>(chip.shared_bytes_per_block - needs.static_shared_bytes);
  kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  kernel.numBlockBarriers = 1;
  cudaOccDeviceState state;
  cudaOccResult result = {};
  EXPECT_EQ(
      cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, needs.threads,
                                              static_cast<size_t>(needs.dynamic_shared_bytes)),
      CUDA_OCC_SUCCESS);
  return result.activeBlocksPerMultiprocessor;
}

TEST(Occupancy, IsWhatNvidiasCalculatorSays) {
  for (const char* arch : {"sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120"}) {
    DeviceInfo chip = DeviceInfo::of_arch(arch).value();
    for (int threads = 1; threads <= 1024; threads += threads < 32 ? 31 : 16) {
      for (int registers = 16; registers <= 255; registers += 7) {
        for (int shared : {0, 100, 8000, 31000, 50000, 98400, 115000, 116000, 196736, 232448}) {
          BlockNeeds needs = {threads, registers, 80, std::max(0, shared - 80)};
          EXPECT_EQ(resident_blocks(chip, needs), blocks_by_nvidia(chip, needs))
              << arch << " " << threads << " " << registers << " " << shared;
        }
      }
    }
  }
}
#endif

}  // namespace
}  // namespace redline::cuda
