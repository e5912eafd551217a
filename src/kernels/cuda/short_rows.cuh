// SPDX-License-Identifier: Apache-2.0
// Reductions of short rows that lie together but begin anywhere, so that no access of several
// elements fits a row: a block brings all of its rows to shared memory in accesses of 16 bytes,
// where R threads reduce each, M rows in turn. Ops and lambdas are those of rows.cuh; nothing is
// stored for each element.

// `bytes` of at most BYTES, from where accesses of 16 may begin.
template <int T, int BYTES>
__device__ inline void stage_bytes(const u8* in, int bytes, u8* memory) {
  constexpr int kReads = (BYTES / 16 + T - 1) / T;
  constexpr int kAtOnce = kReads < 8 ? kReads : 8;
#pragma unroll 1
  for (int from = (int)threadIdx.x * 16; from + 16 <= bytes; from += kAtOnce * T * 16) {
    lanes_of<u32, 4> read[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int at = from + i * T * 16;
      if (at + 16 <= bytes) read[i] = load_lanes<4>((const u32*)(in + at));
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int at = from + i * T * 16;
      if (at + 16 <= bytes) store_lanes((u32*)(memory + at), read[i]);
    }
  }
  const int rest = bytes / 16 * 16 + (int)threadIdx.x;
  if (rest < bytes) memory[rest] = in[rest];
}

template <class Op, int R, int SIZE, class Raw, class Open>
__device__ inline typename Op::Stat short_row(const Raw* row, Open open) {
  const int t = (int)threadIdx.x % R;
  typename Op::First first = Op::first();
#pragma unroll 16
  for (int k = t; k < SIZE; k += R) {
    typename Op::Value x[1];
    open(row[k], x);
    add_lanes<Op, 1>(first, x, k);
  }
  first = Op::settle(warp_merge<R>(first, RowMerge<Op>()), SIZE);
  typename Op::Second second = Op::second();
  if constexpr (Op::kTwice) {
#pragma unroll 4
    for (int k = t; k < SIZE; k += R) {
      typename Op::Value x[1];
      open(row[k], x);
      add_second_lanes<Op, 1>(second, x, first);
    }
    second = warp_merge<R>(second, RowMerge<Op>());
  }
  return Op::stat(first, second, SIZE);
}

template <class Op, int T, int R, int M, int SIZE, class Raw, class In, class Open, class Done>
__device__ inline void short_rows(const In* in, idx rows, Open open, Done done) {
  constexpr int kAcross = T / R, kRows = kAcross * M;
  constexpr int kBytes = kRows * SIZE * (int)sizeof(Raw);
  static_assert(kBytes % 16 == 0, "all blocks begin where accesses of 16 bytes may");
  __shared__ __align__(16) u8 memory[kBytes];
  const idx first_row = (idx)blockIdx.x * kRows;
  const int here = rows - first_row < kRows ? (int)(rows - first_row) : kRows;
  stage_bytes<T, kBytes>((const u8*)(in + first_row * SIZE), here * SIZE * (int)sizeof(Raw),
                         memory);
  __syncthreads();
#pragma unroll 1
  for (int m = 0; m < M; ++m) {
    const int row = m * kAcross + (int)threadIdx.x / R;
    // Those beyond the last do as it does: all lanes of a warp come to what they do together.
    const int one = row < here ? row : here - 1;
    const typename Op::Stat stat[1] = {
        short_row<Op, R, SIZE>((const Raw*)memory + one * SIZE, open)};
    if (row < here && (int)threadIdx.x % R == 0) done(first_row + row, stat);
  }
}
