// SPDX-License-Identifier: Apache-2.0
// Words that hold neighbouring elements of less than four bytes.

// The word that begins `bits` (below 32) from the lowest bit of `low`, which `high` is behind.
__device__ inline u32 shifted_word(u32 low, u32 high, int bits) {
  return (u32)((((u64)high << 32) | low) >> bits);
}

// Of the elements T in the words the first `count`, at least one.
template <class T, int N>
__device__ inline void store_first_words(T* place, const lanes_of<u32, N>& words, idx count) {
  constexpr int kOfWord = 4 / (int)sizeof(T);
  if (count >= N * kOfWord) return store_lanes((u32*)place, words);
#pragma unroll
  for (int i = 0; i < N * kOfWord; ++i) {
    if (i < count) place[i] = (T)(words.element[i / kOfWord] >> i % kOfWord * 8 * (int)sizeof(T));
  }
}
