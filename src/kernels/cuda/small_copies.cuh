// SPDX-License-Identifier: Apache-2.0
// Copies a few small blocks of memory, some of them the host's, by one kernel: a copy engine costs
// a graph's launch several microseconds, and hands over to kernels later than a kernel does. Put
// behind types.cuh and arch/pdl.cuh. One y of the grid for each block of memory.
constexpr int kMostCopies = 8;

struct SmallCopies {
  const u8* from[kMostCopies];
  u8* to[kMostCopies];
  u32 bytes[kMostCopies];
};

__device__ inline void copy_small(const SmallCopies& copies, int piece, u32 thread, u32 threads) {
  const u8* from = copies.from[piece];
  u8* to = copies.to[piece];
  const u32 bytes = copies.bytes[piece];
  wait_for_former();
  release_next();
  const bool whole = (((u64)from | (u64)to) & 7) == 0;
  const u32 words = whole ? bytes / 8 : 0;
  for (u32 i = thread; i < words; i += threads) ((u64*)to)[i] = ((const volatile u64*)from)[i];
  for (u32 i = words * 8 + thread; i < bytes; i += threads) to[i] = ((const volatile u8*)from)[i];
}
