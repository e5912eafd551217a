// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/driver.h"

namespace redline::cuda {

// Shared memory that the driver takes of each block's.
inline constexpr int kReservedSharedBytes = 1 << 10;

// What a block of a kernel takes, and the one barrier of __syncthreads().
struct BlockNeeds {
  int threads = 0;
  int registers = 0;  // of a thread
  int static_shared_bytes = 0, dynamic_shared_bytes = 0;
};

// How many blocks of a kernel a multiprocessor has room for at once, as
// cuOccupancyMaxActiveBlocksPerMultiprocessor counts them, but without a GPU. 0: not even one.
int resident_blocks(const DeviceInfo& device, const BlockNeeds& needs);

// The warps of so many blocks, of the most that a multiprocessor can hold: 0 to 1.
double occupancy(const DeviceInfo& device, const BlockNeeds& needs);

}  // namespace redline::cuda
