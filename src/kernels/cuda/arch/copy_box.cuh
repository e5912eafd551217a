// SPDX-License-Identifier: Apache-2.0
// Copies of boxes of a matrix by the copy engine (bulk_copy.cuh).

// A matrix in global memory, as cuTensorMapEncodeTiled describes it: rows of 16-bit elements, of
// which boxes of 64 columns are copied, in the order of chunk_place<8>(); zeros outside.
#ifdef REDLINE_EMULATED
#define __grid_constant__
struct TensorMap {
  u64 base, columns, rows, stride, box_rows;
  u64 rest[11];
};
#else
struct __align__(64) TensorMap {
  u64 word[16];
};
#endif

// So that the first copy does not wait for it.
__device__ inline void prefetch_map(const TensorMap* map) {
#ifndef REDLINE_EMULATED
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// The map's box at `column` and `row`, to a multiple of 1024 bytes. All its bytes are counted, also
// of what is outside.
__device__ inline void copy_box(Chunk* to, const TensorMap* map, int column, int row,
                                u64* barrier) {
#ifdef REDLINE_EMULATED
  for (int y = 0; y < (int)map->box_rows; ++y) {
    for (int x = 0; x < 64; ++x) {
      bool inside = (u64)(row + y) < map->rows && (u64)(column + x) < map->columns;
      const char* from = (const char*)map->base + (u64)(row + y) * map->stride + (column + x) * 2;
      if (x % 8 == 0 && inside && (u64)(column + x + 8) <= map->columns) {
        emulated_bulk(barrier, &to[chunk_place<8>(y, x / 8)], from, 16);
        x += 7;
      } else {
        emulated_bulk(barrier, (u16*)&to[chunk_place<8>(y, x / 8)] + x % 8, inside ? from : nullptr,
                      2);
      }
    }
  }
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, "
      "%3}], [%4];" ::"r"(shared_place(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_place(barrier))
      : "memory");
#endif
}
