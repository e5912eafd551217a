// SPDX-License-Identifier: Apache-2.0
// Attention in one pass over the keys: the scores of a block's queries never leave registers. P:
//   Element                            of q, k, v and y
//   kSize, kValueSize                  of a head's queries and keys, and of its values
//   kQueryHeads, kKeyHeads
//   kSplit                             operands are [batch, heads, sequence, size], else
//                                      [batch, sequence, heads * size]
//   kPacked                            those rows hold all three, one behind another
//   kRowWarps, kKeyWarps, kWarpKeys    16 queries for each of kRowWarps; kKeyWarps share their
//   keys,
//                                      kWarpKeys each at a time
//   kCausal, kLeft, kRight             positions that a query sees; windows of -1 are unbounded
//   kMasked, kLengths                  whether there is a mask, and the number of valid keys
//   kTf32                              f32 is rounded to tf32
template <class P>
struct AttentionNumbers : P {
  // 4 or a multiple of 8 (chunk_place).
  static constexpr int chunks(int size) {
    constexpr int kElements = 16 / (int)sizeof(typename P::Element);
    return size <= 4 * kElements ? 4 : (size + 8 * kElements - 1) / (8 * kElements) * 8;
  }
  static constexpr int kThreads = 32 * P::kRowWarps * P::kKeyWarps;
  static constexpr int kRows = 16 * P::kRowWarps;
  static constexpr int kKeys = P::kWarpKeys * P::kKeyWarps;
  static constexpr int kChunks = chunks(P::kSize);
  static constexpr int kValueChunks = chunks(P::kValueSize);
  static constexpr int kStageChunks = kKeys * (kChunks + kValueChunks);
  static constexpr int kColumns = (P::kValueSize + 15) / 16 * 2;  // in 8 elements of a value
  static constexpr int kPitch = kColumns * 8 + 8;                 // of the sums in shared memory
};

// What a block needs to know of the bias: scores are multiplied by log2(e), so that exp2 does.
template <class M>
struct AttentionMask {
  const M* mask;
  i64 batch_step, head_step, query_step;
  int keys;
  __device__ inline const M* row(int batch, int head, int query) const {
    return mask + (batch * batch_step + head * head_step + query * query_step);
  }
  __device__ inline float bias(const M* row, int key) const {
    if (key >= keys) return -INFINITY;
    return of(row[key]);
  }
  __device__ inline static float of(b8 attend) { return widen(attend) ? 0.0f : -INFINITY; }
  template <class T>
  __device__ inline static float of(T number) {
    return widen(number) * 1.4426950408889634f;
  }
};

struct AttentionSizes {
  int queries, keys;
  float scale;    // times log2(e), unless there is a cap
  float softcap;  // 0: none
};

// A warp's 16 queries and what it has seen of their keys. Lane 4g + t has rows g and g + 8; of the
// scores of 8 keys, and of 8 elements of a sum, it has numbers 2t and 2t + 1.
template <class N>
struct AttentionState {
  float sum[N::kColumns][4];
  float most[2], total[2];

  __device__ inline void clear() {
#pragma unroll
    for (int j = 0; j < N::kColumns; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) sum[j][e] = 0;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      most[r] = -INFINITY;
      total[r] = 0;
    }
  }
  // Makes scores probabilities, up to a factor for each row that what was summed before gets too.
  __device__ inline void normalise(float (&score)[N::kWarpKeys / 8][4]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float greatest = most[r];
#pragma unroll
      for (int j = 0; j < N::kWarpKeys / 8; ++j) {
        greatest = fmaxf(greatest, fmaxf(score[j][2 * r], score[j][2 * r + 1]));
      }
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
      float shift = greatest == -INFINITY ? 0.0f : greatest;
      float before = exp2_or_zero(most[r] - shift);
      most[r] = greatest;
      total[r] *= before;
#pragma unroll
      for (int j = 0; j < N::kColumns; ++j) {
        sum[j][2 * r] *= before;
        sum[j][2 * r + 1] *= before;
      }
#pragma unroll
      for (int j = 0; j < N::kWarpKeys / 8; ++j) {
#pragma unroll
        for (int e = 2 * r; e < 2 * r + 2; ++e) {
          score[j][e] = exp2_or_zero(score[j][e] - shift);
          total[r] += score[j][e];
        }
      }
    }
  }
};

template <class Score>
__device__ inline void clear_scores(Score& score) {
#pragma unroll
  for (auto& keys : score) {
#pragma unroll
    for (float& one : keys) one = 0;
  }
}

// Halves: 16 elements of a query and a key at a time.
template <class N, class T>
struct AttentionRows : AttentionState<N> {
  static constexpr int kSteps = (N::kSize + 15) / 16;
  u32 q[kSteps][4];

  __device__ inline void load_queries(const Chunk* tile, int row, int lane) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      load_matrices<kStraight>(
          q[step], &tile[chunk_place<N::kChunks>(row + lane % 16, step * 2 + lane / 16)]);
    }
  }
  // Products with the keys from row `key` of their tile on.
  __device__ inline void score(float (&score)[N::kWarpKeys / 8][4], const Chunk* keys, int key,
                               int lane) const {
    clear_scores(score);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int j = 0; j < N::kWarpKeys / 8; j += 2) {
        u32 y[4];
        int row = key + j * 8 + lane % 8 + lane / 16 * 8;
        load_matrices<kStraight>(y, &keys[chunk_place<N::kChunks>(row, step * 2 + lane / 8 % 2)]);
        u32 left[2] = {y[0], y[1]};
        u32 right[2] = {y[2], y[3]};
        mma(score[j], q[step], left, T());
        mma(score[j + 1], q[step], right, T());
      }
    }
  }
  // Takes the scores and values of these keys in. Probabilities go in two halves, the second of
  // what rounding the first left: one would lose what f32 sums are there to keep.
  __device__ inline void add(float (&score)[N::kWarpKeys / 8][4], const Chunk* values, int key,
                             int lane) {
    this->normalise(score);
#pragma unroll
    for (int step = 0; step < N::kWarpKeys / 16; ++step) {
      u32 high[4], low[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float* pair = &score[2 * step + i / 2][i % 2 * 2];
        high[i] = pack_halves(pair[0], pair[1], T());
        low[i] = pack_halves(pair[0] - unpack_half<T>(high[i], 0),
                             pair[1] - unpack_half<T>(high[i], 1), T());
      }
#pragma unroll
      for (int j = 0; j < N::kColumns; j += 2) {
        u32 y[4];
        int row = key + step * 16 + lane % 16;
        load_matrices<kTransposed>(y, &values[chunk_place<N::kValueChunks>(row, j + lane / 16)]);
        u32 left[2] = {y[0], y[1]};
        u32 right[2] = {y[2], y[3]};
        mma(this->sum[j], high, left, T());
        mma(this->sum[j + 1], high, right, T());
        mma(this->sum[j], low, left, T());
        mma(this->sum[j + 1], low, right, T());
      }
    }
  }
};

// f32 by products of split numbers, 8 elements at a time; with kTf32 the operands are rounded, and
// the probabilities split. Tensor cores cut their sums off instead
// of rounding them: kTogether steps are summed there, the rest in f32.
template <class N>
struct AttentionRows<N, float> : AttentionState<N> {
  static constexpr int kSteps = (N::kSize + 7) / 8;
  static constexpr int kTogether = 4;
  float q[kSteps][4];

  template <int CHUNKS>
  __device__ inline static float element(const Chunk* tile, int row, int column) {
    return ((const float*)&tile[chunk_place<CHUNKS>(row, column / 4)])[column % 4];
  }
  __device__ inline void load_queries(const Chunk* tile, int row, int lane) {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        q[step][i] =
            element<N::kChunks>(tile, row + lane / 4 + i % 2 * 8, step * 8 + i / 2 * 4 + lane % 4);
      }
    }
  }
  __device__ inline void score(float (&score)[N::kWarpKeys / 8][4], const Chunk* keys, int key,
                               int lane) const {
    clear_scores(score);
#pragma unroll
    for (int first = 0; first < kSteps; first += kTogether) {
#pragma unroll
      for (int j = 0; j < N::kWarpKeys / 8; ++j) {
        int row = key + j * 8 + lane / 4;
        float part[4] = {0, 0, 0, 0};
#pragma unroll
        for (int step = first; step < first + kTogether && step < kSteps; ++step) {
          float y[2] = {element<N::kChunks>(keys, row, step * 8 + lane % 4),
                        element<N::kChunks>(keys, row, step * 8 + 4 + lane % 4)};
          mma_floats(part, typename FloatFragment<N::kTf32, 4>::type(q[step]),
                     typename FloatFragment<N::kTf32, 2>::type(y));
        }
#pragma unroll
        for (int e = 0; e < 4; ++e) score[j][e] += part[e];
      }
    }
  }
  // A lane has the probabilities of keys 2t and 2t + 1 where the product wants those of t and t +
  // 4: the values are taken in that order too.
  __device__ inline void add(float (&score)[N::kWarpKeys / 8][4], const Chunk* values, int key,
                             int lane) {
    this->normalise(score);
    int row = key + lane % 4 * 2;
#pragma unroll
    for (int j = 0; j < N::kColumns; ++j) {
      float part[4] = {0, 0, 0, 0};
#pragma unroll
      for (int step = 0; step < N::kWarpKeys / 8; ++step) {
        float x[4] = {score[step][0], score[step][2], score[step][1], score[step][3]};
        float y[2] = {element<N::kValueChunks>(values, row + step * 8, j * 8 + lane / 4),
                      element<N::kValueChunks>(values, row + step * 8 + 1, j * 8 + lane / 4)};
        mma_floats(part, SplitFragment<4>(x), typename FloatFragment<N::kTf32, 2>::type(y));
      }
#pragma unroll
      for (int e = 0; e < 4; ++e) this->sum[j][e] += part[e];
    }
  }
};

// Turns products into scores: scale, cap, bias, and minus infinity for keys that a query does not
// see. `query` is row g's.
template <class N, class Mask>
__device__ inline void bias_scores(float (&score)[N::kWarpKeys / 8][4], const AttentionSizes& sizes,
                                   const Mask& mask, int batch, int head, int query, int key,
                                   int offset, int valid, int lane) {
  constexpr bool kWindows = N::kCausal || N::kLeft >= 0 || N::kRight >= 0;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    int row = query + r * 8;
    int position = row + offset;
    bool inside = row < sizes.queries;
#pragma unroll
    for (int j = 0; j < N::kWarpKeys / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        int at = key + j * 8 + lane % 4 * 2 + e;
        float x = score[j][2 * r + e] * sizes.scale;
        if (sizes.softcap > 0) x = tanhf(x) * sizes.softcap;
        bool hidden = at >= valid;
        if constexpr (kWindows) {
          hidden |= (N::kCausal && at > position) || (N::kLeft >= 0 && position - at > N::kLeft) ||
                    (N::kRight >= 0 && at - position > N::kRight);
        }
        if constexpr (N::kMasked) {
          if (inside && !hidden) x += mask.bias(mask.row(batch, head, row), at);
        }
        score[j][2 * r + e] = hidden ? -INFINITY : x;
      }
    }
  }
}

// The warps that shared the keys of the same queries put together what they have.
template <class N, int LANES>
__device__ inline void finish_attention(const AttentionState<N>& rows, float* shared,
                                        typename N::Element* y, int first, int queries,
                                        int stride) {
  int lane = (int)threadIdx.x % 32;
  int warp = (int)threadIdx.x / 32;
  int part = warp / N::kRowWarps;
  float* most = shared + N::kKeyWarps * N::kRows * N::kPitch;
  float* total = most + N::kKeyWarps * N::kRows;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    float all = rows.total[r];
    all += __shfl_xor_sync(0xffffffffu, all, 1);
    all += __shfl_xor_sync(0xffffffffu, all, 2);
    int row = part * N::kRows + warp % N::kRowWarps * 16 + lane / 4 + r * 8;
    if (lane % 4 == 0) {
      most[row] = rows.most[r];
      total[row] = all;
    }
#pragma unroll
    for (int j = 0; j < N::kColumns; ++j) {
      lanes_of<float, 2> pair = {{rows.sum[j][2 * r], rows.sum[j][2 * r + 1]}};
      store_lanes(shared + row * N::kPitch + j * 8 + lane % 4 * 2, pair);
    }
  }
  __syncthreads();
  constexpr int kGroups = N::kValueSize / LANES;
  for (int index = (int)threadIdx.x; index < N::kRows * kGroups; index += N::kThreads) {
    int row = index / kGroups;
    int column = index % kGroups * LANES;
    if (first + row >= queries) continue;
    float greatest = -INFINITY;
#pragma unroll
    for (int k = 0; k < N::kKeyWarps; ++k) greatest = fmaxf(greatest, most[k * N::kRows + row]);
    float shift = greatest == -INFINITY ? 0.0f : greatest;
    float value[LANES] = {};
    float all = 0;
#pragma unroll
    for (int k = 0; k < N::kKeyWarps; ++k) {
      float factor = exp2_or_zero(most[k * N::kRows + row] - shift);
      all += total[k * N::kRows + row] * factor;
      auto lanes = load_lanes<LANES>(shared + (k * N::kRows + row) * N::kPitch + column);
#pragma unroll
      for (int i = 0; i < LANES; ++i) value[i] += lanes.element[i] * factor;
    }
    lanes_of<typename N::Element, LANES> result;
#pragma unroll
    for (int i = 0; i < LANES; ++i) {
      narrow(&result.element[i], all == 0 ? value[i] : value[i] / all);
    }
    store_lanes(y + (i64)(first + row) * stride + column, result);
  }
}

// VECTOR and VALUE_VECTOR: elements of a head's row that lie together and aligned.
template <class P, int VECTOR, int VALUE_VECTOR, class Mask>
__device__ inline void attention(const typename P::Element* q, const typename P::Element* k,
                                 const typename P::Element* v, const Mask& mask, const i64* lengths,
                                 typename P::Element* y, const AttentionSizes& sizes) {
  typedef AttentionNumbers<P> N;
  typedef typename P::Element T;
  constexpr int kAllHeads = N::kQueryHeads + 2 * N::kKeyHeads;
  constexpr int kRowHeads = N::kPacked ? kAllHeads : N::kQueryHeads;
  constexpr int kRowKeyHeads = N::kPacked ? kAllHeads : N::kKeyHeads;
  constexpr int kStride = N::kSplit ? N::kSize : N::kSize * kRowHeads;
  constexpr int kKeyStride = N::kSplit ? N::kSize : N::kSize * kRowKeyHeads;
  constexpr int kValueStride = N::kSplit ? N::kValueSize : N::kValueSize * kRowKeyHeads;
  constexpr int kOutStride = N::kSplit ? N::kValueSize : N::kValueSize * N::kQueryHeads;
  extern __shared__ __align__(128) unsigned char shared[];
  Chunk* queries = (Chunk*)shared;
  Chunk* stages = queries + N::kRows * N::kChunks;
  int down = (sizes.queries + N::kRows - 1) / N::kRows;
  int product = (int)blockIdx.x / down;
  int first = ((int)blockIdx.x - product * down) * N::kRows;
  int batch = product / N::kQueryHeads;
  int head = product - batch * N::kQueryHeads;
  int key_head = head / (N::kQueryHeads / N::kKeyHeads);
  constexpr int kFirstKey = N::kPacked ? N::kQueryHeads : 0;
  constexpr int kFirstValue = N::kPacked ? N::kQueryHeads + N::kKeyHeads : 0;
  // Where the rows of a head begin.
  auto begin = [&](int heads, int own, int rows, int size) {
    return N::kSplit ? ((i64)batch * heads + own) * rows * size
                     : (i64)batch * rows * heads * size + own * size;
  };
  wait_for_former();
  release_next();
  AlongRows<N::kRows, N::kChunks, VECTOR, N::kThreads, DenseRows<T, N::kSize, kStride>> q_tiles{
      {q + begin(kRowHeads, head, sizes.queries, N::kSize), sizes.queries}};
  AlongRows<N::kKeys, N::kChunks, VECTOR, N::kThreads, DenseRows<T, N::kSize, kKeyStride>> k_tiles{
      {k + begin(kRowKeyHeads, kFirstKey + key_head, sizes.keys, N::kSize), sizes.keys}};
  AlongRows<N::kKeys, N::kValueChunks, VALUE_VECTOR, N::kThreads,
            DenseRows<T, N::kValueSize, kValueStride>>
      v_tiles{
          {v + begin(kRowKeyHeads, kFirstValue + key_head, sizes.keys, N::kValueSize), sizes.keys}};
  int valid = sizes.keys;
  int offset = 0;
  if constexpr (N::kLengths) {
    i64 length = lengths[batch];
    const i64 limit = 1 << 29;
    int given = (int)(length < -limit ? -limit : length > limit ? limit : length);
    offset = given - sizes.queries;
    valid = given < valid ? given : valid;
  }
  int end = valid;
  if constexpr (N::kCausal) {
    int last = first + N::kRows < sizes.queries ? first + N::kRows : sizes.queries;
    end = last + offset < end ? last + offset : end;
  }
  int count = end <= 0 ? 0 : (end + N::kKeys - 1) / N::kKeys;
  auto load = [&](int tile) {
    Chunk* stage = stages + tile % 2 * N::kStageChunks;
    k_tiles.start(tile * N::kKeys);
    k_tiles.load(stage, 0);
    v_tiles.start(tile * N::kKeys);
    v_tiles.load(stage + N::kKeys * N::kChunks, 0);
  };
  q_tiles.start(first);
  q_tiles.load(queries, 0);
  if (count > 0) load(0);
  copy_commit();
  int lane = (int)threadIdx.x % 32;
  int warp = (int)threadIdx.x / 32;
  int own_row = warp % N::kRowWarps * 16;
  int own_key = warp / N::kRowWarps * N::kWarpKeys;
  AttentionRows<N, T> rows;
  rows.clear();
#pragma unroll 1
  for (int tile = 0; tile < count; ++tile) {
    if (tile + 1 < count) load(tile + 1);
    copy_commit();
    copy_wait<1>();
    __syncthreads();
    REDLINE_STAMPED(if (tile == 0) redline_stamp(REDLINE_STAMP_LOADED);)
    if (tile == 0) rows.load_queries(queries, own_row, lane);
    const Chunk* stage = stages + tile % 2 * N::kStageChunks;
    float score[N::kWarpKeys / 8][4];
    rows.score(score, stage, own_key, lane);
    bias_scores<N>(score, sizes, mask, batch, head, first + own_row + lane / 4,
                   tile * N::kKeys + own_key, offset, valid, lane);
    rows.add(score, stage + N::kKeys * N::kChunks, own_key, lane);
    __syncthreads();
  }
  copy_wait<0>();
  __syncthreads();
  REDLINE_STAMPED(if (count == 0) redline_stamp(REDLINE_STAMP_LOADED);
                  redline_stamp(REDLINE_STAMP_MULTIPLIED);)
  finish_attention<N, VALUE_VECTOR>(rows, (float*)shared,
                                    y + begin(N::kQueryHeads, head, sizes.queries, N::kValueSize),
                                    first, sizes.queries, kOutStride);
}
