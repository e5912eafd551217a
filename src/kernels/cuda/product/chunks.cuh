// SPDX-License-Identifier: Apache-2.0
// Tiles of operands in shared memory: rows of 16-byte chunks, whose order in a row changes from row
// to row so that the same chunk of 8 rows lies in different banks.
struct __align__(16) Chunk {
  u32 word[4];
};

template <int CHUNKS>
__device__ inline int chunk_place(int row, int chunk) {
  static_assert(CHUNKS == 4 || CHUNKS % 8 == 0, "no swizzle for such rows");
  if constexpr (CHUNKS == 4) return row * 4 + (chunk ^ ((row >> 1) & 3));
  return row * CHUNKS + (chunk ^ (row & 7));
}
