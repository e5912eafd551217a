// SPDX-License-Identifier: Apache-2.0
// Two axes of a tensor change places through shared memory: along `a` the operand is contiguous,
// along `b` the result. Elements are unsigned integers of their width.

template <class T, int N>
union LanesAsWords {
  lanes_of<T, N> lanes;
  u32 words[(N * sizeof(T) + 3) / 4];
};

// READS accesses a thread, 8 of them on their way before the first is put where it belongs.
template <class Lanes, int READS, int THREADS, class Load, class Put>
__device__ inline void bring(Load load, Put put) {
  constexpr int kAtOnce = READS < 8 ? READS : 8;
#pragma unroll 1
  for (int first = 0; first < READS; first += kAtOnce) {
    Lanes read[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) load((first + i) * THREADS + (int)threadIdx.x, read[i]);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) put((first + i) * THREADS + (int)threadIdx.x, read[i]);
  }
}

// The tile of A by B elements from (a0, b0) on, which may stick out. LA and LB elements are read
// and written at once; LA divides size_a, LB size_b, and what the other axes add to addresses.
template <class T, int A, int B, int LA, int LB, int THREADS>
__device__ inline void transpose_tile(const T* in, T* out, idx size_a, idx size_b, idx stride_of_b,
                                      idx stride_of_a, idx a0, idx b0) {
  // Rows of an odd number of words keep columns in different banks.
  constexpr int kPad = sizeof(T) < 4 ? 4 / sizeof(T) : 1;
  __shared__ __align__(16) T tile[B][A + kPad];
  constexpr int kAcross = A / LA;
  auto load = [&](int g, lanes_of<T, LA>& read) {
    const int b = g / kAcross, a = g % kAcross * LA;
    if (a0 + a < size_a && b0 + b < size_b) {
      read = load_lanes<LA>(in + (b0 + b) * stride_of_b + a0 + a);
    }
  };
  auto put = [&](int g, const lanes_of<T, LA>& read) {
    const int b = g / kAcross, a = g % kAcross * LA;
    if constexpr (sizeof(T) < 4 && LA * sizeof(T) % 4 == 0) {
      LanesAsWords<T, LA> both;
      both.lanes = read;
#pragma unroll
      for (int w = 0; w < (int)(LA * sizeof(T) / 4); ++w) ((u32*)&tile[b][a])[w] = both.words[w];
    } else {
#pragma unroll
      for (int l = 0; l < LA; ++l) tile[b][a + l] = read.element[l];
    }
  };
  bring<lanes_of<T, LA>, B * kAcross / THREADS, THREADS>(load, put);
  __syncthreads();
  constexpr int kDown = B / LB;
#pragma unroll 4
  for (int g = (int)threadIdx.x; g < A * kDown; g += THREADS) {
    const int a = g / kDown, b = g % kDown * LB;
    if (a0 + a >= size_a || b0 + b >= size_b) continue;
    lanes_of<T, LB> written;
#pragma unroll
    for (int l = 0; l < LB; ++l) written.element[l] = tile[b + l][a];
    store_lanes(out + (a0 + a) * stride_of_a + b0 + b, written);
  }
}

// Bytes of a (0 to 3) and b (4 to 7), by the digits of `which` from the lowest on.
__device__ inline u32 pick_bytes(u32 a, u32 b, u32 which) {
#ifdef REDLINE_EMULATED
  const u64 both = (u64)b << 32 | a;
  u32 picked = 0;
  for (int i = 0; i < 4; ++i) picked |= (u32)(both >> (which >> 4 * i & 7) * 8 & 255) << 8 * i;
  return picked;
#else
  return __byte_perm(a, b, which);
#endif
}

// LB words, each of 4 / BYTES elements along a; word l is from row l. out[j]: element j of all.
template <int BYTES, int LB>
__device__ inline void turn_words(const u32 (&in)[LB], u32 (&out)[4 / BYTES][LB * BYTES / 4]) {
#pragma unroll
  for (int i = 0; i < LB * BYTES / 4; ++i) {
    if constexpr (BYTES == 4) {
      out[0][i] = in[i];
    } else if constexpr (BYTES == 2) {
      out[0][i] = pick_bytes(in[2 * i], in[2 * i + 1], 0x5410);
      out[1][i] = pick_bytes(in[2 * i], in[2 * i + 1], 0x7632);
    } else {
      const u32 low = pick_bytes(in[4 * i], in[4 * i + 1], 0x5140);
      const u32 low_next = pick_bytes(in[4 * i + 2], in[4 * i + 3], 0x5140);
      const u32 high = pick_bytes(in[4 * i], in[4 * i + 1], 0x7362);
      const u32 high_next = pick_bytes(in[4 * i + 2], in[4 * i + 3], 0x7362);
      out[0][i] = pick_bytes(low, low_next, 0x5410);
      out[1][i] = pick_bytes(low, low_next, 0x7632);
      out[2][i] = pick_bytes(high, high_next, 0x5410);
      out[3][i] = pick_bytes(high, high_next, 0x7632);
    }
  }
}

// The same tile in words: a thread takes LB of them from as many rows and turns them in registers.
// Accesses are of words at least. Groups of four words change places by row, so that the 4 x 8
// words of a warp are in different banks. With LONG single words do, as then a warp has one word of
// 32 groups of LB rows, and reads rows of four of those: it writes 32 * LB elements of one row of
// the result, which fill the memory's sectors but for their ends where rows begin anywhere.
template <bool LONG, class T, int A, int B, int LA, int LB, int THREADS>
__device__ inline void transpose_words(const T* in, T* out, idx size_a, idx size_b, idx stride_of_b,
                                       idx stride_of_a, idx a0, idx b0) {
  constexpr int kBytes = (int)sizeof(T), kPer = 4 / kBytes;
  constexpr int kWords = A / kPer, kAccess = LA / kPer, kDown = B / LB, kAcross = A / LA;
  static_assert(!LONG || (kDown % 32 == 0 && LB * kWords % 32 == 0), "a warp has one word");
  __shared__ __align__(16) u32 tile[B * kWords];
  auto place = [](int b, int word) {
    if constexpr (LONG) return (b * kWords + word) ^ (b / LB & 31);
    return b * kWords + (word ^ (b / LB * 4 & 28 & (kWords - 1)));
  };
  auto row_of = [](int g) {
    const int q = g / kAcross;
    return LONG ? (q % 4 + q / (4 * LB) * 4) * LB + q / 4 % LB : q;
  };
  auto load = [&](int g, lanes_of<u32, kAccess>& read) {
    const int b = row_of(g), a = g % kAcross * LA;
    if (a0 + a < size_a && b0 + b < size_b) {
      read = load_lanes<kAccess>((const u32*)(in + (b0 + b) * stride_of_b + a0 + a));
    }
  };
  auto put = [&](int g, const lanes_of<u32, kAccess>& read) {
    const int b = row_of(g), word = g % kAcross * kAccess;
    if constexpr (LONG) {
#pragma unroll
      for (int w = 0; w < kAccess; ++w) tile[place(b, word + w)] = read.element[w];
    } else {
      store_lanes(&tile[place(b, word)], read);
    }
  };
  bring<lanes_of<u32, kAccess>, B * kAcross / THREADS, THREADS>(load, put);
  __syncthreads();
#pragma unroll 2
  for (int g = (int)threadIdx.x; g < kWords * kDown; g += THREADS) {
    const int down = LONG ? g % kDown : g / 4 % kDown;
    const int word = LONG ? g / kDown : g / (4 * kDown) * 4 + g % 4;
    const int a = word * kPer, b = down * LB;
    if (a0 + a >= size_a || b0 + b >= size_b) continue;
    u32 taken[LB], turned[kPer][LB / kPer];
#pragma unroll
    for (int l = 0; l < LB; ++l) taken[l] = tile[place(b + l, word)];
    turn_words<kBytes, LB>(taken, turned);
#pragma unroll
    for (int j = 0; j < kPer; ++j) {
      lanes_of<u32, LB / kPer> written;
#pragma unroll
      for (int i = 0; i < LB / kPer; ++i) written.element[i] = turned[j][i];
      store_lanes((u32*)(out + (a0 + a + j) * stride_of_a + b0 + b), written);
    }
  }
}
