// SPDX-License-Identifier: Apache-2.0
// Items to be sorted: a key and a number that no other item of the row has, so that there is one
// order only, whatever way leads to it. Blocks of 256 threads.
constexpr int kItemThreads = 256;

// Bits that are in order, as unsigned numbers, when the values are. Zeros are equal, and so are
// NaNs, behind all numbers.
__device__ inline u32 ordered_bits(float v) {
  if (v != v) return ~0u;
  const u32 bits = v == 0 ? 0 : float_to_bits(v);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}
__device__ inline u64 ordered_bits(double v) {
  if (v != v) return ~0ull;
  const u64 bits = v == 0 ? 0 : double_to_bits(v);
  return bits >> 63 ? ~bits : bits | 1ull << 63;
}
__device__ inline u32 ordered_bits(i32 v) { return (u32)v ^ 0x80000000u; }
__device__ inline u32 ordered_bits(u32 v) { return v; }
__device__ inline u64 ordered_bits(i64 v) { return (u64)v ^ 1ull << 63; }
__device__ inline u64 ordered_bits(u64 v) { return v; }

// A key of 32 bits lies above its number in one word.
struct wide_item {
  u64 key;
  u32 number;
};
__device__ inline u64 make_item(u32 key, u32 number) { return (u64)key << 32 | number; }
__device__ inline wide_item make_item(u64 key, u32 number) { return {key, number}; }
__device__ inline bool precedes(u64 a, u64 b) { return a < b; }
__device__ inline bool precedes(const wide_item& a, const wide_item& b) {
  return a.key != b.key ? a.key < b.key : a.number < b.number;
}
__device__ inline u32 number_of(u64 item) { return (u32)item; }
__device__ inline u32 number_of(const wide_item& item) { return item.number; }
__device__ inline u32 digit_of(u64 item, int shift) { return (u32)(item >> (32 + shift)) & 255; }
__device__ inline u32 digit_of(const wide_item& item, int shift) {
  return (u32)(item.key >> shift) & 255;
}
// Behind every item that there is.
__device__ inline void set_last(u64& item) { item = ~0ull; }
__device__ inline void set_last(wide_item& item) { item = {~0ull, ~0u}; }

// Bitonic sort of each run of `length` items of the `count` in shared memory, both powers of two.
// All threads of the block must come, after a barrier; the last thing is another.
template <class Item>
__device__ inline void sort_runs(Item* tile, int count, int length) {
  for (int sequence = 2; sequence <= length; sequence *= 2) {
    for (int by = sequence / 2; by > 0; by /= 2) {
      for (int pair = (int)threadIdx.x; pair < count / 2; pair += kItemThreads) {
        const int low = 2 * pair - (pair & (by - 1));
        const Item a = tile[low], b = tile[low + by];
        const bool ascending = (low & (length - 1) & sequence) == 0;
        if (precedes(b, a) == ascending) {
          tile[low] = b;
          tile[low + by] = a;
        }
      }
      __syncthreads();
    }
  }
}

// Leaves the first k of fetch(0), ..., fetch(count - 1) sorted at the start of the tile, which has
// room for `size` items, a power of two and at least k + 256. What is not among the first k of
// those before it is left out at once.
template <class Item, class Fetch>
__device__ inline void keep_first(i64 count, int k, int size, Item* tile, Fetch fetch) {
  constexpr int kTogether = 4;
  __shared__ int shared_filled;
  const int t = (int)threadIdx.x;
  Item last, limit;
  set_last(last);
  limit = last;
  for (int i = t; i < k; i += kItemThreads) tile[i] = last;
  int filled = k;
  auto settle = [&] {
    for (int i = filled + t; i < size; i += kItemThreads) tile[i] = last;
    __syncthreads();
    sort_runs(tile, size, size);
    limit = tile[k - 1];
    filled = k;
  };
  for (i64 first = 0; first < count; first += kTogether * kItemThreads) {
    Item mine[kTogether];
    bool some = false;
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const i64 i = first + j * kItemThreads + t;
      mine[j] = last;
      if (i < count) mine[j] = fetch(i);
      some |= precedes(mine[j], limit);
    }
    if (!__syncthreads_or(some)) continue;
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (filled + kItemThreads > size) settle();
      __syncthreads();
      if (t == 0) shared_filled = filled;
      __syncthreads();
      if (precedes(mine[j], limit)) tile[atomicAdd(&shared_filled, 1)] = mine[j];
      __syncthreads();
      filled = shared_filled;
    }
  }
  if (filled > k) settle();
}
