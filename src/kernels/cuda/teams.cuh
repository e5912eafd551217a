// SPDX-License-Identifier: Apache-2.0
// Long rows and columns that are read once, by blocks that stay (sm_90 and later). They take pieces
// of row after row in turns. The copy engine brings a piece to a slot in shared memory and takes
// results away; between, it waits in the registers of the threads that compute, so that its slot
// serves the next one. A block has all parts of a row where it can hold them at once. What it knows
// of a longer row goes to all that have parts of it by tagged words, for which all blocks run at
// once; that takes longer than reducing a piece, so one is applied when the registers are full of
// others that have been reduced since. Or it has two parts of the row at once and tells of both:
// half as much to hear, for which it waits. Ops are those of rows.cuh, with states of 4 bytes.
//
// Threads: T that compute; then a warp that moves pieces, one that tells what the block knows, and,
// where rows have more parts, for each 32 columns of a piece one that hears what all know. A thread
// has N accesses of L elements of a piece, some of each of its boxes, which are moved one by one.
// Access i of a thread lies at (i * T + thread) * L in the slot. A piece has P columns, each with a
// state of its own: one in rows.
constexpr int kTeamBoxes = 4;      // of a piece, at most
constexpr int kTeamRing = 4;       // pieces of which one is told and heard at once, at most
constexpr int kTeamMost = 160;     // parts of a row
constexpr int kTeamHeader = 1024;  // bytes in front of what is told: a number for each block

// A state or an element as a word, and back.
template <class To, class From>
__device__ inline To same_bits(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "of the same size");
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
  to = Op::merge_second(to, Op::moved(second, Op::about(first, count), all, count));
}

// `number` of them, for `count` who arrive.
__device__ inline void start_barriers(u64* barriers, int number, int count) {
  for (int i = 0; i < number; ++i) start_barrier(&barriers[i], count);
}

// What is known of some elements, `count` of each state.
template <class Op, int STATES>
struct Known {
  typename Op::First first[STATES];
  typename Op::Second second[STATES];
  idx count;
  __device__ inline Known() : count(0) { clear_each<Op, STATES>(first, second); }
};

// What is known of a state and of others becomes what is known of all of them.
template <class Op>
__device__ inline void join(typename Op::First& first, typename Op::Second& second, idx count,
                            const typename Op::First& others,
                            const typename Op::Second& others_second, idx others_count) {
  const typename Op::First own = first;
  first = Op::merge_first(own, others);
  if constexpr (Op::kTwice) {
    const typename Op::First all = Op::about(first, count + others_count);
    typename Op::Second sum = Op::second();
    add_moved<Op>(sum, own, second, all, count);
    add_moved<Op>(sum, others, others_second, all, others_count);
    second = sum;
  }
}
// Of lanes that are a multiple of `across` apart.
template <class Op, int STATES>
__device__ inline void join_lanes(Known<Op, STATES>& known, int across) {
#pragma unroll
  for (int by = across; by < 32; by *= 2) {
    const idx count = shuffle_xor(known.count, by);
#pragma unroll
    for (int l = 0; l < STATES; ++l) {
      join<Op>(known.first[l], known.second[l], known.count, shuffle_xor(known.first[l], by),
               shuffle_xor(known.second[l], by), count);
    }
    known.count += count;
  }
}

// Of those of a warp, `all` elements of each of ACROSS states.
template <int ACROSS, class Op, int STATES>
__device__ inline void merge_lanes(Known<Op, STATES>& known, idx all) {
  if constexpr (ACROSS == 1 && STATES == 1) {
    // All are moved at once, to what is known of the whole warp.
    const typename Op::First own = Op::about(known.first[0], known.count);
    known.first[0] = warp_merge<32>(known.first[0], RowMerge<Op>());
    if constexpr (Op::kTwice) {
      typename Op::Second moved = Op::second();
      if (known.count > 0) {
        moved = Op::moved(known.second[0], own, Op::about(known.first[0], all), known.count);
      }
      known.second[0] = warp_merge<32>(moved, RowMerge<Op>());
    }
  } else {
    join_lanes(known, ACROSS);
  }
}

// Adds COUNT accesses of a box, raw from `from` on, of which the thread has the first `own`. `all`
// is what their second states are said of; HOLDS: they become what is made of them.
template <int COUNT, bool HOLDS, class Op, int L, int STATES, int ALL, class Raw, class Open>
__device__ inline void add_box(Known<Op, STATES>& known, Raw (&raw)[ALL], int from, int own,
                               typename Op::First (&all)[STATES], Open open) {
  typename Op::Value x[L];
  typename Op::First first[STATES];
  copy_lanes<STATES>(first, known.first);
#pragma unroll
  for (int j = 0; j < COUNT; ++j) {
    open(raw[from + j], x);
    add_if<Op>(first, x, j < own);
  }
  const int some = own < 0 ? 0 : own < COUNT ? own : COUNT;
  const idx count = known.count + some * (STATES == 1 ? L : 1);
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int l = 0; l < STATES; ++l) {
      all[l] = Op::about(first[l], count);
      typename Op::Second moved = Op::second();
      add_moved<Op>(moved, known.first[l], known.second[l], all[l], known.count);
      known.second[l] = moved;
    }
#pragma unroll
    for (int j = 0; j < COUNT; ++j) {
      open(raw[from + j], x);
      add_second_if<Op>(known.second, x, all, j < own);
      if constexpr (HOLDS) {
#pragma unroll
        for (int l = 0; l < L; ++l) raw[from + j].element[l] = x[l];
      }
    }
  }
  copy_lanes<STATES>(known.first, first);
  known.count = count;
}

// A piece of a block; groups have K parts, of which it has TURN in one turn.
template <int K, int TURN>
struct TeamPiece {
  static constexpr int kParts = K, kTurn = TURN;
  static constexpr int kMembers = K / TURN;  // blocks of a group
  static_assert(kMembers * TURN == K, "whole turns");
  int group, part;
  __device__ inline TeamPiece(int group, int part) : group(group), part(part) {}
  // The i-th piece of a block. Turns are dealt to blocks one after another: a group's members one
  // behind the other, or, BESIDE, for as many groups as run at once the first member of each, then
  // the second: what lies together in memory is fetched together.
  template <bool BESIDE>
  static __device__ inline TeamPiece of(int i, idx groups) {
    const u32 turn = blockIdx.x + (u32)(i / kTurn) * gridDim.x;
    const int within = i % kTurn;
    if constexpr (!BESIDE || kMembers == 1) {
      return TeamPiece((int)(turn / kMembers), (int)(turn % kMembers) * kTurn + within);
    } else {
      const u32 most = gridDim.x / kMembers, first = turn / (most * kMembers) * most;
      const u32 left = (u32)groups - first, beside = left < most ? left : most;
      const u32 rest = turn - first * kMembers;
      return TeamPiece((int)(first + rest % beside), (int)(rest / beside) * kTurn + within);
    }
  }
  __device__ inline int member() const { return part / kTurn; }
  // How many a block has.
  static __device__ inline int turns(idx groups) {
    const u32 all = (u32)groups * kMembers;
    return (int)((all + gridDim.x - 1 - blockIdx.x) / gridDim.x);
  }
};

// Rows of `size` elements, one behind the other. Each is a group, in K parts of as many accesses.
template <class S, int T, int L, int N, int K, int TURN>
struct TeamRows {
  typedef S Element;
  typedef TeamPiece<K, TURN> Piece;
  static constexpr bool kBeside = false;
  static constexpr int kThreads = T, kLanes = L, kAccesses = N, kStates = 1, kColumns = 1;
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
    if (full()) return T * N;
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
template <class Op, int T, int P, int HEARING, int SLOTS, int HELD>
struct TeamShared {
  static constexpr int kWarps = T / 32;
  u64 landed[SLOTS][kTeamBoxes], made[SLOTS][kTeamBoxes];
  // The first pieces, in registers: nothing is made in their slots before others come.
  u64 held[HELD - 1];
  u64 reduced[2];  // of two pieces in turns
  u64 told[kTeamRing], heard[kTeamRing];
  typename Op::Stat stat[kTeamRing][P];
  typename Op::First first[2][kWarps][P];
  typename Op::Second second[2][kWarps][P];

  __device__ inline void start_landed() {
    start_barriers(landed[0], SLOTS * kTeamBoxes, 1);
    show_barriers();
  }
  __device__ inline void start_others() {
    start_barriers(made[0], SLOTS * kTeamBoxes, kWarps);
    start_barriers(held, HELD - 1, kWarps);
    start_barriers(reduced, 2, kWarps);
    start_barriers(told, kTeamRing, 1);
    start_barriers(heard, kTeamRing, HEARING > 0 ? HEARING : 1);
    show_barriers();
  }
};

// PACE: boxes that a block of several has on their way at a time: none is to be served before
// another.
template <class Op, class G, int SLOTS, int HELD, int PACE>
struct Team {
  typedef typename G::Element S;
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  typedef typename Op::Stat Stat;
  static constexpr int T = G::kThreads, L = G::kLanes, N = G::kAccesses, P = G::kColumns;
  static constexpr int kStates = G::kStates, kAcross = G::kAcross;
  static constexpr int kWarps = T / 32, kBoxes = N / G::kBox;
  static constexpr int kSlot = T * N * L;  // elements
  typedef typename G::Piece Piece;
  static constexpr int kTurn = Piece::kTurn, kMembers = Piece::kMembers;
  // Who has all parts of a row knows all when it has told of them.
  static constexpr int kHearing = kMembers > 1 ? (P + 31) / 32 : 0;
  static constexpr int kPace = SLOTS * kBoxes < PACE ? SLOTS * kBoxes : PACE;
  // What is known of a column in 8 bytes instead of 16: the greatest of its elements, which has 16
  // bits, and a sum. Lanes then hear of two columns each, from half of the others. Columns are of
  // known sizes: each run writes all places.
  static constexpr bool kPacked = kHearing > 0 && Op::kCarries && sizeof(S) == 2 && P % 32 == 0;
  static constexpr int kToldWords = kPacked ? 1 : 2;
  static constexpr int kHeard = kPacked ? 2 : 1;             // columns of a lane
  static constexpr int kHearers = P < 32 ? 32 / P : kHeard;  // lanes of a column
  typedef TeamShared<Op, T, P, kHearing, SLOTS, HELD> Shared;
  typedef lanes_of<S, L> Raw;
  static constexpr bool kHolds = HoldsMade<Op, L, Raw>::value;
  static_assert(kBoxes * G::kBox == N && kBoxes <= kTeamBoxes, "whole boxes");
  static_assert(HELD % kTurn == 0 && HELD <= kTeamRing && HELD <= SLOTS,
                "whole turns in registers");

  // What a thread keeps of a piece until it is applied.
  struct Held {
    Raw raw[N];
    First own[kHolds ? kBoxes : 1][kStates];  // what those of a box are said of
  };

  const G& geometry;
  Shared& shared;
  S* const slots;
  u32* const number_place;  // of the run before
  u64* const told;
  const int pieces;  // of this block

  __device__ inline Team(const G& geometry, Shared& shared, S* slots, void* kept)
      : geometry(geometry),
        shared(shared),
        slots(slots),
        number_place((u32*)kept + blockIdx.x),
        told((u64*)((char*)kept + kTeamHeader)),
        pieces(Piece::turns(geometry.groups) * kTurn) {}

  __device__ inline u32 number() const { return *(const volatile u32*)number_place + 1; }
  __device__ inline Piece piece(int i) const {
    return Piece::template of<G::kBeside>(i, geometry.groups);
  }
  // Where a box of a slot begins.
  __device__ inline S* box_of(int slot, int box) const {
    return slots + slot * kSlot + box * (G::kBox * T * L);
  }

  // Results of piece i are made in the slot that the last piece in registers left. Behind the last
  // come pieces of nothing, which say that their slots are free.
  static constexpr int kAhead = HELD - 1;
  // By one thread.
  __device__ inline void bring(int i, int box) const {
    const int slot = i % SLOTS;
    u64* const landed = &shared.landed[slot][box];
    if (i >= pieces) return arrive(landed);
    const int before = i * kBoxes + box - kPace;
    if (kHearing > 0 && before >= 0) {
      const int former = before / kBoxes;
      wait_barrier(&shared.landed[former % SLOTS][before % kBoxes], former / SLOTS & 1);
    }
    geometry.bring(box_of(slot, box), piece(i), box, landed);
  }
  __device__ inline void bring_boxes(int from, int to) const {
    for (int n = from; n < to && n / kBoxes < pieces + kAhead; ++n) {
      bring(n / kBoxes, n % kBoxes);
    }
  }
  __device__ inline void bring_first() const { bring_boxes(0, kPace); }
  __device__ inline void move() const {
    bring_boxes(kPace, SLOTS * kBoxes);
    for (int k = 0; k < kAhead && k + SLOTS < pieces + kAhead; ++k) {
      wait_barrier(&shared.held[k], 0);
      for (int box = 0; box < kBoxes; ++box) bring(k + SLOTS, box);
    }
    for (int i = 0; i < pieces; ++i) {
      const int slot = (i + kAhead) % SLOTS, next = i + kAhead + SLOTS;
      const Piece at = piece(i);
      for (int box = 0; box < kBoxes; ++box) {
        wait_barrier(&shared.made[slot][box], i / SLOTS & 1);
        geometry.take_away(box_of(slot, box), at, box);
        if (next >= pieces + kAhead || box == 0) continue;
        wait_copies_out<1>();
        bring(next, box - 1);
      }
      if (next >= pieces + kAhead) continue;
      wait_copies_out<0>();
      bring(next, kBoxes - 1);
    }
    wait_copies_out<0>();
    // All of the block have read it: there are results.
    if (kHearing > 0) *(volatile u32*)number_place = number();
  }

  __device__ inline u64* place_of(const Piece& at, int member, int column) const {
    return told + (((i64)at.group * kMembers + member) * P + column) * kToldWords;
  }
  __device__ static inline void write(u64* place, const First& first, const Second& second,
                                      u32 number) {
    if constexpr (kPacked) {
      S greatest;
      narrow(&greatest, first.v);
      write_tagged(place, same_bits<u32>(second), same_bits<u16>(greatest), number);
    } else {
      write_tagged_pair(place, same_bits<u32>(first), same_bits<u32>(second), number);
    }
  }
  // What a pair says of the first or of the second column of a lane.
  __device__ static inline First first_of(const TaggedPair& pair, int column) {
    if constexpr (kPacked) {
      return {widen(same_bits<S>((u16)(column == 0 ? pair.first : pair.second)))};
    } else {
      return same_bits<First>((u32)pair.first);
    }
  }
  __device__ static inline Second second_of(const TaggedPair& pair, int column) {
    if constexpr (kPacked) {
      return same_bits<Second>((u32)((column == 0 ? pair.first : pair.second) >> 32));
    } else {
      return same_bits<Second>((u32)pair.second);
    }
  }
  __device__ static inline bool is_new(const TaggedPair& pair, u32 number) {
    return kPacked ? pair.has_half(number) : pair.has(number);
  }

  // By a warp: what the block knows of each piece. Its lanes have columns.
  template <class Done>
  __device__ inline void tell(Done done) const {
    const int lane = (int)threadIdx.x % 32;
    const u32 own = kHearing > 0 ? number() : 0;
    First former_first[(P + 31) / 32];
    Second former_second[(P + 31) / 32];
    for (int i = 0; i < pieces; ++i) {
      const Piece at = piece(i);
      const int side = i & 1, place = i % kTeamRing;
      const bool last = i % kTurn + 1 == kTurn;
      wait_barrier(&shared.reduced[side], i / 2 & 1);
      First of_row;
      Second second_of_row;
      if constexpr (P == 1) know_row(at, side, of_row, second_of_row);
      for (int column = lane; column < P; column += 32) {
        First first = of_row;
        Second second = second_of_row;
        if constexpr (P > 1) know(at, side, column, first, second);
        if constexpr (kTurn > 1) {
          const int within = i % kTurn;
          if (within > 0) {
            join<Op>(first, second, geometry.elements(at.part), former_first[column / 32],
                     former_second[column / 32], elements_before(at.part, within));
          }
          former_first[column / 32] = first;
          former_second[column / 32] = second;
          if (!last) continue;
        }
        if constexpr (kHearing > 0) {
          write(place_of(at, at.member(), column), first, second, own);
        } else {
          keep(i, column, first, second);
        }
      }
      __syncwarp();
      if (lane == 0) arrive(&shared.told[place]);
      if (kHearing > 0 || !last) continue;
      for (int warp = 0; warp * 32 < P; ++warp) report(at, place, warp, done);
      show_known(i);
    }
  }
  // Of a column, in the `count` parts before one.
  __device__ inline idx elements_before(int part, int count) const {
    idx elements = 0;
#pragma unroll
    for (int k = 1; k <= kTurn; ++k) elements += k <= count ? geometry.elements(part - k) : 0;
    return elements;
  }
  __device__ inline idx elements_of_member(int member) const {
    return elements_before((member + 1) * kTurn, kTurn);
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
      const First all = Op::about(first, geometry.elements(at.part));
#pragma unroll
      for (int warp = 0; warp < kWarps; ++warp) {
        add_moved<Op>(second, shared.first[side][warp][column], shared.second[side][warp][column],
                      all, geometry.elements_of_warp(at, warp));
      }
    }
  }
  // For all pieces of the turn that ends with piece i.
  __device__ inline void keep(int i, int column, const First& first, const Second& second) const {
    const Stat stat = Op::stat(Op::settle(first, geometry.size), second, geometry.size);
#pragma unroll
    for (int k = 0; k < kTurn; ++k) shared.stat[(i - k) % kTeamRing][column] = stat;
  }
  // By a warp that has kept what it knows.
  __device__ inline void show_known(int i) const {
    if ((int)threadIdx.x % 32 != 0) return;
    for (int k = kTurn; k-- > 0;) arrive(&shared.heard[(i - k) % kTeamRing]);
  }

  // By a warp: what is known of its columns of each piece.
  template <class Done>
  __device__ inline void hear(int warp, Done done) const {
    constexpr int kLanes = 32 / kHearers;  // that hear of different columns
    const int lane = (int)threadIdx.x % 32, column = warp * 32 + lane % kLanes * kHeard;
    const int first_member = kHearers == 1 ? 0 : lane / kLanes;
    const u32 own = number();
    for (int i = kTurn - 1; i < pieces; i += kTurn) {
      const Piece at = piece(i);
      const int place = i % kTeamRing;
      // Until then others are left to their work.
      wait_barrier(&shared.told[place], i / kTeamRing & 1);
      if (column < P) {
        Known<Op, kHeard> known;
        hear_of(at, column, first_member, own, known);
        for (int l = 0; l < kHeard && lane < kLanes; ++l) {
          keep(i, column + l, known.first[l], known.second[l]);
        }
      }
      __syncwarp();
      if (at.member() == 0) report(at, place, warp, done);
      show_known(i);
    }
  }
  // By lanes that hear of the same columns from `first_member` and others.
  __device__ inline void hear_of(const Piece& at, int column, int first_member, u32 own,
                                 Known<Op, kHeard>& known) const {
    constexpr int kEach = (kMembers + kHearers - 1) / kHearers;
    constexpr int kAtOnce = kEach < 16 ? kEach : 16;
    for (int from = 0; from < kEach; from += kAtOnce) {
      const int member = first_member + from * kHearers;
      // Of most it is known when this is compiled.
      auto has = [&](int k) {
        if (from + k >= kEach) return false;
        return kEach * kHearers == kMembers || member + k * kHearers < kMembers;
      };
      TaggedPair pairs[kAtOnce];
      hear_members(at, column, member, own, pairs, has);
      First before[kHeard];
      copy_lanes<kHeard>(before, known.first);
      const idx count = known.count;
#pragma unroll
      for (int k = 0; k < kAtOnce; ++k) {
        if (!has(k)) continue;
#pragma unroll
        for (int l = 0; l < kHeard; ++l) {
          known.first[l] = Op::merge_first(known.first[l], first_of(pairs[k], l));
        }
        known.count += elements_of_member(member + k * kHearers);
      }
      if constexpr (Op::kTwice) {
#pragma unroll
        for (int l = 0; l < kHeard; ++l) {
          const First all = Op::about(known.first[l], known.count);
          Second sum = Op::second();
          add_moved<Op>(sum, before[l], known.second[l], all, count);
#pragma unroll
          for (int k = 0; k < kAtOnce; ++k) {
            if (!has(k)) continue;
            add_moved<Op>(sum, first_of(pairs[k], l), second_of(pairs[k], l), all,
                          elements_of_member(member + k * kHearers));
          }
          known.second[l] = sum;
        }
      }
    }
    if constexpr (P == 1) {
      merge_parts<Op, 32>(known.first[0], known.second[0], known.count, geometry.size);
    } else {
      join_lanes(known, 32 / kHearers);
    }
  }
  // Looks again at all that have not told, until none is left.
  template <int COUNT, class Has>
  __device__ inline void hear_members(const Piece& at, int column, int member, u32 own,
                                      TaggedPair (&pairs)[COUNT], Has has) const {
    constexpr int kStep = kHearers * P * kToldWords;
    const u64* const place = place_of(at, member, column);
#pragma unroll
    for (int k = 0; k < COUNT; ++k) {
      if (has(k)) pairs[k].read(place + k * kStep);
    }
    while (true) {
      bool all = true;
#pragma unroll
      for (int k = 0; k < COUNT; ++k) all = all && (!has(k) || is_new(pairs[k], own));
      if (all) return;
      look_again_later();
#pragma unroll
      for (int k = 0; k < COUNT; ++k) {
        if (has(k) && !is_new(pairs[k], own)) pairs[k].read(place + k * kStep);
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

  // By the threads that compute. A piece goes to registers.
  __device__ inline void take(int i, Held& held) const {
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) take_box(i, box, held);
    if (i < kAhead) show_held(i);
  }
  __device__ inline void take_box(int i, int box, Held& held) const {
    const int slot = i % SLOTS;
    const S* const from = box_of(slot, box) + (int)threadIdx.x * L;
    wait_barrier(&shared.landed[slot][box], i / SLOTS & 1);
#pragma unroll
    for (int j = 0; j < G::kBox; ++j) {
      held.raw[box * G::kBox + j] = load_lanes<L>(from + j * T * L);
    }
  }
  __device__ inline void show_held(int i) const {
    __syncwarp();
    if (threadIdx.x % 32 == 0) arrive(&shared.held[i]);
  }
  // What each warp knows of it goes to the one that tells. If it was not `taken` before, a box is
  // added before the next one is waited for. Nothing branches: accesses that the thread has not are
  // read from the slot, whatever lies there, and left out; their results stay in the slot.
  template <class Open>
  __device__ inline void reduce(int i, bool taken, Held& held, Open open) const {
    const int count = geometry.own(piece(i));
    Known<Op, kStates> known;
#pragma unroll
    for (int box = 0; box < kBoxes; ++box) {
      if (!taken) take_box(i, box, held);
      add_box<G::kBox, kHolds, Op, L>(known, held.raw, box * G::kBox, count - box * G::kBox,
                                      held.own[kHolds ? box : 0], open);
    }
    if (!taken && i < kAhead) show_held(i);
    const int tid = (int)threadIdx.x, warp = tid / 32, side = i & 1;
    merge_lanes<kAcross>(known, geometry.elements_of_warp(piece(i), warp));
    if (i >= 2) wait_barrier(&shared.told[(i - 2) % kTeamRing], (i - 2) / kTeamRing & 1);
    if (tid % 32 < kAcross) {
#pragma unroll
      for (int l = 0; l < kStates; ++l) {
        shared.first[side][warp][tid % kAcross * kStates + l] = known.first[l];
        shared.second[side][warp][tid % kAcross * kStates + l] = known.second[l];
      }
    }
    __syncwarp();
    if (tid % 32 == 0) arrive(&shared.reduced[side]);
  }
  // It becomes its results.
  template <class Open, class Put>
  __device__ inline void apply(int i, const Held& held, Open open, Put put) const {
    const int tid = (int)threadIdx.x, slot = (i + kAhead) % SLOTS, ring = i % kTeamRing;
    const Piece at = piece(i);
    S* const own = slots + slot * kSlot + tid * L;
    wait_barrier(&shared.heard[ring], i / kTeamRing & 1);
    Stat stat[kStates];
    typename Op::Value carry[kStates];
#pragma unroll
    for (int l = 0; l < kStates; ++l) {
      stat[l] = shared.stat[ring][tid % kAcross * kStates + l];
    }
    const idx row = geometry.row(at, tid % kAcross);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      if (j % G::kBox == 0 && i + kAhead >= pieces) {
        wait_barrier(&shared.landed[slot][j / G::kBox], (i + kAhead) / SLOTS & 1);
      }
      if constexpr (kHolds) {
#pragma unroll
        for (int l = 0; l < kStates && j % G::kBox == 0; ++l) {
          carry[l] = Op::carry(held.own[j / G::kBox][l], stat[l].first);
        }
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
    Held held[HELD];
#pragma unroll 1
    for (int i = 0; i < pieces + HELD; i += HELD) {
#pragma unroll
      for (int turn = 0; turn < HELD; turn += kTurn) {
        // What is known of one is known of all of the turn: they need not wait for what is to be
        // known of the next.
#pragma unroll
        for (int k = turn; k < turn + kTurn; ++k) {
          const int done = i + k - HELD;
          if (done >= 0 && done < pieces) apply(done, held[k], open, put);
          if (k + 1 < turn + kTurn && i + k < pieces) take(i + k, held[k]);
        }
#pragma unroll
        for (int k = turn; k < turn + kTurn; ++k) {
          if (i + k < pieces) reduce(i + k, k + 1 < turn + kTurn, held[k], open);
        }
      }
    }
  }
};

// What a block's threads share; BYTES behind it the slots begin.
template <class Shared, int BYTES>
__device__ inline Shared& shared_of_team() {
  extern __shared__ __align__(128) char team_memory[];
  static_assert(sizeof(Shared) <= BYTES && BYTES % 128 == 0, "in front of the slots");
  return *(Shared*)team_memory;
}
// The block's barriers are started one after another by one thread, which takes 14 cycles each (and
// four times as long by the lanes of a warp); what it is to move first is on its way before most.
template <class Own>
__device__ inline void start_team(const Own& own, int mover) {
  if ((int)threadIdx.x == mover) {
    own.geometry.prepare();
    own.shared.start_landed();
    wait_for_former();
    own.bring_first();
    own.shared.start_others();
  } else {
    wait_for_former();
  }
  release_next();
  __syncthreads();
}

// put(row, k, x, stat, place) leaves what store() would store at `place`. `kept`: zeros before the
// first run, then what the run before left. BYTES of shared memory lie in front of the slots.
template <class Op, int BYTES, int SLOTS, int HELD, int PACE, class G, class Open, class Done,
          class Put>
__device__ inline void team(const G& geometry, void* kept, Open open, Done done, Put put) {
  typedef Team<Op, G, SLOTS, HELD, PACE> Own;
  auto& shared = shared_of_team<typename Own::Shared, BYTES>();
  const Own own(geometry, shared, (typename G::Element*)((char*)&shared + BYTES), kept);
  start_team(own, G::kThreads);
  const int role = (int)threadIdx.x < G::kThreads ? -1 : ((int)threadIdx.x - G::kThreads) / 32;
  if (role < 0) own.compute(open, put);
  if (role == 0 && threadIdx.x % 32 == 0) own.move();
  if (role == 1) own.tell(done);
  if constexpr (Own::kHearing > 0) {
    if (role >= 2 && role - 2 < Own::kHearing) own.hear(role - 2, done);
  }
}
