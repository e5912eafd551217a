// SPDX-License-Identifier: Apache-2.0
// Two axes of a tensor change places through shared memory: along `a` the operand is contiguous,
// along `b` the result. Elements are unsigned integers of their width.

template <class T, int N>
union LanesAsWords {
  lanes_of<T, N> lanes;
  u32 words[(N * sizeof(T) + 3) / 4];
};

// The tile of A by B elements from (a0, b0) on, which may stick out. LA and LB elements are read
// and written at once; LA divides size_a, LB size_b, and what the other axes add to addresses.
template <class T, int A, int B, int LA, int LB, int THREADS>
__device__ inline void transpose_tile(const T* in, T* out, idx size_a, idx size_b, idx stride_of_b,
                                      idx stride_of_a, idx a0, idx b0) {
  // Rows of an odd number of words keep columns in different banks.
  constexpr int kPad = sizeof(T) < 4 ? 4 / sizeof(T) : 1;
  __shared__ __align__(16) T tile[B][A + kPad];
  constexpr int kAcross = A / LA;
  constexpr int kReads = B * kAcross / THREADS;
  constexpr int kAtOnce = kReads < 8 ? kReads : 8;
#pragma unroll 1
  for (int first = 0; first < kReads; first += kAtOnce) {
    lanes_of<T, LA> read[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int g = (first + i) * THREADS + (int)threadIdx.x;
      const int b = g / kAcross, a = g % kAcross * LA;
      if (a0 + a < size_a && b0 + b < size_b) {
        read[i] = load_lanes<LA>(in + (b0 + b) * stride_of_b + a0 + a);
      }
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int g = (first + i) * THREADS + (int)threadIdx.x;
      const int b = g / kAcross, a = g % kAcross * LA;
      if constexpr (sizeof(T) < 4 && LA * sizeof(T) % 4 == 0) {
        LanesAsWords<T, LA> both;
        both.lanes = read[i];
#pragma unroll
        for (int w = 0; w < (int)(LA * sizeof(T) / 4); ++w) ((u32*)&tile[b][a])[w] = both.words[w];
      } else {
#pragma unroll
        for (int l = 0; l < LA; ++l) tile[b][a + l] = read[i].element[l];
      }
    }
  }
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
