// SPDX-License-Identifier: Apache-2.0
// Long rows that are read once, by blocks that all run at once and stay (sm_90 and later): K
// neighbouring blocks, a team, hold a row together in shared memory. The copy engine brings pieces
// of rows to slots there and takes results away while others are reduced and applied, and what the
// blocks know of a row goes from each to all of its team by tagged words, which takes longer than
// reducing a piece: pieces are applied kTeamLag of them later. Ops are those of rows.cuh, with
// states of 4 bytes.
//
// Threads: T that compute; then a warp each that brings pieces, takes them away, tells what the
// block knows of a row, and hears what the others know. A block has a part of M pieces of every row
// of its team, a piece is at most T * N accesses of L elements.
constexpr int kTeamSlots = 6, kTeamLag = 3;
// Pieces on their way at once: more of them make what is told wait behind them.
constexpr int kTeamAhead = 2;
constexpr int kTeamWarps = 4;     // beside those that compute
constexpr int kTeamMost = 160;    // blocks of a team
constexpr int kTeamHeader = 128;  // bytes in front of what a team tells
constexpr int kTeamSharedBytes = 2048;

// Rows whose states are kept at once. A block that tells of row r has heard of row r - (kTeamLag +
// 2 - M) / M (rounded up), when all had told of that, and so heard of a row as far before it.
template <int M>
struct TeamRing {
  static constexpr int kRows = 2 * ((kTeamLag + 1) / M + 1);
};

// A state as a word, and back.
template <class To, class From>
__device__ inline To same_bits(const From& from) {
  static_assert(sizeof(To) == 4 && sizeof(From) == 4, "a state of 4 bytes");
  union Both {
    From from;
    To to;
    __device__ inline Both() {}
  } both;
  both.from = from;
  return both.to;
}

// Where accesses of a row lie: those of a block, and of each of its pieces.
template <int M>
struct TeamParts {
  idx accesses, piece;
  __device__ inline TeamParts(idx accesses, int blocks) : accesses(accesses) {
    const idx pieces = (idx)blocks * M;
    piece = ((accesses + pieces - 1) / pieces + 7) / 8 * 8;
  }
  __device__ inline idx begin(int rank, int m) const { return (rank * (idx)M + m) * piece; }
  __device__ inline idx count(idx begin, idx most) const {
    const idx left = accesses - begin;
    return left < 0 ? 0 : left < most ? left : most;
  }
  __device__ inline idx of_piece(int rank, int m) const { return count(begin(rank, m), piece); }
  __device__ inline idx of_block(int rank) const { return count(begin(rank, 0), M * piece); }
};

template <class Op, int T, int M>
struct TeamShared {
  static constexpr int kWarps = T / 32;
  static constexpr int kRing = TeamRing<M>::kRows;
  u64 landed[kTeamSlots], left[kTeamSlots], made[kTeamSlots];
  u64 reduced[2], taken[2];  // of two rows in turns
  u64 heard[kRing], begun;
  u32 base;  // of the numbers of what is told in this run
  typename Op::Stat stat[kRing];
  typename Op::First first[2][M * kWarps];
  typename Op::Second second[2][M * kWarps];

  __device__ inline void start() {
    for (int i = 0; i < kTeamSlots; ++i) {
      start_barrier(&landed[i], 1);
      start_barrier(&left[i], 1);
      start_barrier(&made[i], kWarps);
    }
    for (int i = 0; i < 2; ++i) {
      start_barrier(&reduced[i], M * kWarps);
      start_barrier(&taken[i], 1);
    }
    for (int i = 0; i < kRing; ++i) start_barrier(&heard[i], 1);
    start_barrier(&begun, 1);
    show_barriers();
  }
};

// The pieces of a block in their order: which slot, for the how many-th time, and which piece of
// which of the team's rows.
template <int M>
struct TeamTurn {
  int slot = 0, piece = 0;
  u32 lap = 0, row = 0;
  __device__ inline void next() {
    if (++slot == kTeamSlots) {
      slot = 0;
      ++lap;
    }
    if (++piece == M) {
      piece = 0;
      ++row;
    }
  }
};

// What is the same for all threads of a block. Sizes in elements, places in accesses of L.
template <class Op, class S, int T, int L, int N, int M>
struct RowTeam {
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  typedef TeamShared<Op, T, M> Shared;
  static constexpr int kWarps = T / 32;
  static constexpr int kSlot = T * N;  // accesses
  static_assert(L * sizeof(S) == 16, "accesses of 16 bytes");
  static_assert(M * kWarps <= 32, "a lane for what each warp knows of each piece");
  static_assert(M <= kTeamLag, "rows are reduced before they are applied");

  Shared& shared;
  S* const slots;
  const idx size;
  const int blocks, team, teams, rank;
  const u32 rows;  // of this team
  const TeamParts<M> parts;
  u64* const told;  // of the team

  __device__ inline RowTeam(Shared& shared, S* slots, idx all, idx size, int blocks, void* kept)
      : shared(shared),
        slots(slots),
        size(size),
        blocks(blocks),
        team((int)blockIdx.x / blocks),
        teams((int)gridDim.x / blocks),
        rank((int)blockIdx.x % blocks),
        rows(team < all ? (u32)((all - team + teams - 1) / teams) : 0),
        parts(size / L, blocks),
        told((u64*)((char*)kept + (i64)team * (kTeamHeader + (i64)Shared::kRing * blocks * 16))) {}

  __device__ inline idx row_of(u32 row) const { return team + (idx)row * teams; }
  __device__ inline i64 offset(const TeamTurn<M>& turn) const {
    return (i64)row_of(turn.row) * size + (i64)parts.begin(rank, turn.piece) * L;
  }
  __device__ inline S* slot(const TeamTurn<M>& turn) const { return slots + turn.slot * kSlot * L; }
  __device__ inline u64* place_of(u32 row, int block) const {
    return told + kTeamHeader / 8 + ((i64)(row % Shared::kRing) * blocks + block) * 2;
  }

  // By one thread.
  __device__ inline void bring(const S* from) const {
    TeamTurn<M> turn, behind;
    for (u32 i = 0; i < rows * M; ++i, turn.next()) {
      if (turn.lap > 0) wait_barrier(&shared.left[turn.slot], (int)(turn.lap - 1) & 1);
      if (i >= kTeamAhead) {
        wait_barrier(&shared.landed[behind.slot], (int)behind.lap & 1);
        behind.next();
      }
      const int bytes = (int)parts.of_piece(rank, turn.piece) * 16;
      expect_bytes(&shared.landed[turn.slot], bytes);
      if (bytes > 0) copy_bulk(slot(turn), from + offset(turn), bytes, &shared.landed[turn.slot]);
    }
  }
  __device__ inline void take_away(S* to) const {
    TeamTurn<M> turn;
    for (u32 i = 0; i < rows * M; ++i, turn.next()) {
      wait_barrier(&shared.made[turn.slot], (int)turn.lap & 1);
      const int bytes = (int)parts.of_piece(rank, turn.piece) * 16;
      if (bytes > 0) copy_bulk_out(to + offset(turn), slot(turn), bytes);
      arrive(&shared.left[turn.slot]);
    }
  }

  // By a warp: what the block knows of each row.
  __device__ inline void tell() const {
    const int lane = (int)threadIdx.x % 32;
    const bool has = lane < M * kWarps;
    const u32 base = *(const volatile u32*)told;
    if (lane == 0) {
      shared.base = base;
      arrive(&shared.begun);
    }
    const idx piece = has ? parts.of_piece(rank, lane / kWarps) : 0;
    const idx count = has ? count_of_part<kWarps, 32>(piece, lane % kWarps) * L : 0;
    for (u32 row = 0; row < rows; ++row) {
      const int side = (int)(row & 1);
      wait_barrier(&shared.reduced[side], (int)(row / 2 & 1));
      First first = Op::first();
      Second second = Op::second();
      if (has) {
        first = shared.first[side][lane];
        second = shared.second[side][lane];
      }
      merge_parts<Op, 32>(first, second, count, parts.of_block(rank) * L);
      __syncwarp();
      if (lane > 0) continue;
      arrive(&shared.taken[side]);
      write_tagged_pair(place_of(row, rank), same_bits<u32>(first), same_bits<u32>(second),
                        base + row + 1);
    }
  }

  // By a warp: what the whole team knows, from which it makes each row's statistic.
  template <class Done>
  __device__ inline void hear(Done done) const {
    const int lane = (int)threadIdx.x % 32;
    constexpr int kEach = kTeamMost / 32;
    wait_barrier(&shared.begun, 0);
    const u32 base = shared.base;
    for (u32 row = 0; row < rows; ++row) {
      TaggedPair pairs[kEach];
      First first = Op::first();
      hear_of(row, base + row + 1, pairs);
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        if (i * 32 + lane < blocks) {
          first = Op::merge_first(first, same_bits<First>((u32)pairs[i].first));
        }
      }
      first = Op::settle(warp_merge<32>(first, RowMerge<Op>()), size);
      Second second = Op::second();
      if constexpr (Op::kTwice) {
#pragma unroll
        for (int i = 0; i < kEach; ++i) {
          const idx count = i * 32 + lane < blocks ? parts.of_block(i * 32 + lane) * L : 0;
          if (count == 0) continue;
          const First own = Op::settle(same_bits<First>((u32)pairs[i].first), count);
          second = Op::merge_second(
              second, Op::moved(same_bits<Second>((u32)pairs[i].second), own, first, count));
        }
        second = warp_merge<32>(second, RowMerge<Op>());
      }
      __syncwarp();
      if (lane > 0) continue;
      const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
      shared.stat[row % Shared::kRing] = stat[0];
      if (rank == 0) done(row_of(row), stat);
      arrive(&shared.heard[row % Shared::kRing]);
    }
    // All have told of the last row, so they know the base.
    if (rank == 0 && lane == 0 && rows > 0) *(volatile u32*)told = base + rows;
  }
  __device__ inline void hear_of(u32 row, u32 number, TaggedPair (&pairs)[kTeamMost / 32]) const {
    const int lane = (int)threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < kTeamMost / 32; ++i) {
      if (i * 32 + lane < blocks) pairs[i].read(place_of(row, i * 32 + lane));
    }
#pragma unroll
    for (int i = 0; i < kTeamMost / 32; ++i) {
      while (i * 32 + lane < blocks && !pairs[i].has(number)) {
        let_others_write();
        pairs[i].read(place_of(row, i * 32 + lane));
      }
    }
    __syncwarp();
  }

  // By the threads that compute: a piece's part of what is known of its row, from each warp.
  template <class Open>
  __device__ inline void reduce(const TeamTurn<M>& turn, Open open) const {
    const int tid = (int)threadIdx.x, warp = tid / 32;
    const idx count = parts.of_piece(rank, turn.piece);
    const bool full = count == kSlot;
    auto has = [&](int i) { return full || i * T + tid < count; };
    const S* const own = slot(turn) + tid * L;
    lanes_of<S, L> raw[N];
    typename Op::Value x[L];
    First first = Op::first();
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (has(i)) raw[i] = load_lanes<L>(own + i * T * L);
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!has(i)) continue;
      open(raw[i], x);
      add_lanes<Op, L>(first, x, 0);
    }
    first = warp_merge<32>(first, RowMerge<Op>());
    Second second = Op::second();
    if constexpr (Op::kTwice) {
      const First settled = Op::settle(first, count_of_part<kWarps, 32>(count, warp) * L);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (!has(i)) continue;
        open(raw[i], x);
        add_second_lanes<Op, L>(second, x, settled);
      }
      second = warp_merge<32>(second, RowMerge<Op>());
    }
    const int side = (int)(turn.row & 1);
    if (turn.piece == 0) wait_barrier(&shared.taken[side], (int)(turn.row / 2 & 1) ^ 1);
    if (tid % 32 == 0) {
      shared.first[side][turn.piece * kWarps + warp] = first;
      shared.second[side][turn.piece * kWarps + warp] = second;
      arrive(&shared.reduced[side]);
    }
  }

  // A piece becomes its results.
  template <class Open, class Put>
  __device__ inline void apply(const TeamTurn<M>& turn, Open open, Put put) const {
    const int tid = (int)threadIdx.x;
    const idx count = parts.of_piece(rank, turn.piece);
    const bool full = count == kSlot;
    S* const own = slot(turn) + tid * L;
    const typename Op::Stat stat[1] = {shared.stat[turn.row % Shared::kRing]};
    const idx row = row_of(turn.row), begin = (parts.begin(rank, turn.piece) + tid) * L;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!full && i * T + tid >= count) continue;
      typename Op::Value x[L];
      open(load_lanes<L>(own + i * T * L), x);
      transform_lanes<Op, L>(x, stat[0].first);
      put(row, begin + i * T * L, x, stat, own + i * T * L);
    }
    show_shared();
    __syncwarp();
    if (tid % 32 == 0) arrive(&shared.made[turn.slot]);
  }

  template <class Open, class Put>
  __device__ inline void compute(Open open, Put put) const {
    TeamTurn<M> reduced, applied;
    const u32 pieces = rows * M;
#pragma unroll 1
    for (u32 i = 0; i < pieces + kTeamLag; ++i) {
      if (i < pieces) {
        wait_barrier(&shared.landed[reduced.slot], (int)reduced.lap & 1);
        reduce(reduced, open);
        reduced.next();
      }
      if (i >= kTeamLag) {
        const u32 row = applied.row;
        wait_barrier(&shared.heard[row % Shared::kRing], (int)(row / Shared::kRing) & 1);
        apply(applied, open, put);
        applied.next();
      }
    }
  }
};

// put(row, k, x, stat, place) leaves what store() would store at `place`. `kept`: zeros before the
// first run, then what the run before left.
template <class Op, class S, int T, int L, int N, int M, class Open, class Done, class Put>
__device__ inline void row_team(idx rows, idx size, int blocks, void* kept, const void* from,
                                void* to, Open open, Done done, Put put) {
  extern __shared__ __align__(128) char team_memory[];
  typedef TeamShared<Op, T, M> Shared;
  static_assert(sizeof(Shared) <= kTeamSharedBytes, "what is in front of the slots");
  Shared& shared = *(Shared*)team_memory;
  const RowTeam<Op, S, T, L, N, M> team(shared, (S*)(team_memory + kTeamSharedBytes), rows, size,
                                        blocks, kept);
  if (threadIdx.x == 0) shared.start();
  __syncthreads();
  const int role = (int)threadIdx.x < T ? -1 : ((int)threadIdx.x - T) / 32;
  const bool leads = threadIdx.x % 32 == 0;
  if (role < 0) team.compute(open, put);
  if (role == 0 && leads) team.bring((const S*)from);
  if (role == 1 && leads) team.take_away((S*)to);
  if (role == 2) team.tell();
  if (role == 3) team.hear(done);
}
