// SPDX-License-Identifier: Apache-2.0
template <class P, class T, bool MATRIX, bool WARPGROUPS>
struct CoreOf {
  typedef MatrixCore<P> type;
};
template <class P>
struct CoreOf<P, float, false, false> {
  typedef ScalarCore<P> type;
};
template <class P>
struct CoreOf<P, float, true, false> {
  typedef SplitCore<P> type;
};
template <class P, class T>
struct CoreOf<P, T, false, true> {
  typedef WarpgroupCore<P> type;
};

template <int LANES>
__device__ inline void add_lanes(float (&to)[LANES], const float* from) {
  auto lanes = load_lanes<LANES>(from);
#pragma unroll
  for (int i = 0; i < LANES; ++i) to[i] += lanes.element[i];
}

// Sums that lie in the shared memory of the block, or of the cluster's blocks, go through the tail.
template <class N, class Tail>
__device__ inline void finish_product(const float* sums, const Tail& tail, const ProductPlace& at,
                                      int rows) {
  constexpr int kGroups = N::kTileColumns / N::kLanes;
  constexpr int kBlocks = N::kCluster ? N::kSplits : 1;
  constexpr int kAll = N::kTileRows * kGroups;
  constexpr int kShare = (kAll + kBlocks - 1) / kBlocks;  // of each block
  int first = (N::kCluster ? at.part : 0) * kShare;
  int last = first + kShare < kAll ? first + kShare : kAll;
#pragma unroll 2
  for (int index = first + (int)threadIdx.x; index < last; index += N::kThreads) {
    int row = index / kGroups;
    int column = index % kGroups * N::kLanes;
    if (at.row + row >= rows || at.column + column >= N::kColumns) continue;
    float value[N::kLanes] = {};
    const float* mine = sums + row * N::kPitch + column;
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      const float* from = kBlocks > 1 ? in_block(mine, block) : mine;
#pragma unroll
      for (int group = 0; group < N::kWarpsDepth; ++group) {
        add_lanes(value, from + group * N::kTileRows * N::kPitch);
      }
    }
    tail(at.batch, at.row + row, at.column + column, value);
  }
}

// Tiles [tile, last) of both operands; all warps multiply, then load.
template <class N, class Core, class A, class B>
__device__ inline void add_by_warps(Core& core, A& a, B& b, Chunk* tiles, const ProductPlace& at,
                                    int tile, int last) {
  constexpr int kStageChunks = N::kChunksA + N::kChunksB;
  constexpr int kAhead = N::kStages - 1;
  b.start(at.column);
  if constexpr (N::kConstant) {
    for (int i = 0; i < kAhead && tile + i < last; ++i) {
      b.load(tiles + i * kStageChunks + N::kChunksA, tile + i);
    }
  }
  a.start(at.row);
  wait_for_former();
  release_at<N, kWaited>();
  for (int i = 0; i < kAhead; ++i) {
    if (tile + i < last) {
      a.load(tiles + i * kStageChunks, tile + i);
      if constexpr (!N::kConstant) b.load(tiles + i * kStageChunks + N::kChunksA, tile + i);
    }
    copy_commit();
  }
  core.clear();
  int stage = 0;
  [[maybe_unused]] const int first = tile;
#pragma unroll 1
  for (; tile < last; ++tile) {
    copy_wait<kAhead - 1>();
    __syncthreads();
    REDLINE_STAMPED(if (tile == first) redline_stamp(REDLINE_STAMP_LOADED);)
    if (tile == first) release_at<N, kLoaded>();
    int free = stage == 0 ? kAhead : stage - 1;
    if (tile + kAhead < last) {
      a.load(tiles + free * kStageChunks, tile + kAhead);
      b.load(tiles + free * kStageChunks + N::kChunksA, tile + kAhead);
    }
    copy_commit();
    core.add(tiles + stage * kStageChunks, tiles + stage * kStageChunks + N::kChunksA);
    stage = stage == kAhead ? 0 : stage + 1;
  }
  copy_wait<0>();
}

// A and B: how tiles get to shared memory (tiles.cuh). The tail is called with the batch, row,
// column and sums of each group of lanes; or it loads what it needs for some of them, and then
// finishes them.
template <class P, class A, class B, class Tail>
__device__ inline void product(A a, B b, const Tail& tail, const ProductPlace& at, int rows) {
  typedef ProductNumbers<P> N;
  extern __shared__ __align__(1024) unsigned char shared[];
  Chunk* tiles = (Chunk*)shared;
  int first = (int)((i64)N::kTiles * at.part / N::kSplits);
  int last = (int)((i64)N::kTiles * (at.part + 1) / N::kSplits);
  typename CoreOf<N, typename P::Element, P::kMatrix, P::kWarpgroups>::type core;
  if constexpr (P::kWarpgroups) {
    u64* barriers = (u64*)(shared + N::kBarrierByte);
    if constexpr (A::kBulk) {
      add_bulk_by_warpgroups<N>(core, a, b, tiles, barriers, at, first, last);
    } else {
      add_by_warpgroups<N>(core, a, b, tiles, barriers, at, first, last);
    }
  } else {
    add_by_warps<N>(core, a, b, tiles, at, first, last);
  }
  __syncthreads();
  REDLINE_STAMPED(redline_stamp(REDLINE_STAMP_MULTIPLIED);)
  release_at<N, kMultiplied>();
  if constexpr (N::kInRegisters) {
    core.finish(tail, at, rows);
    return;
  }
  float* sums = (float*)shared;
  core.store(sums);
  if constexpr (N::kCluster) {
    cluster_sync();
  } else {
    __syncthreads();
  }
  finish_product<N>(sums, tail, at, rows);
  // A block's shared memory must stay until the others have read it.
  if constexpr (N::kCluster) cluster_sync();
}

// A tail that keeps the sums of one part for sum_parts().
template <int LANES>
struct PartTail {
  float* parts;
  int rows, columns, batches, part;
  struct Operands {};
  __device__ inline void load(int, int, int, Operands&) const {}
  __device__ inline void finish(int batch, int row, int column, const Operands&,
                                float (&value)[LANES]) const {
    (*this)(batch, row, column, value);
  }
  __device__ inline void operator()(int batch, int row, int column, float (&value)[LANES]) const {
    i64 at = ((i64)(part * batches + batch) * rows + row) * columns + column;
    lanes_of<float, LANES> lanes;
#pragma unroll
    for (int i = 0; i < LANES; ++i) lanes.element[i] = value[i];
    store_lanes(parts + at, lanes);
  }
};

// Each thread adds up and finishes one group of lanes.
template <int PARTS, int LANES, int COLUMNS, int THREADS, class Tail>
__device__ inline void sum_parts(const float* parts, const Tail& tail, int rows, int batches) {
  wait_for_former();
  release_next();
  constexpr int kGroups = COLUMNS / LANES;
  i64 index = (i64)blockIdx.x * THREADS + threadIdx.x;
  i64 row = index / kGroups;
  if (row >= (i64)batches * rows) return;
  int column = (int)(index - row * kGroups) * LANES;
  float value[LANES] = {};
#pragma unroll
  for (int part = 0; part < PARTS; ++part) {
    add_lanes(value, parts + ((i64)part * batches * rows + row) * COLUMNS + column);
  }
  int batch = (int)(row / rows);
  tail(batch, (int)(row - (i64)batch * rows), column, value);
}
