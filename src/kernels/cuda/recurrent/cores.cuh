// SPDX-License-Identifier: Apache-2.0
// What a block's part of the recurrent weights makes of a state: sums[group][row][sequence], where
// row is gate * kUnits + unit, and the groups are to be added up. N: the numbers of steps.cuh.

// Element (row, k) of the block's part of the weights, which lie [gate, hidden, hidden].
template <class N>
struct WeightPart {
  typedef typename N::Element T;
  const T* base;
  int first_unit;
  __device__ inline const T* row(int row) const {
    int gate = row / N::kUnits;
    int unit = first_unit + row - gate * N::kUnits;
    if (gate >= N::kGates || unit >= N::kHidden) return nullptr;
    return base + (i64)(gate * N::kHidden + unit) * N::kHidden;
  }
};

// 16-bit floats on tensor cores, 8 sequences at a time. A state is kept as kParts halves whose sum
// it is: rounding it to one would be an error of whole units in results that cancel. Both the
// weights and the state lie in the order in which lanes want their fragments. A warp's weights stay
// in registers for kRegisterDepth tiles of depth, in shared memory for kSharedDepth more, and the
// rest is read anew each time.
template <class N>
struct RecurrentMatrixCore {
  typedef typename N::Element T;
  static constexpr int kParts = N::kParts;
  static constexpr int kRowTiles = (N::kRows + 15) / 16;
  static constexpr int kDepthTiles = (N::kHidden + 15) / 16;
  static constexpr int kGroups = N::kGroups;
  static constexpr int kWarpRowTiles =
      (kRowTiles + N::kWarps / kGroups - 1) / (N::kWarps / kGroups);
  static constexpr int kWarpDepthTiles = (kDepthTiles + kGroups - 1) / kGroups;
  // Sums that do not wait for each other: a matrix instruction takes 30 clocks and more.
  static constexpr int kChains = kWarpRowTiles == 1 ? 4 : kWarpRowTiles == 2 ? 2 : 1;
  static constexpr int kHeldDepth = N::kRegisterDepth + N::kSharedDepth;
  static constexpr int kPitch = N::kBatch + 2;
  static constexpr int kSumRows = kRowTiles * 16;
  static constexpr int kTileWords = 64 * kParts;  // of the state
  static constexpr int kStateWords = kDepthTiles * kTileWords;
  static constexpr int kSumWords = kGroups * kSumRows * kPitch;
  static_assert(N::kBatch == 8, "a fragment has 8 columns");

  struct __align__(16) Fragment {
    u32 word[4];
  };
  WeightPart<N> weights;
  Fragment kept[N::kRegisterDepth > 0 ? N::kRegisterDepth : 1][kWarpRowTiles];
  Fragment* shared_tiles;
  u32* state;
  float* sums;
  int lane, row_tile, depth_tile, group;

  // `shared`: kStateWords + kSumWords words and kSharedDepth * kWarpRowTiles tiles of 512 bytes a
  // warp.
  __device__ inline void start(const T* base, int first_unit, unsigned char* shared) {
    int warp = (int)threadIdx.x / 32;
    lane = (int)threadIdx.x % 32;
    group = warp % kGroups;
    row_tile = warp / kGroups * kWarpRowTiles;
    depth_tile = group * kWarpDepthTiles;
    weights = {base, first_unit};
    constexpr int kWarpShared = N::kSharedDepth * kWarpRowTiles * 32;
    shared_tiles = (Fragment*)shared + warp * kWarpShared + lane;
    state = (u32*)((Fragment*)shared + N::kWarps * kWarpShared);
    sums = (float*)(state + kStateWords);
    for (int i = (int)threadIdx.x; i < kStateWords; i += N::kThreads) state[i] = 0;
#pragma unroll
    for (int k = 0; k < N::kRegisterDepth; ++k) {
#pragma unroll
      for (int i = 0; i < kWarpRowTiles; ++i) kept[k][i] = read(k, i);
    }
#pragma unroll 1
    for (int k = N::kRegisterDepth; k < kHeldDepth; ++k) {
#pragma unroll
      for (int i = 0; i < kWarpRowTiles; ++i) *shared_tile(k, i) = read(k, i);
    }
  }

  // The elements k and k + 1 of a sequence; k is even.
  __device__ inline void put(int sequence, int k, float x, float y) {
    u32* place =
        state + k / 16 * kTileWords + (sequence * 4 + k % 8 / 2) * (2 * kParts) + k % 16 / 8;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      float values[2] = {x, y};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        // What is finite must not become infinite here.
        if (fabsf(values[i]) != INFINITY) values[i] = bounded(values[i]);
      }
      u32 pair = pack_halves(values[0], values[1], T());
      place[part * 2] = pair;
      x = rest(x, unpack_half<T>(pair, 0));
      y = rest(y, unpack_half<T>(pair, 1));
    }
  }

  __device__ inline void multiply() {
    float sum[kChains][kWarpRowTiles][4] = {};
#pragma unroll
    for (int k = 0; k < N::kRegisterDepth; ++k) {
      u32 columns[kParts][2];
      read_state(columns, k);
#pragma unroll
      for (int i = 0; i < kWarpRowTiles; ++i) add(sum, k * kParts, i, kept[k][i], columns);
    }
#pragma unroll 2
    for (int k = N::kRegisterDepth; k < kWarpDepthTiles; ++k) {
      u32 columns[kParts][2];
      read_state(columns, k);
#pragma unroll
      for (int i = 0; i < kWarpRowTiles; ++i) {
        add(sum, 0, i, k < kHeldDepth ? *shared_tile(k, i) : read(k, i), columns);
      }
    }
#pragma unroll
    for (int i = 0; i < kWarpRowTiles; ++i) {
      if (row_tile + i >= kRowTiles) break;
      float* mine =
          sums + (group * kSumRows + (row_tile + i) * 16 + lane / 4) * kPitch + lane % 4 * 2;
#pragma unroll
      for (int chain = 1; chain < kChains; ++chain) {
#pragma unroll
        for (int e = 0; e < 4; ++e) sum[0][i][e] += sum[chain][i][e];
      }
      lanes_of<float, 2> upper = {{sum[0][i][0], sum[0][i][1]}};
      lanes_of<float, 2> lower = {{sum[0][i][2], sum[0][i][3]}};
      store_lanes(mine, upper);
      store_lanes(mine + 8 * kPitch, lower);
    }
  }

 private:
  __device__ inline static float bounded(float value) {
    const float most = sizeof(T) == 2 && N::kNarrow ? 65504.0f : 3.3895313892515355e38f;
    return value > most ? most : value < -most ? -most : value;
  }
  __device__ inline static float rest(float value, float taken) {
    return fabsf(value) == INFINITY || value != value ? 0.0f : value - taken;
  }
  __device__ inline Fragment* shared_tile(int k, int i) const {
    return shared_tiles + ((k - N::kRegisterDepth) * kWarpRowTiles + i) * 32;
  }
  __device__ inline void read_state(u32 (&columns)[kParts][2], int k) const {
    bool inside = depth_tile + k < kDepthTiles;
    const u32* from = state + (depth_tile + k) * kTileWords + lane * (2 * kParts);
    constexpr int kWords = kParts == 2 ? 4 : 2;  // that one access reads
#pragma unroll
    for (int first = 0; first < 2 * kParts; first += kWords) {
      lanes_of<u32, kWords> words = {};
      if (inside) words = load_lanes<kWords>(from + first);
#pragma unroll
      for (int i = 0; i < kWords; ++i) columns[(first + i) / 2][i % 2] = words.element[i];
    }
  }
  // The least part first.
  __device__ inline static void add(float (&sum)[kChains][kWarpRowTiles][4], int chain, int i,
                                    const Fragment& rows, const u32 (&columns)[kParts][2]) {
#pragma unroll
    for (int part = kParts - 1; part >= 0; --part) {
      mma(sum[(chain + part) % kChains][i], rows.word, columns[part], T());
    }
  }
  __device__ inline static u32 pair(const T* row, int k) {
    if (row == nullptr || k >= N::kHidden) return 0;
    if constexpr (N::kHidden % 2 == 0) return *(const u32*)(row + k);
    return row[k].bits | (k + 1 < N::kHidden ? (u32)row[k + 1].bits << 16 : 0);
  }
  __device__ inline Fragment read(int depth, int i) const {
    int row = (row_tile + i) * 16 + lane / 4;
    int k = (depth_tile + depth) * 16 + lane % 4 * 2;
    const T* upper = weights.row(row);
    const T* lower = weights.row(row + 8);
    return {{pair(upper, k), pair(lower, k), pair(upper, k + 8), pair(lower, k + 8)}};
  }
};

// Sums of COUNT values over a warp's lanes: lane l gets that of value l % COUNT. COUNT: a power of
// two up to 32.
template <int COUNT>
__device__ inline float warp_sums(float (&value)[COUNT]) {
  int lane = (int)threadIdx.x % 32;
#pragma unroll
  for (int half = COUNT / 2; half > 0; half /= 2) {
    bool upper = (lane & half) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      float given = upper ? value[i] : value[i + half];
      float mine = upper ? value[i + half] : value[i];
      value[i] = mine + __shfl_xor_sync(0xffffffffu, given, half);
    }
  }
#pragma unroll
  for (int by = COUNT; by < 32; by *= 2) value[0] += __shfl_xor_sync(0xffffffffu, value[0], by);
  return value[0];
}

// f32 by each thread's own multiplications: a warp has rows, its lanes share the depth. With
// kSharedDepth the weights stay in shared memory.
template <class N>
struct RecurrentLaneCore {
  typedef float T;
  static constexpr int kGroups = 1;
  static constexpr int kChunks = (N::kHidden + 3) / 4;
  static constexpr int kPitch = N::kBatch + 2;
  static constexpr int kWarpRows = (N::kRows + N::kWarps - 1) / N::kWarps;
  static constexpr int kMost = 32 / N::kBatch;
  static constexpr int kPassRows = kWarpRows >= 16 && kMost >= 16 ? 16
                                   : kWarpRows >= 8 && kMost >= 8 ? 8
                                   : kWarpRows >= 4 && kMost >= 4 ? 4
                                   : kWarpRows >= 2 && kMost >= 2 ? 2
                                                                  : 1;
  static constexpr int kPasses = (kWarpRows + kPassRows - 1) / kPassRows;
  static constexpr int kSumRows = kPasses * kPassRows * N::kWarps;
  static constexpr int kStateWords = N::kBatch * kChunks * 4;
  static constexpr int kSumWords = kSumRows * kPitch;

  WeightPart<N> weights;
  float *held, *state, *sums;
  int lane, warp;

  // `shared`: kStateWords + kSumWords words and, with kSharedDepth, 4 * kChunks for each row.
  __device__ inline void start(const float* base, int first_unit, unsigned char* shared) {
    warp = (int)threadIdx.x / 32;
    lane = (int)threadIdx.x % 32;
    weights = {base, first_unit};
    held = (float*)shared;
    state = held + (N::kSharedDepth > 0 ? N::kRows * kChunks * 4 : 0);
    sums = state + kStateWords;
    for (int i = (int)threadIdx.x; i < kStateWords; i += N::kThreads) state[i] = 0;
    if constexpr (N::kSharedDepth > 0) {
      for (int i = (int)threadIdx.x; i < N::kRows * kChunks; i += N::kThreads) {
        int row = i / kChunks;
        store_lanes(held + i * 4, read(weights.row(row), i - row * kChunks));
      }
    }
  }

  __device__ inline void put(int sequence, int k, float x, float y) {
    lanes_of<float, 2> pair = {{x, y}};
    store_lanes(state + sequence * kChunks * 4 + k, pair);
  }

  __device__ inline void multiply() {
#pragma unroll 1
    for (int pass = 0; pass < kPasses; ++pass) {
      int first = (warp * kPasses + pass) * kPassRows;
      float sum[kPassRows * N::kBatch] = {};
#pragma unroll 2
      for (int chunk = lane; chunk < kChunks; chunk += 32) {
        lanes_of<float, 4> x[N::kBatch];
#pragma unroll
        for (int n = 0; n < N::kBatch; ++n) x[n] = load_lanes<4>(state + (n * kChunks + chunk) * 4);
#pragma unroll
        for (int i = 0; i < kPassRows; ++i) {
          lanes_of<float, 4> w = chunk_of(first + i, chunk);
#pragma unroll
          for (int n = 0; n < N::kBatch; ++n) {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
              float& to = sum[i * N::kBatch + n];
              to = fmaf(w.element[e], x[n].element[e], to);
            }
          }
        }
      }
      float total = warp_sums(sum);
      if (lane < kPassRows * N::kBatch) {
        sums[(first + lane / N::kBatch) * kPitch + lane % N::kBatch] = total;
      }
    }
  }

 private:
  __device__ inline lanes_of<float, 4> chunk_of(int row, int chunk) const {
    if constexpr (N::kSharedDepth > 0) {
      if (row >= N::kRows) return {{0, 0, 0, 0}};
      return load_lanes<4>(held + (row * kChunks + chunk) * 4);
    }
    return read(weights.row(row), chunk);
  }
  __device__ inline static lanes_of<float, 4> read(const float* row, int chunk) {
    lanes_of<float, 4> result = {{0, 0, 0, 0}};
    if (row == nullptr) return result;
    if constexpr (N::kHidden % 4 == 0) return load_lanes<4>(row + chunk * 4);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (chunk * 4 + e < N::kHidden) result.element[e] = row[chunk * 4 + e];
    }
    return result;
  }
};

template <class N, class T>
struct RecurrentCoreOf {
  typedef RecurrentMatrixCore<N> type;
};
template <class N>
struct RecurrentCoreOf<N, float> {
  typedef RecurrentLaneCore<N> type;
};
