// SPDX-License-Identifier: Apache-2.0
// Takes the updates of one slot in their order: items from `first` on whose key it is, of `count`
// sorted ones. Some are fetched before it is known whether they belong to it, as long as they are
// there at all.
template <class Fetch, class Take>
__device__ inline void reduce_slot(const u64* items, i64 first, i64 count, u32 slot, Fetch fetch,
                                   Take take) {
  constexpr int kTogether = 4;
  typedef decltype(fetch(0u)) Value;
  for (bool more = true; more; first += kTogether) {
    Value values[kTogether];
    bool belongs[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const u64 item = first + j < count ? items[first + j] : ~0ull;
      belongs[j] = first + j < count && (u32)(item >> 32) == slot;
      values[j] = Value(0);
      if (belongs[j]) values[j] = fetch((u32)item);
    }
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      if (belongs[j]) take(values[j]);
      more = belongs[j];
    }
  }
}
