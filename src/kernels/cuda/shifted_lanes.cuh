// SPDX-License-Identifier: Apache-2.0
// Neighbouring elements that begin between two accesses of 16 bytes: both are read, and what is
// wanted is shifted out of them.

// Of `low` and `high`, the word that begins `bits` (below 32) from the lowest bit of `low`.
__device__ inline u32 shifted_word(u32 low, u32 high, int bits) {
  return (u32)((((u64)high << 32) | low) >> bits);
}

// All bits of a word from bit `begin` on.
__device__ inline u32 bits_from(int begin) {
  if (begin < 0) begin = 0;
#ifdef REDLINE_EMULATED
  return begin >= 32 ? 0 : ~0u << begin;
#else
  // Of a shift by 32 and more C++ does not say that nothing is left.
  u32 bits;
  asm("shl.b32 %0, %1, %2;" : "=r"(bits) : "r"(~0u), "r"(begin));
  return bits;
#endif
}

__device__ inline int clamped(idx x, int low, int high) {
  return x < low ? low : x > high ? high : (int)x;
}

// L elements of T, 16 bytes, of which those from `begin` to `end` are wanted. They are held in
// words: of smaller elements compilers take apart what is read under a condition, and so wait for
// it.
template <class T, int L>
struct ShiftedLanes {
  static constexpr int kBytes = (int)sizeof(T), kWords = 4;
  typedef lanes_of<u32, kWords> Access;
  static_assert(L * kBytes == (int)sizeof(Access), "an access of 16 bytes");
  Access access[2];
  int shift, begin, end;

  // Of `total` elements of data, which is aligned to 16 bytes, those from `at` on, which may be
  // none.
  __device__ inline void read(const T* data, idx at, idx total, int from, int to) {
    shift = (int)(at & (L - 1));
    begin = from;
    end = to;
    at -= shift;
    const bool whole = total % L == 0;  // known when this is compiled, if sizes are
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const idx place = at + i * L;
      const bool wanted = i == 0 ? shift + begin < L : shift + end > L;
      if (!(begin < end && wanted)) continue;
      if (whole || total - place >= L) {
        access[i] = load_lanes<kWords>((const u32*)(data + place));
      } else {
        access[i] = last_access(data + place, (int)(total - place));
      }
    }
  }
  // Nothing beyond the last element is read.
  static __device__ inline Access last_access(const T* place, int left) {
    Access some = {};
#pragma unroll
    for (int l = 0; l < L; ++l) {
      if (l < left) some.element[l * kBytes / 4] |= (u32)place[l] << l * kBytes % 4 * 8;
    }
    return some;
  }
  static __device__ inline lanes_of<T, L> as_lanes(const Access& words) {
    union Both {
      Access words;
      lanes_of<T, L> lanes;
      __device__ inline Both() {}
    } both;
    both.words = words;
    return both.lanes;
  }
  __device__ inline u32 word(int i) const { return access[i / kWords].element[i % kWords]; }
  // Those that are wanted take their places among the others.
  __device__ inline void put(Access& to) const {
    const int bytes = shift * kBytes;
    u32 by_two[kWords + 2], by_one[kWords + 1];
#pragma unroll
    for (int i = 0; i < kWords + 2; ++i) by_two[i] = bytes & 8 ? word(i + 2) : word(i);
#pragma unroll
    for (int i = 0; i < kWords + 1; ++i) by_one[i] = bytes & 4 ? by_two[i + 1] : by_two[i];
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      const u32 one = shifted_word(by_one[i], by_one[i + 1], bytes % 4 * 8);
      const u32 wanted =
          bits_from(8 * (begin * kBytes - 4 * i)) & ~bits_from(8 * (end * kBytes - 4 * i));
      to.element[i] = (to.element[i] & ~wanted) | (one & wanted);
    }
  }
};
