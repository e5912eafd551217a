// SPDX-License-Identifier: Apache-2.0
// Two axes change places, one of them of S elements, which a block has whole: what it has on one
// side lies together in memory (the mixed side, S elements of one place after those of another), on
// the other in S strips. Threads have V elements of each strip, words of them in registers.

// The word of 4 / BYTES elements of which the i-th is part part(i) of word(i).
template <int BYTES, class Word, class Part>
__device__ inline u32 gather_word(Word word, Part part) {
  if constexpr (BYTES >= 4) {
    return word(0);
  } else if constexpr (BYTES == 2) {
    return pick_bytes(word(0), word(1),
                      (part(0) == 0 ? 0x10u : 0x32u) | (part(1) == 0 ? 0x5400u : 0x7600u));
  } else {
    const u32 low = pick_bytes(word(0), word(1), part(0) | (part(1) + 4) << 4);
    const u32 high = pick_bytes(word(2), word(3), part(2) | (part(3) + 4) << 4);
    return pick_bytes(low, high, 0x5410);
  }
}

// PER elements a word; wider ones are seen as several of a word each.
template <int BYTES, int S, int WORDS>
__device__ inline void mix_words(const u32 (&strip)[S][WORDS], u32 (&mixed)[S * WORDS]) {
  constexpr int kPer = BYTES < 4 ? 4 / BYTES : 1, kWide = BYTES > 4 ? BYTES / 4 : 1;
#pragma unroll
  for (int w = 0; w < S * WORDS; ++w) {
    const auto at = [=](int i) { return w / kWide * kPer + i; };
    mixed[w] = gather_word<BYTES>(
        [&](int i) { return strip[at(i) % S][at(i) / S / kPer * kWide + w % kWide]; },
        [&](int i) { return (u32)(at(i) / S % kPer); });
  }
}

template <int BYTES, int S, int WORDS>
__device__ inline void unmix_words(const u32 (&mixed)[S * WORDS], u32 (&strip)[S][WORDS]) {
  constexpr int kPer = BYTES < 4 ? 4 / BYTES : 1, kWide = BYTES > 4 ? BYTES / 4 : 1;
#pragma unroll
  for (int s = 0; s < S; ++s) {
#pragma unroll
    for (int w = 0; w < WORDS; ++w) {
      const auto at = [=](int i) { return (w / kWide * kPer + i) * S + s; };
      strip[s][w] =
          gather_word<BYTES>([&](int i) { return mixed[at(i) / kPer * kWide + w % kWide]; },
                             [&](int i) { return (u32)(at(i) % kPer); });
    }
  }
}

// The mixed side in shared memory, RUN words a thread.
template <int RUN, int THREADS>
struct MixedRun {
  static constexpr int kAccess = RUN % 4 == 0 ? 4 : RUN % 2 == 0 ? 2 : 1;
  // Runs of an even number of accesses would begin in few banks.
  static constexpr bool kTurned = kAccess == 4 && RUN % 8 == 0;

  static __device__ inline int place(int access) {
    return kTurned ? access ^ (access >> 3 & 7) : access;
  }
  static __device__ inline void put(u32* memory, const u32 (&words)[RUN]) {
#pragma unroll
    for (int i = 0; i < RUN / kAccess; ++i) {
      lanes_of<u32, kAccess> some;
#pragma unroll
      for (int l = 0; l < kAccess; ++l) some.element[l] = words[i * kAccess + l];
      store_lanes(memory + place((int)threadIdx.x * (RUN / kAccess) + i) * kAccess, some);
    }
  }
  static __device__ inline void take(const u32* memory, u32 (&words)[RUN]) {
#pragma unroll
    for (int i = 0; i < RUN / kAccess; ++i) {
      const lanes_of<u32, kAccess> some =
          load_lanes<kAccess>(memory + place((int)threadIdx.x * (RUN / kAccess) + i) * kAccess);
#pragma unroll
      for (int l = 0; l < kAccess; ++l) words[i * kAccess + l] = some.element[l];
    }
  }
  // `bytes` from the start on, which an access of as many in memory has together.
  static __device__ inline u8* piece(u32* memory, int bytes) {
    constexpr int kBytes = 4 * kAccess;
    return (u8*)memory + place(bytes / kBytes) * kBytes + bytes % kBytes;
  }
};

// V elements in accesses of L, which end with the strip.
template <int L, class T, int WORDS>
__device__ inline void read_strip(const T* in, idx left, u32 (&words)[WORDS]) {
  constexpr int kBytes = L * (int)sizeof(T);
  if constexpr (kBytes >= 4) {
#pragma unroll
    for (int i = 0; i < WORDS * 4 / kBytes; ++i) {
      if (i * L >= left) continue;
      const lanes_of<u32, kBytes / 4> some = load_lanes<kBytes / 4>((const u32*)(in + i * L));
#pragma unroll
      for (int l = 0; l < kBytes / 4; ++l) words[i * kBytes / 4 + l] = some.element[l];
    }
  } else {
    typedef typename access_of<kBytes>::type Access;
#pragma unroll
    for (int i = 0; i < WORDS; ++i) words[i] = 0;
#pragma unroll
    for (int i = 0; i < WORDS * 4 / kBytes; ++i) {
      if (i * L < left) words[i * kBytes / 4] |= (u32)((const Access*)in)[i] << i * kBytes % 4 * 8;
    }
  }
}
template <int L, class T, int WORDS>
__device__ inline void write_strip(T* out, idx left, const u32 (&words)[WORDS]) {
  constexpr int kBytes = L * (int)sizeof(T);
  if constexpr (kBytes >= 4) {
#pragma unroll
    for (int i = 0; i < WORDS * 4 / kBytes; ++i) {
      if (i * L >= left) continue;
      lanes_of<u32, kBytes / 4> some;
#pragma unroll
      for (int l = 0; l < kBytes / 4; ++l) some.element[l] = words[i * kBytes / 4 + l];
      store_lanes((u32*)(out + i * L), some);
    }
  } else {
    typedef typename access_of<kBytes>::type Access;
#pragma unroll
    for (int i = 0; i < WORDS * 4 / kBytes; ++i) {
      if (i * L < left) ((Access*)out)[i] = (Access)(words[i * kBytes / 4] >> i * kBytes % 4 * 8);
    }
  }
}

// How many bytes of a mixed side a block has from place `first` on.
template <class T, int S, int PLACES>
__device__ inline int mixed_bytes(idx size, idx first) {
  return (int)(size - first < PLACES ? size - first : PLACES) * S * (int)sizeof(T);
}

// Strips of `size` elements, `stride` apart, in accesses of L elements; the mixed side in such of W
// bytes. A block has THREADS * V places from `first` on.
template <class T, int S, int V, int L, int W, int THREADS>
__device__ inline void mix_strips(const T* in, T* out, idx size, idx stride, idx first) {
  constexpr int kWords = V * (int)sizeof(T) / 4;
  typedef MixedRun<S * kWords, THREADS> Run;
  __shared__ __align__(16) u32 memory[THREADS * S * kWords];
  const idx at = first + (int)threadIdx.x * V;
  u32 strip[S][kWords], mixed[S * kWords];
#pragma unroll
  for (int s = 0; s < S; ++s) read_strip<L>(in + s * stride + at, size - at, strip[s]);
  mix_words<(int)sizeof(T), S, kWords>(strip, mixed);
  Run::put(memory, mixed);
  __syncthreads();
  const int bytes = mixed_bytes<T, S, THREADS * V>(size, first);
  u8* mixed_out = (u8*)(out + first * S);
#pragma unroll 4
  for (int i = (int)threadIdx.x * W; i < bytes; i += THREADS * W) {
    store_lanes(mixed_out + i, load_lanes<W>((const u8*)Run::piece(memory, i)));
  }
}

template <class T, int S, int V, int L, int W, int THREADS>
__device__ inline void unmix_strips(const T* in, T* out, idx size, idx stride, idx first) {
  constexpr int kWords = V * (int)sizeof(T) / 4;
  typedef MixedRun<S * kWords, THREADS> Run;
  __shared__ __align__(16) u32 memory[THREADS * S * kWords];
  const int bytes = mixed_bytes<T, S, THREADS * V>(size, first);
  const u8* mixed_in = (const u8*)(in + first * S);
  auto load = [&](int g, lanes_of<u8, W>& read) {
    if (g * W < bytes) read = load_lanes<W>(mixed_in + g * W);
  };
  auto put = [&](int g, const lanes_of<u8, W>& read) {
    if (g * W < bytes) store_lanes(Run::piece(memory, g * W), read);
  };
  bring<lanes_of<u8, W>, (S * kWords * 4 + W - 1) / W, THREADS>(load, put);
  __syncthreads();
  const idx at = first + (int)threadIdx.x * V;
  u32 strip[S][kWords], mixed[S * kWords];
  Run::take(memory, mixed);
  unmix_words<(int)sizeof(T), S, kWords>(mixed, strip);
#pragma unroll
  for (int s = 0; s < S; ++s) write_strip<L>(out + s * stride + at, size - at, strip[s]);
}
