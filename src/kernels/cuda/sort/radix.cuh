// SPDX-License-Identifier: Apache-2.0
// One pass of a radix sort over many rows of n items: by 8 bits of their keys, the order of equal
// ones kept. Tiles of a row are counted, the counts summed, and each item goes to its place.
// counts: [row, digit, tile]; totals: [row, digit]. Blocks of 256 threads, one for each digit.
constexpr int kRadixTile = 4096;
constexpr int kRadixWarps = kItemThreads / 32;

// A block a tile of a row.
template <class Fetch>
__device__ inline void count_digits(i64 n, int tiles, int shift, u32* counts, Fetch fetch) {
  __shared__ u32 bins[256];
  const int t = (int)threadIdx.x, tile = (int)(blockIdx.x % tiles);
  bins[t] = 0;
  __syncthreads();
  const i64 first = (i64)tile * kRadixTile;
  for (int k = t; k < kRadixTile && first + k < n; k += kItemThreads) {
    atomicAdd(&bins[digit_of(fetch(first + k), shift)], 1u);
  }
  __syncthreads();
  counts[((i64)(blockIdx.x / tiles) * 256 + t) * tiles + tile] = bins[t];
}

// The sum of the values of the threads before this one; *total is that of all.
__device__ inline u32 sum_before(u32 own, u32* total) {
  __shared__ u32 sums[kRadixWarps];
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  u32 sum = own;
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const u32 other = __shfl_up_sync(0xffffffffu, sum, by);
    if (lane >= by) sum += other;
  }
  __syncthreads();
  if (lane == 31) sums[warp] = sum;
  __syncthreads();
  u32 all = 0;
#pragma unroll
  for (int w = 0; w < kRadixWarps; ++w) {
    if (w < warp) sum += sums[w];
    all += sums[w];
  }
  *total = all;
  return sum - own;
}

// A block a digit of a row: each count becomes the sum of those of the tiles before.
__device__ inline void sum_digit(int tiles, u32* counts, u32* totals) {
  u32* own = counts + (i64)blockIdx.x * tiles;
  u32 before = 0;
  for (int first = 0; first < tiles; first += kItemThreads) {
    const int i = first + (int)threadIdx.x;
    u32 total;
    const u32 sum = sum_before(i < tiles ? own[i] : 0, &total);
    if (i < tiles) own[i] = before + sum;
    before += total;
  }
  if (threadIdx.x == 0) totals[blockIdx.x] = before;
}

// A block a tile of a row; `to` has place for all items of the rows.
template <class Item, class Fetch>
__device__ inline void move_by_digit(i64 n, int tiles, int shift, const u32* counts,
                                     const u32* totals, Item* to, Fetch fetch) {
  __shared__ u32 places[kRadixWarps][256];
  constexpr int kOfWarp = kRadixTile / kRadixWarps;
  const int t = (int)threadIdx.x, lane = t % 32, warp = t / 32;
  const int tile = (int)(blockIdx.x % tiles);
  const i64 row = blockIdx.x / tiles;
  const i64 first = (i64)tile * kRadixTile + warp * kOfWarp;
#pragma unroll
  for (int w = 0; w < kRadixWarps; ++w) places[w][t] = 0;
  __syncthreads();
  for (int k = lane; k < kOfWarp && first + k < n; k += 32) {
    atomicAdd(&places[warp][digit_of(fetch(first + k), shift)], 1u);
  }
  u32 all;
  u32 place = sum_before(totals[row * 256 + t], &all) + counts[(row * 256 + t) * tiles + tile];
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kRadixWarps; ++w) {
    const u32 here = places[w][t];
    places[w][t] = place;
    place += here;
  }
  __syncthreads();
  for (int k = 0; k < kOfWarp && first + k < n; k += 32) {
    const bool there = first + k + lane < n;
    Item item;
    set_last(item);
    if (there) item = fetch(first + k + lane);
    const u32 digit = digit_of(item, shift);
    u32 same = __ballot_sync(0xffffffffu, there);
#pragma unroll
    for (int bit = 0; bit < 8; ++bit) {
      const u32 set = __ballot_sync(0xffffffffu, digit >> bit & 1);
      same &= digit >> bit & 1 ? set : ~set;
    }
    const u32 before = places[warp][digit];
    __syncwarp();
    if (there) {
      to[row * n + before + __popc(same & ((1u << lane) - 1))] = item;
      if ((same >> lane) == 1) places[warp][digit] = before + __popc(same);
    }
    __syncwarp();
  }
}
