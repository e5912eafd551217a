// SPDX-License-Identifier: Apache-2.0
// A choice without a branch: compilers may else divide the warp around the shuffles behind it.
__device__ inline float select(bool first, float a, float b) {
#ifdef REDLINE_EMULATED
  return first ? a : b;
#else
  float result;
  asm("{\n.reg .pred p;\nsetp.ne.u32 p, %3, 0;\nselp.f32 %0, %1, %2, p;\n}"
      : "=f"(result)
      : "f"(a), "f"(b), "r"((u32)first));
  return result;
#endif
}

// The same number, of which a compiler knows nothing: what it decides is decided anew each time,
// and no shuffle in between gets into a branch of it.
__device__ inline int hidden(int number) {
#ifndef REDLINE_EMULATED
  asm volatile("" : "+r"(number));
#endif
  return number;
}

// What a block's warpgroups make of two tiles. They share the tile's rows, then its columns.
// P::multiply(sums, a, b, step) adds 64 rows times the columns of a warpgroup (arch/wgmma.cuh).
template <class P>
struct WarpgroupCore {
  static constexpr int kAlongRows = P::kWarpsRows / 4;
  static constexpr int kRows = P::kTileRows / kAlongRows / 64;  // instructions
  static constexpr int kColumns = P::kTileColumns / P::kWarpsColumns;
  static_assert(P::kTileDepth * sizeof(typename P::Element) == 128, "rows of 128 bytes");
  static_assert(kRows * kAlongRows * 64 == P::kTileRows, "64 rows an instruction");
  static_assert(kColumns % 32 == 0, "32 columns at a time go through the tail");
  int row, column;  // of the warpgroup
  int lane, first;  // of the thread: its lane, and its first row
  float sum[kRows][kColumns / 2];

  __device__ inline WarpgroupCore() {
    int group = (int)threadIdx.x / 128;
    row = group % kAlongRows * (kRows * 64);
    column = group / kAlongRows * kColumns;
    lane = (int)threadIdx.x % 32;
    first = row + (int)threadIdx.x / 32 % 4 * 16 + lane / 4;
  }
  __device__ inline void clear() {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns / 2; ++j) sum[i][j] = 0;
    }
  }
  // Returns at once; wait_warpgroup() waits.
  __device__ inline void add(const Chunk* a, const Chunk* b) {
    begin_warpgroup();
#pragma unroll
    for (int step = 0; step < 4; ++step) {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        P::multiply(sum[i], a + (row + i * 64) * 8, b + column * 8, step);
      }
    }
    commit_warpgroup();
  }
  __device__ inline void store(float* sums) const {
    float* mine = sums + first * P::kPitch + column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll
      for (int j = 0; j < kColumns / 4; ++j) {
        lanes_of<float, 2> pair = {{sum[i][j * 2], sum[i][j * 2 + 1]}};
        store_lanes(mine + (i * 64 + j % 2 * 8) * P::kPitch + j / 2 * 8, pair);
      }
    }
  }

  // Of 8 x 4 columns that four lanes have in pairs, lane t gets the eight of group t.
  __device__ inline void gather(const float* pairs, float (&eight)[8]) const {
    bool odd = lane % 2 != 0;
    bool upper = lane % 4 >= 2;
    float half[2][4];  // of groups 0 or 1 and 2 or 3: the pairs of lanes t & ~1 and t | 1
#pragma unroll
    for (int p = 0; p < 2; ++p) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float even_group = pairs[p * 8 + e];
        float odd_group = pairs[p * 8 + 4 + e];
        float got = __shfl_xor_sync(~0u, select(odd, even_group, odd_group), 1);
        half[p][e] = select(odd, got, even_group);
        half[p][2 + e] = select(odd, odd_group, got);
      }
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      float got = __shfl_xor_sync(~0u, select(upper, half[0][e], half[1][e]), 2);
      eight[e] = select(upper, got, half[0][e]);
      eight[4 + e] = select(upper, half[1][e], got);
    }
  }
  // Loads what the tail needs for a few places before it finishes the first of them.
  template <class Tail>
  __device__ inline void finish(const Tail& tail, const ProductPlace& at, int rows) const {
    constexpr int kLanes = P::kLanes;
    constexpr int kAtOnce = kColumns % 128 == 0 ? 4 : kColumns % 64 == 0 ? 2 : 1;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
#pragma unroll 1
      for (int low = 0; low < 2; ++low) {
        int to = at.row + first + i * 64 + low * 8;
#pragma unroll
        for (int begin = 0; begin < kColumns / 32; begin += kAtOnce) {
          typename Tail::Operands operands[kAtOnce][8 / kLanes];
#pragma unroll
          for (int j = 0; j < kAtOnce; ++j) {
            int next = at.column + column + ((begin + j) * 4 + lane % 4) * 8;
#pragma unroll
            for (int e = 0; e < 8; e += kLanes) {
              if (hidden(to) >= rows || next + e >= P::kColumns) continue;
              tail.load(at.batch, to, next + e, operands[j][e / kLanes]);
            }
          }
#pragma unroll
          for (int j = 0; j < kAtOnce; ++j) {
            float pairs[16];  // of group q at 4q
#pragma unroll
            for (int q = 0; q < 4; ++q) {
#pragma unroll
              for (int e = 0; e < 2; ++e) {
                int upper = (begin + j) * 16 + q * 4 + e;
                pairs[q * 4 + e] = select(low != 0, sum[i][upper + 2], sum[i][upper]);
              }
            }
            float eight[8];
            gather(pairs, eight);
            int next = at.column + column + ((begin + j) * 4 + lane % 4) * 8;
#pragma unroll
            for (int e = 0; e < 8; e += kLanes) {
              float value[kLanes];
#pragma unroll
              for (int l = 0; l < kLanes; ++l) value[l] = eight[e + l];
              if (hidden(to) >= rows || next + e >= P::kColumns) continue;
              tail.finish(at.batch, to, next + e, operands[j][e / kLanes], value);
            }
          }
        }
      }
    }
  }
};

// Which of STAGES is next, and the parity of its barrier's phase.
template <int STAGES>
struct StageTurn {
  int stage = 0, parity = 0;
  // That of the tile before the former one.
  __device__ inline int two_back() const { return stage < 2 ? stage + STAGES - 2 : stage - 2; }
  __device__ inline void next() {
    if (++stage == STAGES) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Tiles [tile, last) of both operands, one at least, which both come in bulk: one thread fetches
// them. A stage is filled again when the tile behind the one that it held is being multiplied: no
// warpgroup can still read it then.
template <class N, class Core, class A, class B>
__device__ inline void add_bulk_by_warpgroups(Core& core, A& a, B& b, Chunk* tiles, u64* barriers,
                                              const ProductPlace& at, int tile, int last) {
  static_assert(N::kConstant, "b is fetched before the former kernel has ended");
  constexpr int kStageChunks = N::kChunksA + N::kChunksB;
  const bool fetches = threadIdx.x == 0;
  auto load_b = [&](int stage, int number) {
    expect_bytes(barriers + stage, A::kBytes + B::kBytes);
    b.copy(tiles + stage * kStageChunks + N::kChunksA, at.column, number, barriers + stage);
  };
  auto load_a = [&](int stage, int number) {
    a.copy(tiles + stage * kStageChunks, at.row, number, barriers + stage);
  };
  if (fetches) {
    prefetch_map(a.map);
    for (int i = 0; i < N::kStages; ++i) start_barrier(barriers + i, 1);
    show_barriers();
    for (int i = 0; i < N::kStages && tile + i < last; ++i) load_b(i, tile + i);
  }
  wait_for_former();
  release_at<N, kWaited>();
  if (fetches) {
    for (int i = 0; i < N::kStages && tile + i < last; ++i) load_a(i, tile + i);
  }
  core.clear();
  StageTurn<N::kStages> turn;
  const int first = tile;
#pragma unroll 1
  do {
    __syncthreads();
    wait_barrier(barriers + turn.stage, turn.parity);
    REDLINE_STAMPED(if (tile == first) redline_stamp(REDLINE_STAMP_LOADED);)
    if (tile == first) release_at<N, kLoaded>();
    const Chunk* now = tiles + turn.stage * kStageChunks;
    core.add(now, now + N::kChunksA);
    const int next = tile - 2 + N::kStages;
    if (fetches && tile >= first + 2 && next < last) {
      const int free = turn.two_back();
      load_b(free, next);
      load_a(free, next);
    }
    wait_warpgroup<1>();
    turn.next();
  } while (++tile < last);
  wait_warpgroup<0>();
}

// Tiles [tile, last) of both operands, one at least. A stage is filled again when the tile behind
// the one that it held is being multiplied: no warpgroup can still read it then.
template <class N, class Core, class A, class B>
__device__ inline void add_by_warpgroups(Core& core, A& a, B& b, Chunk* tiles, u64* barriers,
                                         const ProductPlace& at, int tile, int last) {
  constexpr int kStageChunks = N::kChunksA + N::kChunksB;
  constexpr int kAhead = N::kStages - 2;
  static_assert(kAhead > 0, "three stages or more");
  auto load_b = [&](int stage, int number) {
    Chunk* to = tiles + stage * kStageChunks + N::kChunksA;
    if constexpr (B::kBulk) {
      if (threadIdx.x != 0) return;
      expect_bytes(barriers + stage, B::kBytes);
      b.copy(to, at.column, number, barriers + stage);
    } else {
      b.load(to, number);
    }
  };
  if (B::kBulk && threadIdx.x == 0) {
    for (int i = 0; i < N::kStages; ++i) start_barrier(barriers + i, 1);
    show_barriers();
  }
  if constexpr (!B::kBulk) b.start(at.column);
  if constexpr (N::kConstant) {
    for (int i = 0; i < kAhead && tile + i < last; ++i) load_b(i, tile + i);
  }
  a.start(at.row);
  wait_for_former();
  release_at<N, kWaited>();
  for (int i = 0; i < kAhead; ++i) {
    if (tile + i < last) {
      a.load(tiles + i * kStageChunks, tile + i);
      if constexpr (!N::kConstant) load_b(i, tile + i);
    }
    copy_commit();
  }
  core.clear();
  StageTurn<N::kStages> turn;
  [[maybe_unused]] const int first = tile;
#pragma unroll 1
  do {
    copy_wait<kAhead - 1>();
    show_shared();
    __syncthreads();
    if constexpr (B::kBulk) wait_barrier(barriers + turn.stage, turn.parity);
    REDLINE_STAMPED(if (tile == first) redline_stamp(REDLINE_STAMP_LOADED);)
    if (tile == first) release_at<N, kLoaded>();
    const Chunk* now = tiles + turn.stage * kStageChunks;
    core.add(now, now + N::kChunksA);
    int free = turn.two_back();
    if (tile + kAhead < last) {
      a.load(tiles + free * kStageChunks, tile + kAhead);
      load_b(free, tile + kAhead);
    }
    copy_commit();
    wait_warpgroup<1>();
    turn.next();
  } while (++tile < last);
  wait_warpgroup<0>();
}

// A product whose blocks stay and take one tile of the result after another. A thread of one
// warpgroup more fetches tiles of the operands, which both come in bulk, ahead of them all.
template <class P, class A, class B, class Tail>
__device__ inline void product_in_turns(A a, B b, const Tail& tail, int rows) {
  typedef ProductNumbers<P> N;
  constexpr int kStageChunks = N::kChunksA + N::kChunksB;
  constexpr int kGroups = N::kThreads / 128;
  extern __shared__ __align__(1024) unsigned char shared[];
  Chunk* tiles = (Chunk*)shared;
  u64* full = (u64*)(shared + N::kBarrierByte);
  u64* empty = full + N::kStages;
  if (threadIdx.x == 0) {
    prefetch_map(a.map);
    for (int i = 0; i < N::kStages; ++i) {
      start_barrier(full + i, 1);
      start_barrier(empty + i, kGroups);
    }
    show_barriers();
  }
  __syncthreads();
  const int all = product_tiles_of<P>(rows);
  StageTurn<N::kStages> turn;
  // What a launch gives to each thread is shared out anew.
  constexpr int kAll = N::kThreads + 128;
  constexpr int kEach = 65536 / N::kResident / kAll / 8 * 8;
  constexpr int kFew = 40;
  constexpr int kMany = (kEach * kAll - kFew * 128) / N::kThreads / 8 * 8;
  if ((int)threadIdx.x >= N::kThreads) {
    shrink_registers<kFew>();
    if ((int)threadIdx.x > N::kThreads) return;
    auto fetch_b = [&](int column, int number) {
      wait_barrier(empty + turn.stage, turn.parity ^ 1);
      expect_bytes(full + turn.stage, A::kBytes + B::kBytes);
      b.copy(tiles + turn.stage * kStageChunks + N::kChunksA, column, number, full + turn.stage);
    };
    int early = 0;
    if constexpr (N::kConstant) {
      int column = product_place<P>(rows, (int)blockIdx.x, 0).column;
      for (; early < N::kStages && early < N::kTiles; ++early) {
        fetch_b(column, early);
        turn.next();
      }
      turn = {};
    }
    wait_for_former();
    release_at<N, kWaited>();
#pragma unroll 1
    for (int tile = (int)blockIdx.x; tile < all; tile += (int)gridDim.x) {
      ProductPlace at = product_place<P>(rows, tile, 0);
#pragma unroll 1
      for (int number = 0; number < N::kTiles; ++number) {
        if (--early < 0) fetch_b(at.column, number);
        a.copy(tiles + turn.stage * kStageChunks, at.row, number, full + turn.stage);
        turn.next();
      }
    }
    return;
  }
  grow_registers<(kMany < 240 ? kMany : 240)>();
  wait_for_former();
  release_at<N, kWaited>();
  WarpgroupCore<N> core;
#pragma unroll 1
  for (int tile = (int)blockIdx.x; tile < all; tile += (int)gridDim.x) {
    core.clear();
    u64* former = empty;
    int number = 0;
#pragma unroll 1
    do {
      wait_barrier(full + turn.stage, turn.parity);
      REDLINE_STAMPED(if (tile == (int)blockIdx.x && number == 0)
                          redline_stamp(REDLINE_STAMP_LOADED);)
      if (tile == (int)blockIdx.x && number == 0) release_at<N, kLoaded>();
      const Chunk* now = tiles + turn.stage * kStageChunks;
      core.add(now, now + N::kChunksA);
      wait_warpgroup<1>();
      if (number > 0 && threadIdx.x % 128 == 0) arrive(former);
      former = empty + turn.stage;
      turn.next();
    } while (++number < N::kTiles);
    wait_warpgroup<0>();
    if (threadIdx.x % 128 == 0) arrive(former);
    REDLINE_STAMPED(if (tile + (int)gridDim.x >= all) redline_stamp(REDLINE_STAMP_MULTIPLIED);)
    if (tile + (int)gridDim.x >= all) release_at<N, kMultiplied>();
    core.finish(tail, product_place<P>(rows, tile, 0), rows);
  }
}
