// SPDX-License-Identifier: Apache-2.0
// Copies of boxes of a matrix by the copy engine (bulk_copy.cuh).

// Matrices in global memory, one behind the other, as cuTensorMapEncodeTiled describes them: rows
// of 16-bit elements, of which boxes are copied; zeros outside.
#ifdef REDLINE_EMULATED
#define __grid_constant__
struct TensorMap {
  u64 base, columns, rows, stride, box_rows;
  u64 box_columns, matrices, matrix_stride;
  u64 rest[8];
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

// The map's box of 64 columns at `column` and `row`, to a multiple of 1024 bytes, in the order of
// chunk_place<8>(). All its bytes are counted, also of what is outside.
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

// The map's box of a matrix, row by row, to or from a multiple of 128 bytes. `policy`:
// l2_policy().
#ifdef REDLINE_EMULATED
struct EmulatedTile {
  char* place;
  i64 pitch;        // of a row of the box
  int bytes, rows;  // that are inside
  EmulatedTile(const TensorMap* map, int column, int row, int matrix) {
    place = (char*)map->base + (i64)(matrix * map->matrix_stride + row * map->stride + column * 2);
    pitch = (i64)map->box_columns * 2;
    const i64 wide = (i64)map->columns - column, high = (i64)map->rows - row;
    bytes = (int)(wide < (i64)map->box_columns ? wide : (i64)map->box_columns) * 2;
    rows = (int)(high < (i64)map->box_rows ? high : (i64)map->box_rows);
    if (bytes <= 0 || rows <= 0 || matrix >= (int)map->matrices) abort();
  }
};
#endif
__device__ inline void copy_tile(void* to, const TensorMap* map, int column, int row, int matrix,
                                 u64* barrier, u64 policy) {
#ifdef REDLINE_EMULATED
  const EmulatedTile tile(map, column, row, matrix);
  memset(to, 0, tile.pitch * map->box_rows);
  emulated_count(barrier, (int)(tile.bytes * tile.rows - tile.pitch * (i64)map->box_rows));
  emulated_rows(barrier, to, tile.pitch, tile.place, (i64)map->stride, tile.bytes, tile.rows);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
      ".L2::cache_hint [%0], [%1, {%2, %3, %4}], [%5], %6;" ::"r"(shared_place(to)),
      "l"(map), "r"(column), "r"(row), "r"(matrix), "r"(shared_place(barrier)), "l"(policy)
      : "memory");
#endif
}
// What is outside is left out. In a group of its own.
__device__ inline void copy_tile_out(const TensorMap* map, int column, int row, int matrix,
                                     const void* from, u64 policy) {
#ifdef REDLINE_EMULATED
  const EmulatedTile tile(map, column, row, matrix);
  emulated_out(tile.place, (i64)map->stride, from, tile.pitch, tile.bytes, tile.rows);
#else
  asm volatile(
      "cp.async.bulk.tensor.3d.global.shared::cta.bulk_group.L2::cache_hint [%0, {%1, %2, %3}], "
      "[%4], %5;\n"
      "cp.async.bulk.commit_group;" ::"l"(map),
      "r"(column), "r"(row), "r"(matrix), "r"(shared_place(from)), "l"(policy)
      : "memory");
#endif
}
