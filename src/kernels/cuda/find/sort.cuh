// SPDX-License-Identifier: Apache-2.0
// Bitonic sort of numbers 0, 1, ... by an order of what they name, in which no two are equal.
// `count` is a power of two. Blocks of 256 threads with a tile of numbers each.
constexpr int kSortThreads = 256;
constexpr int kSortTile = 2048;

// The exchanges over distances below a tile for the sequences of `from`, 2 * `from`, ... `to`
// numbers.
template <class Before>
__device__ inline void sort_in_tile(i64 count, i64 from, i64 to, i32* order, Before before) {
  __shared__ i32 tile[kSortTile];
  const i64 first = (i64)blockIdx.x * kSortTile;
  const int here = (int)(count - first < kSortTile ? count - first : kSortTile);
  for (int k = (int)threadIdx.x; k < here; k += kSortThreads) tile[k] = order[first + k];
  __syncthreads();
  for (i64 length = from; length <= to; length *= 2) {
    for (int by = (int)(length < kSortTile ? length : kSortTile) / 2; by > 0; by /= 2) {
      for (int pair = (int)threadIdx.x; pair < here / 2; pair += kSortThreads) {
        const int low = pair / by * by * 2 + pair % by;
        const i32 a = tile[low], b = tile[low + by];
        const bool ascending = ((first + low) & length) == 0;
        if (before(b, a) == ascending) {
          tile[low] = b;
          tile[low + by] = a;
        }
      }
      __syncthreads();
    }
  }
  for (int k = (int)threadIdx.x; k < here; k += kSortThreads) order[first + k] = tile[k];
}

// The exchanges over one larger distance; a thread makes one.
template <class Before>
__device__ inline void sort_across(i64 count, i64 length, i64 by, i32* order, Before before) {
  const i64 pair = (i64)blockIdx.x * kSortThreads + (int)threadIdx.x;
  if (pair >= count / 2) return;
  const i64 low = pair / by * by * 2 + pair % by;
  const i32 a = order[low], b = order[low + by];
  if (before(b, a) == ((low & length) == 0)) {
    order[low] = b;
    order[low + by] = a;
  }
}
