// SPDX-License-Identifier: Apache-2.0
// Long rows and columns that are read once, by blocks that stay (sm_90 and later). They take pieces
// of row after row in turns. The copy engine brings a piece to a slot in shared memory and takes
// results away; between, it waits in the registers of the threads that compute, so that its slot
// serves the next one. A block has all parts of a row where it can hold them at once. What it knows
// of a longer row goes to all that have parts of it by tagged words, for which all blocks run at
// once; that takes longer than reducing a piece, so one is applied when two more are reduced. Ops
// are those of rows.cuh, with states of 4 bytes.
//
// Threads: T that compute; then a warp that moves pieces, one that tells what the block knows, and,
// where rows have more parts, for each 32 columns of a piece one that hears what all know. A thread
// has N accesses of L elements of a piece, some of each of its boxes, which are moved one by one.
// Access i of a thread lies at (i * T + thread) * L in the slot. A piece has P columns, each with a
// state of its own: one in rows.
constexpr int kTeamSlots = 3;
constexpr int kTeamHeld = 2;       // pieces in registers
constexpr int kTeamBoxes = 4;      // of a piece, at most
constexpr int kTeamRing = 4;       // pieces of which one is told and heard at once, at most
constexpr int kTeamMost = 160;     // parts of a row
constexpr int kTeamHeader = 1024;  // bytes in front of what is told: a number for each block

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

// The same, but compilers do not know that: they would keep all that was opened instead of opening
// it again, for which there are no registers. `nothing`: 0.
template <class S, int L>
__device__ inline lanes_of<S, L> hidden(const lanes_of<S, L>& raw, u32 nothing) {
  if constexpr (sizeof(S) >= 4) return raw;
  union Both {
    lanes_of<S, L> raw;
    u32 words[sizeof(lanes_of<S, L>) / 4];
    __device__ inline Both() {}
  } both;
  both.raw = raw;
#pragma unroll
  for (int i = 0; i < (int)sizeof(both.raw) / 4; ++i) both.words[i] ^= nothing;
  return both.raw;
}

// Adds an access to the one state of a row, or each element to the state of its column, where the
// thread has it. Nothing branches.
template <class Op, int STATES, int L>
__device__ inline void add_if(typename Op::First (&first)[STATES], const typename Op::Value (&x)[L],
                              bool has) {
  typename Op::First with[STATES];
  copy_lanes<STATES>(with, first);
  if constexpr (STATES == 1) {
    add_lanes<Op, L>(with[0], x, 0);
  } else {
    add_each<Op, L>(with, x, 0);
  }
#pragma unroll
  for (int l = 0; l < STATES; ++l) first[l] = has ? with[l] : first[l];
}
// x becomes what is put.
template <class Op, int STATES, int L>
__device__ inline void add_second_if(typename Op::Second (&second)[STATES],
                                     typename Op::Value (&x)[L],
                                     const typename Op::First (&first)[STATES], bool has) {
  typename Op::Second with[STATES];
  copy_lanes<STATES>(with, second);
  if constexpr (STATES == 1) {
    add_second_lanes<Op, L>(with[0], x, first[0]);
  } else {
    add_second_to_each<Op, L>(with, x, first);
  }
#pragma unroll
  for (int l = 0; l < STATES; ++l) second[l] = has ? with[l] : second[l];
}
// Adds what `count` elements say that have a first state of their own.
template <class Op>
__device__ inline void add_moved(typename Op::Second& to, const typename Op::First& first,
                                 const typename Op::Second& second, const typename Op::First& all,
                                 idx count) {
  if (count == 0) return;
  to = Op::merge_second(to, Op::moved(second, Op::settle(first, count), all, count));
}

// The i-th piece of a block; rows have K parts, of which it has some in one turn.
template <int K>
struct TeamPiece {
  static constexpr int kTurn = K <= kTeamHeld ? K : 1;
  int group, part;
  __device__ inline TeamPiece(int i) {
    const u32 number = blockIdx.x + (u32)(i / kTurn) * gridDim.x;
    group = (int)(number / (K / kTurn));
    part = (int)(number % (K / kTurn)) * kTurn + i % kTurn;
  }
  __device__ inline TeamPiece(int group, int part) : group(group), part(part) {}
  // How many a block has.
  static __device__ inline int count(idx groups) {
    const u32 turns = (u32)groups * (K / kTurn);
    return (int)((turns + gridDim.x - 1 - blockIdx.x) / gridDim.x) * kTurn;
  }
};

// Rows of `size` elements, one behind the other. Each is a group, in K parts of as many accesses.
template <class S, int T, int L, int N, int K>
struct TeamRows {
  typedef S Element;
  typedef TeamPiece<K> Piece;
  static constexpr int kThreads = T, kLanes = L, kAccesses = N, kStates = 1, kColumns = 1;
  static constexpr int kParts = K;
  static constexpr int kAcross = 1;  // lanes of a warp that have states of their own
  static constexpr int kBox = 2;     // of a thread's accesses
  static_assert(L * sizeof(S) == 16, "accesses of 16 bytes");
  const idx groups, size, accesses, piece;
  const S* const from;
  S* const to;

  __device__ inline TeamRows(idx rows, idx size, const S* from, S* to)
      : groups(rows),
        size(size),
        accesses(size / L),
        piece(((accesses + K - 1) / K + 7) / 8 * 8),
        from(from),
        to(to) {}
  __device__ inline void prepare() const {}
  __device__ inline idx count(int part) const {
    const idx left = accesses - part * piece;
    return left < 0 ? 0 : left < piece ? left : piece;
  }
  // Whether all pieces are, which is known when this is compiled.
  __device__ inline bool full() const { return accesses == (idx)K * T * N; }
  // Accesses of a thread.
  __device__ inline int own(const Piece& at) const {
    if (full()) return N;
    return (int)(count(at.part) + T - 1 - (int)threadIdx.x) / T;
  }
  // Elements of a column.
  __device__ inline idx elements(int part) const { return count(part) * L; }
  __device__ inline idx elements_of_warp(const Piece& at, int warp) const {
    return count_of_part<T / 32, 32>(count(at.part), warp) * L;
  }
  __device__ inline idx row(const Piece& at, int) const { return at.group; }
  __device__ inline bool exists(const Piece&, int) const { return true; }
  // Where an access lies along the row; one that the thread has not, at the row's end.
  __device__ inline idx place(const Piece& at, int i) const {
    const idx access = at.part * piece + i * T + (int)threadIdx.x;
    if (full() || access < accesses) return access * L;
    return (accesses - 1) * L;
  }

  __device__ inline i64 offset(const Piece& at, int box) const {
    return (i64)at.group * size + (at.part * piece + (idx)box * (kBox * T)) * (i64)L;
  }
  __device__ inline int bytes(const Piece& at, int box) const {
    const idx left = count(at.part) - box * (kBox * T);
    return (int)(left < 0 ? 0 : left < kBox * T ? left : kBox * T) * 16;
  }
  __device__ inline void bring(S* slot, const Piece& at, int box, u64* barrier) const {
    const int some = bytes(at, box);
    expect_bytes(barrier, some);
    if (some > 0) copy_bulk_once(slot, from + offset(at, box), some, barrier);
  }
  __device__ inline void take_away(const S* slot, const Piece& at, int box) const {
    const int some = bytes(at, box);
    if (some == 0) return copy_nothing_out();
    copy_bulk_out(to + offset(at, box), slot, some);
  }
};

// HEARING: warps that hear.
template <class Op, int T, int P, int HEARING>
struct TeamShared {
  static constexpr int kWarps = T / 32;
  u64 landed[kTeamSlots][kTeamBoxes], made[kTeamSlots][kTeamBoxes];
  u64 held;  // the first piece, in registers: nothing is made in its slot before the fourth comes
  u64 reduced[2];  // of two pieces in turns
  u64 told[kTeamRing], heard[kTeamRing];
  typename Op::Stat stat[kTeamRing][P];
  typename Op::First first[2][kWarps][P];
  typename Op::Second second[2][kWarps][P];

  __device__ inline void start() {
    for (int s = 0; s < kTeamSlots; ++s) {
      for (int b = 0; b < kTeamBoxes; ++b) {
        start_barrier(&landed[s][b], 1);
        start_barrier(&made[s][b], kWarps);
      }
    }
    start_barrier(&held, kWarps);
    for (int i = 0; i < 2; ++i) start_barrier(&reduced[i], kWarps);
    for (int i = 0; i < kTeamRing; ++i) {
      start_barrier(&told[i], 1);
      start_barrier(&heard[i], HEARING > 0 ? HEARING : 1);
    }
    show_barriers();
  }
};

template <class Op, class G>
struct Team {
  typedef typename G::Element S;
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  typedef typename Op::Stat Stat;
  static constexpr int T = G::kThreads, L = G::kLanes, N = G::kAccesses, P = G::kColumns;
  static constexpr int kStates = G::kStates, kAcross = G::kAcross;
  static constexpr int kWarps = T / 32, kBoxes = N / G::kBox;
  static constexpr int kSlot = T * N * L;  // elements
  static constexpr int kParts = G::kParts;
  // Who has all parts of a row knows all when it has told of them.
  static constexpr int kHearing = kParts > kTeamHeld ? (P + 31) / 32 : 0;
  typedef TeamPiece<kParts> Piece;
  typedef TeamShared<Op, T, P, kHearing> Shared;
  typedef lanes_of<S, L> Raw;
  static constexpr bool kHolds = HoldsMade<Op, L, Raw>::value;
  static_assert(kBoxes * G::kBox == N && kBoxes <= kTeamBoxes, "whole boxes");

  // What a thread keeps of a piece until it is applied.
  struct Held {
    Raw raw[N];
    First own[kHolds ? kStates : 1];
  };

  const G& geometry;
  Shared& shared;
  S* const slots;
  u32* const number_place;  // of the run before
  u64* const told;
  const int pieces;   // of this block
  const u32 nothing;  // 0

  __device__ inline Team(const G& geometry, Shared& shared, S* slots, int parts, void* kept)
      : geometry(geometry),
        shared(shared),
        slots(slots),
        number_place((u32*)kept + blockIdx.x),
        told((u64*)((char*)kept + kTeamHeader)),
        pieces(Piece::count(geometry.groups)),
        nothing((u32)parts - kParts) {}

  __device__ inline u32 number() const { return *(const volatile u32*)number_place + 1; }
  // Where a box of a slot begins.
  __device__ inline S* box_of(int slot, int box) const {
    return slots + slot * kSlot + box * (G::kBox * T * L);
  }

  // By one thread. Results of piece i are made in the slot that piece i + 1 left; behind the last
  // comes one of nothing, which says that its slot is free.
  __device__ inline void bring(int i, int box) const {
    const int slot = i % kTeamSlots;
    u64* const landed = &shared.landed[slot][box];
    if (i == pieces) return arrive(landed);
    // Of blocks that wait for each other none is to be served before another: each has one piece on
    // its way at a time.
    if (kHearing > 0 && i > 0) {
      wait_barrier(&shared.landed[(i - 1) % kTeamSlots][box], (i - 1) / kTeamSlots & 1);
    }
    geometry.bring(box_of(slot, box), Piece(i), box, landed);
  }
  __device__ inline void move() const {
    for (int i = 0; i < kTeamSlots && i <= pieces; ++i) {
      for (int box = 0; box < kBoxes; ++box) bring(i, box);
    }
    if (pieces >= kTeamSlots) {
      wait_barrier(&shared.held, 0);
      for (int box = 0; box < kBoxes; ++box) bring(kTeamSlots, box);
    }
    for (int i = 0; i < pieces; ++i) {
      const int slot = (i + 1) % kTeamSlots, next = i + kTeamSlots + 1;
      const Piece at(i);
      for (int box = 0; box < kBoxes; ++box) {
        wait_barrier(&shared.made[slot][box], i / kTeamSlots & 1);
        geometry.take_away(box_of(slot, box), at, box);
        if (next > pieces || box == 0) continue;
        wait_copies_out<1>();
        bring(next, box - 1);
      }
      if (next > pieces) continue;
      wait_copies_out<0>();
      bring(next, kBoxes - 1);
    }
    wait_copies_out<0>();
    // All of the block have read it: there are results.
    if (kHearing > 0) *(volatile u32*)number_place = number();
  }

  __device__ inline u64* place_of(const Piece& at, int part, int column) const {
    return told + (((i64)at.group * kParts + part) * P + column) * 2;
  }

  // By a warp: what the block knows of each piece. Its lanes have columns.
  template <class Done>
  __device__ inline void tell(Done done) const {
    const int lane = (int)threadIdx.x % 32;
    const u32 own = kHearing > 0 ? number() : 0;
    First former_first[(P + 31) / 32];
    Second former_second[(P + 31) / 32];
    for (int i = 0; i < pieces; ++i) {
      const Piece at(i);
      const int side = i & 1, place = i % kTeamRing;
      wait_barrier(&shared.reduced[side], i / 2 & 1);
      First of_row;
      Second second_of_row;
      if constexpr (P == 1) know_row(at, side, of_row, second_of_row);
      for (int column = lane; column < P; column += 32) {
        First first = of_row;
        Second second = second_of_row;
        if constexpr (P > 1) know(at, side, column, first, second);
        if constexpr (kHearing > 0) {
          write_tagged_pair(place_of(at, at.part, column), same_bits<u32>(first),
                            same_bits<u32>(second), own);
        } else {
          if (at.part > 0) {
            join(former_first[column / 32], former_second[column / 32], first, second);
          }
          former_first[column / 32] = first;
          former_second[column / 32] = second;
          if (at.part + 1 < kParts) continue;
          for (int k = 0; k < kParts; ++k) keep((i - k) % kTeamRing, column, first, second);
        }
      }
      __syncwarp();
      if (lane == 0) arrive(&shared.told[place]);
      if constexpr (kHearing == 0) {
        if (at.part + 1 < kParts) continue;
        for (int warp = 0; warp * 32 < P; ++warp) report(at, place, warp, done);
        for (int k = kParts; k-- > 0;) {
          if (lane == 0) arrive(&shared.heard[(i - k) % kTeamRing]);
        }
      }
    }
  }
  // What is known of the first part of two and of the second becomes what is known of both.
  __device__ inline void join(const First& former_first, const Second& former_second, First& first,
                              Second& second) const {
    const First own = first;
    const Second own_second = second;
    first = Op::merge_first(former_first, own);
    if constexpr (Op::kTwice) {
      const First all = Op::settle(first, geometry.size);
      second = Op::second();
      add_moved<Op>(second, former_first, former_second, all, geometry.elements(0));
      add_moved<Op>(second, own, own_second, all, geometry.elements(1));
    }
  }
  // Of a row all lanes come, each with what a warp knows.
  __device__ inline void know_row(const Piece& at, int side, First& first, Second& second) const {
    const int warp = (int)threadIdx.x % kWarps;
    first = shared.first[side][warp][0];
    second = shared.second[side][warp][0];
    merge_parts<Op, kWarps>(first, second, geometry.elements_of_warp(at, warp),
                            geometry.elements(at.part));
  }
  __device__ inline void know(const Piece& at, int side, int column, First& first,
                              Second& second) const {
    first = Op::first();
    second = Op::second();
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      first = Op::merge_first(first, shared.first[side][warp][column]);
    }
    if constexpr (Op::kTwice) {
      const First all = Op::settle(first, geometry.elements(at.part));
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) {
        add_moved<Op>(second, shared.first[side][warp][column], shared.second[side][warp][column],
                      all, geometry.elements_of_warp(at, warp));
      }
    }
  }
  __device__ inline void keep(int place, int column, const First& first,
                              const Second& second) const {
    shared.stat[place][column] = Op::stat(Op::settle(first, geometry.size), second, geometry.size);
  }

  // By a warp: what is known of its columns of each piece. Where there is but one, lanes have parts
  // of its row.
  template <class Done>
  __device__ inline void hear(int warp, Done done) const {
    const int lane = (int)threadIdx.x % 32, column = P == 1 ? 0 : warp * 32 + lane;
    const u32 own = number();
    for (int i = 0; i < pieces; ++i) {
      const Piece at(i);
      const int place = i % kTeamRing;
      // Until then others are left to their work.
      wait_barrier(&shared.told[place], i / kTeamRing & 1);
      if (column < P) {
        First first = Op::first();
        Second second = Op::second();
        hear_of(at, column, own, first, second);
        if (P > 1 || lane == 0) keep(place, column, first, second);
      }
      __syncwarp();
      if (at.part == 0) report(at, place, warp, done);
      if (lane == 0) arrive(&shared.heard[place]);
    }
  }
  __device__ inline void hear_of(const Piece& at, int column, u32 own, First& first,
                                 Second& second) const {
    constexpr int kLanes = P == 1 ? 32 : 1;  // of a column
    constexpr int kAtOnce = P == 1 ? kTeamMost / 32 : 16;
    const int from = P == 1 ? (int)threadIdx.x % 32 : 0;
    idx count = 0;
    for (int part = from; part < kParts; part += kAtOnce * kLanes) {
      TaggedPair pairs[kAtOnce];
      hear_parts<kAtOnce, kLanes>(at, column, part, own, pairs);
      const First before = first;
      const idx known = count;
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (part + k * kLanes >= kParts) continue;
        first = Op::merge_first(first, same_bits<First>((u32)pairs[k].first));
        count += geometry.elements(part + k * kLanes);
      }
      if constexpr (Op::kTwice) {
        const First all = Op::settle(first, count);
        Second sum = Op::second();
        add_moved<Op>(sum, before, second, all, known);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) {
          if (part + k * kLanes >= kParts) continue;
          add_moved<Op>(sum, same_bits<First>((u32)pairs[k].first),
                        same_bits<Second>((u32)pairs[k].second), all,
                        geometry.elements(part + k * kLanes));
        }
        second = sum;
      }
    }
    if constexpr (P == 1) merge_parts<Op, 32>(first, second, count, geometry.size);
  }
  // Looks again at all that have not told, until none is left.
  template <int COUNT, int STEP>
  __device__ inline void hear_parts(const Piece& at, int column, int part, u32 own,
                                    TaggedPair (&pairs)[COUNT]) const {
    const u64* const place = place_of(at, part, column);
    const int count = kParts - part;
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
      if (k * STEP < count) pairs[k].read(place + k * STEP * P * 2);
    }
    while (true) {
      bool all = true;
#pragma unroll
      for (int k = 0; k < COUNT; ++k) all = all && (k * STEP >= count || pairs[k].has(own));
      if (all) return;
      look_again_later();
#pragma unroll
      for (int k = 0; k < COUNT; ++k) {
        if (k * STEP < count && !pairs[k].has(own)) pairs[k].read(place + k * STEP * P * 2);
      }
    }
  }
  // Stores what each row has one of, by the block that has its first part.
  template <class Done>
  __device__ inline void report(const Piece& at, int place, int warp, Done done) const {
    const int x = warp * (32 / kStates) + (int)threadIdx.x % 32;
    if ((int)threadIdx.x % 32 >= 32 / kStates || x >= kAcross || !geometry.exists(at, x)) return;
    Stat stat[kStates];
#pragma unroll
    for (int l = 0; l < kStates; ++l) stat[l] = shared.stat[place][x * kStates + l];
    done(geometry.row(at, x), stat);
  }

  // By the threads that compute. Lanes of the same column are brought together.
  template <class State>
  __device__ static inline void merge_lanes(State (&state)[kStates]) {
#pragma unroll
    for (int by = kAcross; by < 32; by *= 2) {
#pragma unroll
      for (int l = 0; l < kStates; ++l) {
        state[l] = RowMerge<Op>()(state[l], shuffle_xor(state[l], by));
      }
    }
  }

  // A piece goes to registers, and what each warp knows of it to the one that tells. Nothing
  // branches: accesses that the thread has not are read from the slot, whatever lies there, and
  // left out; their results stay in the slot.
  template <class Open>
  __device__ inline void reduce(int i, Held& held, Open open) const {
    const int tid = (int)threadIdx.x, warp = tid / 32, side = i & 1, slot = i % kTeamSlots;
    const Piece at(i);
    const int count = geometry.own(at);
    const S* const from = slots + slot * kSlot + tid * L;
    typename Op::Value x[L];
    First first[kStates];
    Second second[kStates];
    clear_each<Op, kStates>(first, second);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j % G::kBox == 0) {
        wait_barrier(&shared.landed[slot][j / G::kBox], i / kTeamSlots & 1);
      }
      held.raw[j] = load_lanes<L>(from + j * T * L);
      open(held.raw[j], x);
      add_if<Op>(first, x, j < count);
    }
    __syncwarp();
    if (i == 0 && tid % 32 == 0) arrive(&shared.held);
    merge_lanes(first);
    if constexpr (Op::kTwice) {
      First own[kStates];
#pragma unroll
      for (int l = 0; l < kStates; ++l) {
        own[l] = Op::settle(first[l], geometry.elements_of_warp(at, warp));
        if constexpr (kHolds) held.own[l] = own[l];
      }
#pragma unroll
      for (int j = 0; j < N; ++j) {
        open(hidden(held.raw[j], nothing), x);
        add_second_if<Op>(second, x, own, j < count);
        if constexpr (kHolds) {
#pragma unroll
          for (int l = 0; l < L; ++l) held.raw[j].element[l] = x[l];
        }
      }
      merge_lanes(second);
    }
    if (i >= 2) wait_barrier(&shared.told[(i - 2) % kTeamRing], (i - 2) / kTeamRing & 1);
    if (tid % 32 < kAcross) {
#pragma unroll
      for (int l = 0; l < kStates; ++l) {
        shared.first[side][warp][tid % kAcross * kStates + l] = first[l];
        shared.second[side][warp][tid % kAcross * kStates + l] = second[l];
      }
    }
    __syncwarp();
    if (tid % 32 == 0) arrive(&shared.reduced[side]);
  }
  // It becomes its results.
  template <class Open, class Put>
  __device__ inline void apply(int i, const Held& held, Open open, Put put) const {
    const int tid = (int)threadIdx.x, slot = (i + 1) % kTeamSlots, ring = i % kTeamRing;
    const Piece at(i);
    S* const own = slots + slot * kSlot + tid * L;
    wait_barrier(&shared.heard[ring], i / kTeamRing & 1);
    Stat stat[kStates];
    typename Op::Value carry[kStates];
#pragma unroll
    for (int l = 0; l < kStates; ++l) {
      stat[l] = shared.stat[ring][tid % kAcross * kStates + l];
      if constexpr (kHolds) carry[l] = Op::carry(held.own[l], stat[l].first);
    }
    const idx row = geometry.row(at, tid % kAcross);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j % G::kBox == 0 && i + 1 == pieces) {
        wait_barrier(&shared.landed[slot][j / G::kBox], pieces / kTeamSlots & 1);
      }
      typename Op::Value x[L];
      open(held.raw[j], x);
      if constexpr (kHolds) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] *= carry[l % kStates];
      } else if constexpr (Op::kInPlace) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] = Op::transform(x[l], stat[l % kStates].first);
      }
      put(row, geometry.place(at, j), x, stat, own + j * T * L);
      if (j % G::kBox == G::kBox - 1) {
        show_shared();
        __syncwarp();
        if (tid % 32 == 0) arrive(&shared.made[slot][j / G::kBox]);
      }
    }
  }

  template <class Open, class Put>
  __device__ inline void compute(Open open, Put put) const {
    Held even, odd;
#pragma unroll 1
    for (int i = 0; i < pieces + kTeamHeld; i += kTeamHeld) {
      if (i >= 2) apply(i - 2, even, open, put);
      if (i < pieces) reduce(i, even, open);
      if (i >= 1 && i - 1 < pieces) apply(i - 1, odd, open, put);
      if (i + 1 < pieces) reduce(i + 1, odd, open);
    }
  }
};

// What a block's threads share, ready for all of them; BYTES behind it the slots begin.
template <class Shared, int BYTES, class G>
__device__ inline Shared& start_team(const G& geometry) {
  extern __shared__ __align__(128) char team_memory[];
  static_assert(sizeof(Shared) <= BYTES && BYTES % 128 == 0, "in front of the slots");
  Shared& shared = *(Shared*)team_memory;
  if (threadIdx.x == 0) {
    geometry.prepare();
    shared.start();
  }
  wait_for_former();
  release_next();
  __syncthreads();
  return shared;
}

// put(row, k, x, stat, place) leaves what store() would store at `place`. `kept`: zeros before the
// first run, then what the run before left. `parts`: of a row, once more. BYTES of shared memory
// lie in front of the slots.
template <class Op, int BYTES, class G, class Open, class Done, class Put>
__device__ inline void team(const G& geometry, int parts, void* kept, Open open, Done done,
                            Put put) {
  typedef Team<Op, G> Own;
  auto& shared = start_team<typename Own::Shared, BYTES>(geometry);
  const Own own(geometry, shared, (typename G::Element*)((char*)&shared + BYTES), parts, kept);
  const int role = (int)threadIdx.x < G::kThreads ? -1 : ((int)threadIdx.x - G::kThreads) / 32;
  if (role < 0) own.compute(open, put);
  if (role == 0 && threadIdx.x % 32 == 0) own.move();
  if (role == 1) own.tell(done);
  if constexpr (Own::kHearing > 0) {
    if (role >= 2 && role - 2 < Own::kHearing) own.hear(role - 2, done);
  }
}
