// SPDX-License-Identifier: Apache-2.0
// Copies a few blocks of memory by one kernel: small ones from and to the host's memory, where a
// copy engine costs a graph's launch several microseconds and hands over to kernels later than a
// kernel does; and those on the GPU whose addresses change from run to run, which the kernel then
// reads from the host's memory. Put behind types.cuh and arch/pdl.cuh. One y of the grid for each
// block of memory.
constexpr int kMostCopies = 8;

struct SmallCopies {
  const u8* from[kMostCopies];
  u8* to[kMostCopies];
  u64 bytes[kMostCopies];
  u32 from_named;  // bit i: from[i] is where the address of what is copied lies
  u32 to_named;
};

struct __align__(16) Word16 {
  u64 low, high;
};

// `T`s of both, four of them in flight in each thread.
template <class T>
__device__ inline void copy_words(const u8* from, u8* to, u64 words, u64 thread, u64 threads) {
  const T* source = (const T*)from;
  T* target = (T*)to;
  u64 i = thread;
  for (; i + 3 * threads < words; i += 4 * threads) {
    T a = source[i];
    T b = source[i + threads];
    T c = source[i + 2 * threads];
    T d = source[i + 3 * threads];
    target[i] = a;
    target[i + threads] = b;
    target[i + 2 * threads] = c;
    target[i + 3 * threads] = d;
  }
  for (; i < words; i += threads) target[i] = source[i];
}

// Between blocks of the GPU's memory, as wide as their addresses allow.
__device__ inline void copy_named(const u8* from, u8* to, u64 bytes, u64 thread, u64 threads) {
  const u64 places = (u64)from | (u64)to;
  u64 done = 0;
  if (places % 16 == 0) {
    copy_words<Word16>(from, to, bytes / 16, thread, threads);
    done = bytes / 16 * 16;
  } else if (places % 4 == 0) {
    copy_words<u32>(from, to, bytes / 4, thread, threads);
    done = bytes / 4 * 4;
  }
  copy_words<u8>(from + done, to + done, bytes - done, thread, threads);
}

__device__ inline void copy_small(const SmallCopies& copies, int piece, u32 thread, u32 threads) {
  const u8* from = copies.from[piece];
  u8* to = copies.to[piece];
  const u64 bytes = copies.bytes[piece];
  const bool from_named = copies.from_named >> piece & 1;
  const bool to_named = copies.to_named >> piece & 1;
  wait_for_former();
  release_next();
  if (from_named || to_named) {
    // By one thread: each read crosses the bus.
    __shared__ u64 places[2];
    if (threadIdx.x == 0) {
      places[0] = from_named ? *(const volatile u64*)from : (u64)from;
      places[1] = to_named ? *(const volatile u64*)to : (u64)to;
    }
    __syncthreads();
    copy_named((const u8*)places[0], (u8*)places[1], bytes, thread, threads);
    return;
  }
  const bool whole = (((u64)from | (u64)to) & 7) == 0;
  const u32 words = whole ? (u32)bytes / 8 : 0;
  for (u32 i = thread; i < words; i += threads) ((u64*)to)[i] = ((const volatile u64*)from)[i];
  for (u32 i = words * 8 + thread; i < (u32)bytes; i += threads) {
    to[i] = ((const volatile u8*)from)[i];
  }
}
