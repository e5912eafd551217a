// SPDX-License-Identifier: Apache-2.0
// Matrix instructions of a warpgroup, 4 warps that follow each other (sm_90a). They read tiles of
// 16-bit elements from shared memory on their own, while the threads go on: 64 rows of a and
// COLUMNS of b, each of 128 bytes of depth with its 8 chunks in the order of chunk_place<8>(),
// which is what PTX calls 128-byte swizzling. Both tiles begin at a multiple of 1024 bytes. The
// sums are spread as in mma.cuh, warp w having rows 16w to 16w + 15, the next 8 columns in the next
// four numbers.

// Gives registers of the warpgroup back, or takes such as others gave back.
template <int COUNT>
__device__ inline void shrink_registers() {
#ifndef REDLINE_EMULATED
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}
template <int COUNT>
__device__ inline void grow_registers() {
#ifndef REDLINE_EMULATED
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

// In front of the first instruction, and where threads have written sums in between.
__device__ inline void begin_warpgroup() {
#ifndef REDLINE_EMULATED
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Closes a group of instructions.
__device__ inline void commit_warpgroup() {
#ifndef REDLINE_EMULATED
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Until all but the LEFT youngest groups are done.
template <int LEFT>
__device__ inline void wait_warpgroup() {
#ifndef REDLINE_EMULATED
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
#endif
}

#ifdef REDLINE_EMULATED
template <class T, int COLUMNS>
static void emulated_wgmma(float (&d)[COLUMNS / 2], const Chunk* a, const Chunk* b, int step) {
  auto element = [&](const Chunk* tile, int row, int k) {
    int column = step * 16 + k;
    return widen(((const T*)&tile[chunk_place<8>(row, column / 8)])[column % 8]);
  };
  int lane = emulated_lane();
  int warp = (int)threadIdx.x / 32 % 4;
  for (int i = 0; i < COLUMNS / 2; ++i) {
    int row = warp * 16 + lane / 4 + i / 2 % 2 * 8;
    int column = i / 4 * 8 + lane % 4 * 2 + i % 2;
    for (int k = 0; k < 16; ++k) d[i] += element(a, row, k) * element(b, column, k);
  }
}
#else
__device__ inline u64 matrix_descriptor(const Chunk* tile) {
  // 8 rows are 1024 bytes; bit 62: 128-byte swizzling.
  return (u64)((shared_place(tile) & 0x3ffff) >> 4) | (u64)1 << 16 | (u64)64 << 32 | (u64)1 << 62;
}
#endif
