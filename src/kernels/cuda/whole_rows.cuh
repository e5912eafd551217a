// SPDX-License-Identifier: Apache-2.0
// Long rows and columns of which a block that stays has all three or four parts (teams.cuh): it
// waits for no other, and fetches the next row while it makes results. The first part and the last
// go through slot 0 to registers; the others stay where they landed, and become their results
// there. Then the two in registers become theirs in the slots that these leave.
//
// Threads: T that compute, then a warp that moves parts.

constexpr int kWholeSlots = 3;

// NS: states that a column has, each of some of its warps.
template <class Op, int T, int P, int NS>
struct WholeShared {
  static constexpr int kWarps = T / 32;
  u64 landed[kWholeSlots][kTeamBoxes];
  u64 taken[kTeamBoxes];    // from slot 0, twice a row
  u64 made[2][kTeamBoxes];  // in slots 1 and 2
  u64 left[2][kTeamBoxes];  // by results that were made in place
  u64 reduced, known;       // once a row
  typename Op::Stat stat[P];
  typename Op::First first[NS][P];
  typename Op::Second second[NS][P];
  idx elements[kWarps];  // of a column, that a warp has

  __device__ inline void start_landed() {
    start_barriers(landed[0], kWholeSlots * kTeamBoxes, 1);
    show_barriers();
  }
  __device__ inline void start_others() {
    start_barriers(taken, kTeamBoxes, kWarps);
    start_barriers(made[0], 2 * kTeamBoxes, kWarps);
    start_barriers(left[0], 2 * kTeamBoxes, 1);
    start_barriers(&reduced, 1, kWarps);
    start_barriers(&known, 1, kWarps);
    show_barriers();
  }
};

// Until all but the last `count` groups of the thread have left shared memory.
__device__ inline void wait_copies_but(int count) {
  static_assert(kTeamBoxes == 4, "of boxes of a piece");
  if (count == 0) wait_copies_out<0>();
  if (count == 1) wait_copies_out<1>();
  if (count == 2) wait_copies_out<2>();
  if (count == 3) wait_copies_out<3>();
}

template <class Op, class G>
struct Whole {
  typedef typename G::Element S;
  typedef typename G::Piece Piece;
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  typedef typename Op::Stat Stat;
  static constexpr int T = G::kThreads, L = G::kLanes, N = G::kAccesses, P = G::kColumns;
  static constexpr int kStates = G::kStates, kAcross = G::kAcross, kParts = Piece::kParts;
  static constexpr int kWarps = T / 32, kBoxes = N / G::kBox;
  static constexpr int kSlot = T * N * L;  // elements
  // Warps side by side, and states of a column.
  static constexpr int kSide = kAcross > 32 ? kAcross / 32 : 1, kStatesDown = kWarps / kSide;
  static constexpr bool kThird = kParts > 3;  // a part that stays in slot 2
  typedef WholeShared<Op, T, P, kStatesDown> Shared;
  typedef lanes_of<S, L> Raw;
  static_assert(kParts == 3 || kParts == 4, "two in registers, one or two in slots");
  static_assert(kBoxes * G::kBox == N && kBoxes <= kTeamBoxes, "whole boxes");

  const G& geometry;
  Shared& shared;
  S* const slots;
  const int turns;    // rows of this block
  const u32 nothing;  // 0

  __device__ inline Whole(const G& geometry, Shared& shared, S* slots, int parts)
      : geometry(geometry),
        shared(shared),
        slots(slots),
        turns(Piece::turns(geometry.groups)),
        nothing((u32)parts - kParts) {}

  __device__ inline Piece piece(int turn, int part) const {
    return Piece((int)(blockIdx.x + (u32)turn * gridDim.x), part);
  }
  __device__ inline S* box_of(int slot, int box) const {
    return slots + slot * kSlot + box * (G::kBox * T * L);
  }

  // By one thread.
  __device__ inline void bring(int turn, int part, int slot, int box) const {
    if (turn < turns) {
      geometry.bring(box_of(slot, box), piece(turn, part), box, &shared.landed[slot][box]);
    }
  }
  __device__ inline void bring_last(int turn) const {
    if (turn == turns) return;
    for (int box = 0; box < kBoxes; ++box) {
      wait_barrier(&shared.taken[box], 0);
      bring(turn, kParts - 1, 0, box);
    }
  }
  __device__ inline void take_away(int turn, int part, int slot, int box, int parity) const {
    wait_barrier(&shared.made[slot - 1][box], parity);
    geometry.take_away(box_of(slot, box), piece(turn, part), box);
  }
  __device__ inline void bring_first() const {
    for (int part = 0; part < kParts - 1; ++part) {
      for (int box = 0; box < kBoxes; ++box) bring(0, part, part, box);
    }
  }
  __device__ inline void move() const {
    bring_last(0);
    for (int turn = 0; turn < turns; ++turn) {
      for (int box = 0; box < kBoxes; ++box) {
        wait_barrier(&shared.taken[box], 1);
        bring(turn + 1, 0, 0, box);
      }
      for (int box = 0; box < kBoxes; ++box) take_away(turn, 1, 1, box, 0);
      for (int box = 0; box < kBoxes; ++box) {
        if constexpr (kThird) {
          take_away(turn, 2, 2, box, 0);
          wait_copies_out<kBoxes>();
        } else {
          wait_copies_but(kBoxes - 1 - box);
        }
        arrive(&shared.left[0][box]);
      }
      for (int box = 0; box < kBoxes; ++box) {
        take_away(turn, 0, 1, box, 1);
        if constexpr (kThird) {
          wait_copies_out<kBoxes>();
          arrive(&shared.left[1][box]);
        }
      }
      for (int box = 0; box < kBoxes; ++box) {
        take_away(turn, kParts - 1, 2, box, kThird ? 1 : turn & 1);
        wait_copies_out<kBoxes>();
        bring(turn + 1, 1, 1, box);
      }
      for (int box = 0; box < kBoxes; ++box) {
        wait_copies_but(kBoxes - 1 - box);
        if (kThird) bring(turn + 1, 2, 2, box);
      }
      bring_last(turn + 1);
    }
  }

  // Through slot 0 to registers.
  template <class Open>
  __device__ inline void take(Known<Op, kStates>& known, const Piece& at, int parity, Raw (&raw)[N],
                              Open open) const {
    const int own = geometry.own(at);
    const S* const from = slots + (int)threadIdx.x * L;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      wait_barrier(&shared.landed[0][box], parity);
#pragma unroll
      for (int j = box * G::kBox; j < (box + 1) * G::kBox; ++j) {
        raw[j] = load_lanes<L>(from + j * T * L);
      }
      __syncwarp();
      if (threadIdx.x % 32 == 0) arrive(&shared.taken[box]);
      First all[kStates];
      add_box<G::kBox, false, Op, L>(known, raw, box * G::kBox, own - box * G::kBox, all, open);
    }
  }
  __device__ inline void read(int slot, int box, Raw (&raw)[G::kBox]) const {
    const S* const from = box_of(slot, box) + (int)threadIdx.x * L;
#pragma unroll
    for (int j = 0; j < G::kBox; ++j) raw[j] = load_lanes<L>(from + j * T * L);
  }
  template <class Open>
  __device__ inline void look(Known<Op, kStates>& known, const Piece& at, int slot, int parity,
                              Open open) const {
    const int own = geometry.own(at);
#pragma unroll 1
    for (int box = 0; box < kBoxes; ++box) {
      wait_barrier(&shared.landed[slot][box], parity);
      Raw raw[G::kBox];
      read(slot, box, raw);
      First all[kStates];
      add_box<G::kBox, false, Op, L>(known, raw, 0, own - box * G::kBox, all, open);
    }
  }

  // All threads bring together what they know of a row.
  __device__ inline void bring_together(Known<Op, kStates>& known, int parity) const {
    const int tid = (int)threadIdx.x, lane = tid % 32, warp = tid / 32;
    join_lanes(known, kAcross);
    if (lane < kAcross) {
      const int column = tid % kAcross * kStates;
#pragma unroll
      for (int l = 0; l < kStates; ++l) {
        shared.first[warp / kSide][column + l] = known.first[l];
        shared.second[warp / kSide][column + l] = known.second[l];
      }
      if (lane == 0) shared.elements[warp] = known.count;
    }
    meet(&shared.reduced, parity);
    // Lanes of a column, of whole warps.
    constexpr int kLanes = T / P < kStatesDown ? T / P : kStatesDown;
    if (tid < (P * kLanes < 32 ? 32 : P * kLanes)) {
      const int column = P * kLanes < 32 ? 0 : tid / kLanes;
      First first = Op::first();
      Second second = Op::second();
      idx count = 0;
#pragma unroll
      for (int i = 0; i < kStatesDown / kLanes; ++i) {
        const int k = tid % kLanes + i * kLanes;
        const idx more = shared.elements[k * kSide + column / kStates / 32];
        join<Op>(first, second, count, shared.first[k][column], shared.second[k][column], more);
        count += more;
      }
#pragma unroll
      for (int by = 1; by < kLanes; by *= 2) {
        const idx more = shuffle_xor(count, by);
        join<Op>(first, second, count, shuffle_xor(first, by), shuffle_xor(second, by), more);
        count += more;
      }
      if (tid % kLanes == 0 && tid < P * kLanes) {
        shared.stat[column] = Op::stat(Op::settle(first, geometry.size), second, geometry.size);
      }
    }
    meet(&shared.known, parity);
  }
  __device__ inline void meet(u64* barrier, int parity) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(barrier);
    wait_barrier(barrier, parity);
  }

  // A box of raw, from `from` on, becomes its results in a slot.
  template <int COUNT, class Open, class Put>
  __device__ inline void make(const Piece& at, int slot, int box, const Raw (&raw)[COUNT], int from,
                              const Stat (&stat)[kStates], Open open, Put put) const {
    S* const own = box_of(slot, box) + (int)threadIdx.x * L;
    const idx row = geometry.row(at, (int)threadIdx.x % kAcross);
#pragma unroll
    for (int j = 0; j < G::kBox; ++j) {
      typename Op::Value x[L];
      open(hidden(raw[from + j], nothing), x);
      if constexpr (Op::kInPlace) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] = Op::transform(x[l], stat[l % kStates].first);
      }
      put(row, geometry.place(at, box * G::kBox + j), x, stat, own + j * T * L);
    }
    show_shared();
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(&shared.made[slot - 1][box]);
  }
  template <class Open, class Put>
  __device__ inline void make_in_place(const Piece& at, int slot, const Stat (&stat)[kStates],
                                       Open open, Put put) const {
#pragma unroll 1
    for (int box = 0; box < kBoxes; ++box) {
      Raw raw[G::kBox];
      read(slot, box, raw);
      make(at, slot, box, raw, 0, stat, open, put);
    }
  }
  template <class Open, class Put>
  __device__ inline void make_from_registers(const Piece& at, int slot, int parity,
                                             const Raw (&raw)[N], const Stat (&stat)[kStates],
                                             Open open, Put put) const {
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      // Slot 2 has nothing of three parts but the last one's results, which have left it by now.
      if (slot == 1 || kThird) wait_barrier(&shared.left[slot - 1][box], parity);
      make(at, slot, box, raw, box * G::kBox, stat, open, put);
    }
  }

  template <class Open, class Done, class Put>
  __device__ inline void compute(Open open, Done done, Put put) const {
    const int tid = (int)threadIdx.x;
    Raw head[N], tail[N];
#pragma unroll 1
    for (int turn = 0; turn < turns; ++turn) {
      const int parity = turn & 1;
      Known<Op, kStates> known;
      take(known, piece(turn, 0), 0, head, open);
      look(known, piece(turn, 1), 1, parity, open);
      if constexpr (kThird) look(known, piece(turn, 2), 2, parity, open);
      take(known, piece(turn, kParts - 1), 1, tail, open);
      bring_together(known, parity);
      Stat stat[kStates];
#pragma unroll
      for (int l = 0; l < kStates; ++l) stat[l] = shared.stat[tid % kAcross * kStates + l];
      if (tid < kAcross && geometry.exists(piece(turn, 0), tid)) {
        done(geometry.row(piece(turn, 0), tid), stat);
      }
      make_in_place(piece(turn, 1), 1, stat, open, put);
      if constexpr (kThird) make_in_place(piece(turn, 2), 2, stat, open, put);
      make_from_registers(piece(turn, 0), 1, parity, head, stat, open, put);
      make_from_registers(piece(turn, kParts - 1), 2, parity, tail, stat, open, put);
    }
  }
};

// put(row, k, x, stat, place) leaves what store() would store at `place`. `parts`: of a row, once
// more. BYTES of shared memory lie in front of the slots.
template <class Op, int BYTES, class G, class Open, class Done, class Put>
__device__ inline void whole_rows(const G& geometry, int parts, Open open, Done done, Put put) {
  typedef Whole<Op, G> Own;
  auto& shared = shared_of_team<typename Own::Shared, BYTES>();
  const Own own(geometry, shared, (typename G::Element*)((char*)&shared + BYTES), parts);
  start_team(own, G::kThreads);
  if ((int)threadIdx.x < G::kThreads) {
    own.compute(open, done, put);
  } else if (threadIdx.x % 32 == 0) {
    own.move();
  }
}
