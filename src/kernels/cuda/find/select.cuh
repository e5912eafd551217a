// SPDX-License-Identifier: Apache-2.0
// Which of many elements have a flag, in their order: how many there are, and the place of each
// among them. Blocks of 256 threads; a tile of elements a block. First the tiles' counts, then
// their sum, then the places. All threads of a block must come to each function.
constexpr int kSelectThreads = 256;
constexpr int kSelectTile = 4096;

struct add_counts {
  __device__ inline i64 operator()(i64 a, i64 b) const { return a + b; }
};

// tiles[blockIdx.x] = how many of the tile's elements have it. A flag may be a large negative
// number instead: the sum then says that something is wrong.
template <class Flag>
__device__ inline void count_selected(i64 n, i64* tiles, Flag flag) {
  __shared__ i64 sums[kSelectThreads / 32];
  const i64 first = (i64)blockIdx.x * kSelectTile;
  i64 count = 0;
  for (int k = (int)threadIdx.x; k < kSelectTile && first + k < n; k += kSelectThreads) {
    count += flag(first + k);
  }
  count = group_merge<kSelectThreads>(count, add_counts(), sums);
  if (threadIdx.x == 0) tiles[blockIdx.x] = count;
}

// One block: tiles[i] = the sum of those in front of it, *total = that of all.
__device__ inline void sum_tiles(i64 count, i64* tiles, i64* total) {
  __shared__ i64 sums[2][kSelectThreads];
  const int t = (int)threadIdx.x;
  i64 before = 0;
  for (i64 first = 0; first < count; first += kSelectThreads) {
    const i64 own = first + t < count ? tiles[first + t] : 0;
    int from = 0;
    sums[0][t] = own;
    __syncthreads();
    for (int by = 1; by < kSelectThreads; by *= 2, from ^= 1) {
      sums[from ^ 1][t] = sums[from][t] + (t >= by ? sums[from][t - by] : 0);
      __syncthreads();
    }
    if (first + t < count) tiles[first + t] = before + sums[from][t] - own;
    before += sums[from][kSelectThreads - 1];
    __syncthreads();
  }
  if (t == 0) *total = before;
}

// Calls place(i, flag, how many in front of i have it) for each element of the tile.
template <class Flag, class Place>
__device__ inline void place_selected(i64 n, const i64* tiles, Flag flag, Place place) {
  __shared__ int warps[kSelectThreads / 32];
  const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  const i64 first = (i64)blockIdx.x * kSelectTile;
  i64 before = tiles[blockIdx.x];
  for (int k = 0; k < kSelectTile && first + k < n; k += kSelectThreads) {
    const i64 i = first + k + (int)threadIdx.x;
    const bool has = i < n && flag(i) != 0;
    const u32 bits = __ballot_sync(0xffffffffu, has);
    if (lane == 0) warps[warp] = __popc(bits);
    __syncthreads();
    i64 own = before + __popc(bits & ((1u << lane) - 1));
#pragma unroll
    for (int w = 0; w < kSelectThreads / 32; ++w) {
      if (w < warp) own += warps[w];
      before += warps[w];
    }
    if (i < n) place(i, has, own);
    __syncthreads();
  }
}
