// SPDX-License-Identifier: Apache-2.0
// Values that blocks of one grid hand to each other through global memory while they run. Each is
// written at once with a number that says which one it is and is read until that number is there:
// no barrier, no fence, and a former value is never taken for it. A place is overwritten only when
// all who read it are known to have done so.

// 8-byte aligned, as all of them are.
__device__ inline void write_at_once(u64* place, u64 word) {
#ifdef REDLINE_EMULATED
  *place = word;
#else
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(place), "l"(word) : "memory");
#endif
}
__device__ inline void write_tagged(u64* place, float value, u32 number) {
  write_at_once(place, (u64)number << 32 | float_to_bits(value));
}
// 48 bits. What is in the place must be of the number before, so that the low half says which one
// it is.
__device__ inline void write_tagged(u64* place, u32 value, u16 more, u32 number) {
  write_at_once(place, (u64)value << 32 | (number & 0xffff) << 16 | more);
}

// Two neighbours, 16-byte aligned.
__device__ inline void write_tagged_pair(u64* place, u32 first, u32 second, u32 number) {
  const u64 tag = (u64)number << 32;
#ifdef REDLINE_EMULATED
  place[0] = tag | first;
  place[1] = tag | second;
#else
  asm volatile("st.relaxed.gpu.global.v2.u64 [%0], {%1, %2};" ::"l"(place), "l"(tag | first),
               "l"(tag | second)
               : "memory");
#endif
}
struct TaggedPair {
  u64 first, second;
  __device__ inline bool has(u32 number) const {
    return (u32)(first >> 32) == number && (u32)(second >> 32) == number;
  }
  __device__ inline bool has_half(u32 number) const {
    return (u16)(first >> 16) == (u16)number && (u16)(second >> 16) == (u16)number;
  }
  __device__ inline void read(const u64* place) {
#ifdef REDLINE_EMULATED
    first = place[0];
    second = place[1];
#else
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];"
                 : "=l"(first), "=l"(second)
                 : "l"(place)
                 : "memory");
#endif
  }
};

// Between two looks.
__device__ inline void let_others_write() {
#ifdef REDLINE_EMULATED
  emulated_yield();
#endif
}
// The same where looking would keep memory from more than it brings.
__device__ inline void look_again_later() {
#ifdef REDLINE_EMULATED
  emulated_yield();
#else
  __nanosleep(100);
#endif
}
