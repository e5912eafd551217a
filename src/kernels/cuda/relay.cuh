// SPDX-License-Identifier: Apache-2.0
// Rows and columns that are longer than what blocks hold in registers, in one kernel that fetches
// them from memory once: while a few groups of rows are behind the first pass, which makes their
// statistics, and before the second, which applies them, the L2 has them. A group is a row, or
// columns side by side. Blocks take tickets, in whose order the parts of group g come in the first
// pass and those of group g - lag in the second; a part of the second pass waits only for tickets
// before its own, whose blocks run, so any number of blocks may be there at once. The block that
// ends a group's first pass merges the states of its parts, in their order.
//
// Beside what rows.cuh says: moved(second, from, to, count) is a part's second state, of `count`
// elements, as if it had been summed with the first state `to`.

template <class Op>
struct RelayMemory {
  u32* ticket;
  u32* arrived;  // of a group: its parts that are done, and one for the merged states
  typename Op::First *part_first, *first;
  typename Op::Second *part_second, *second;

  // `width`: rows of a group.
  __device__ inline RelayMemory(void* memory, idx groups, int parts, int width) {
    const i64 states = (i64)groups * width;
    ticket = (u32*)memory;
    arrived = ticket + 1;
    char* place = (char*)memory + (i64)(groups + 4) / 4 * 16;
    auto take = [&](i64 bytes) {
      char* taken = place;
      place += (bytes + 15) / 16 * 16;
      return taken;
    };
    part_first = (typename Op::First*)take(states * parts * sizeof(typename Op::First));
    part_second = (typename Op::Second*)take(states * parts * sizeof(typename Op::Second));
    first = (typename Op::First*)take(states * sizeof(typename Op::First));
    second = (typename Op::Second*)take(states * sizeof(typename Op::Second));
  }
};

template <int T>
__device__ inline void relay_reset(idx groups, void* memory) {
  const idx i = (idx)blockIdx.x * T + (int)threadIdx.x;
  if (i <= groups) ((u32*)memory)[i] = 0;
}

struct RelayTurn {
  idx group;
  int part;
  bool applies, exists;
  __device__ inline RelayTurn(u32 ticket, idx groups, int parts, int lag) {
    const int in_step = (int)(ticket % (u32)(2 * parts));
    const idx step = (idx)(ticket / (u32)(2 * parts));
    applies = in_step >= parts;
    part = applies ? in_step - parts : in_step;
    group = applies ? step - lag : step;
    exists = group >= 0 && group < groups;
  }
};

// Whether the block is the last of `count` to come here; that one can read what the others wrote.
__device__ inline bool arrives_last(u32* arrived, int count) {
  __shared__ int last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(arrived, 1u) == (u32)(count - 1);
    __threadfence();
  }
  __syncthreads();
  return last != 0;
}

// What the block wrote can be read by those who wait for this.
__device__ inline void announce(u32* arrived) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(arrived, 1u);
  }
}

__device__ inline void await(const u32* arrived, int count) {
  if (threadIdx.x == 0) {
    while (*(const volatile u32*)arrived < (u32)count) {
#ifdef REDLINE_EMULATED
      emulated_yield();
#endif
    }
    __threadfence();
  }
  __syncthreads();
}

// What other blocks wrote, past the caches that do not see it.
template <int N, class S>
__device__ inline void read_fresh(S (&states)[N], const S* from) {
#ifdef REDLINE_EMULATED
  for (int i = 0; i < N; ++i) states[i] = from[i];
#else
  constexpr int kBytes = N * (int)sizeof(S);
  union Both {
    u32 words[kBytes / 4];
    S states[N];
    __device__ inline Both() {}
  } both;
  if constexpr (kBytes % 16 == 0) {
#pragma unroll
    for (int i = 0; i < kBytes / 16; ++i) {
      asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(both.words[4 * i]), "=r"(both.words[4 * i + 1]),
                     "=r"(both.words[4 * i + 2]), "=r"(both.words[4 * i + 3])
                   : "l"((const char*)from + 16 * i)
                   : "memory");
    }
  } else {
#pragma unroll
    for (int i = 0; i < kBytes / 4; ++i) {
      asm volatile("ld.global.cg.u32 %0, [%1];"
                   : "=r"(both.words[i])
                   : "l"((const char*)from + 4 * i)
                   : "memory");
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) states[i] = both.states[i];
#endif
}

// Calls work(turn) for each ticket until all are taken; the next is fetched meanwhile.
template <class Work>
__device__ inline void take_turns(u32* ticket, idx groups, int parts, int lag, Work work) {
  __shared__ u32 shared_ticket[2];
  const u32 end = (u32)(groups + lag) * (u32)(2 * parts);
  if (threadIdx.x == 0) shared_ticket[1] = atomicAdd(ticket, 1u);
  __syncthreads();
  u32 mine = shared_ticket[1];
#pragma unroll 1
  for (int side = 0; mine < end; side ^= 1) {
    u32 next = 0;
    if (threadIdx.x == 0) next = atomicAdd(ticket, 1u);
    const RelayTurn turn(mine, groups, parts, lag);
    if (turn.exists) work(turn);
    if (threadIdx.x == 0) shared_ticket[side] = next;
    __syncthreads();
    mine = shared_ticket[side];
  }
}

// A group is a row, a part T * N * L elements of it.
template <class Op, int T, int L, int N, class Raw, class Fetch, class Open, class Done,
          class Store>
__device__ inline void row_relay(idx rows, idx size, int parts, int lag, void* memory, Fetch fetch,
                                 Open open, Done done, Store store) {
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  __shared__ First shared_first[2][32];
  __shared__ Second shared_second[2][32];
  constexpr idx kPart = T * N * L;
  const RelayMemory<Op> states(memory, rows, parts, 1);
  auto count_of = [&](int part) {
    return size - part * kPart < kPart ? size - part * kPart : kPart;
  };
  take_turns(states.ticket, rows, parts, lag, [&](const RelayTurn& turn) {
    const idx row = turn.group;
    const idx begin = turn.part * kPart + (int)threadIdx.x * L;
    const idx end = turn.part * kPart + count_of(turn.part);
    u32* const arrived = states.arrived + row;
    Raw raw[N];
    typename Op::Value x[L];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (begin + i * T * L < end) fetch(row, begin + i * T * L, raw[i]);
    }
    First first[1] = {Op::first()};
    Second second[1] = {Op::second()};
    if (turn.applies) {
      await(arrived, parts + 1);
      read_fresh<1>(first, states.first + row);
      read_fresh<1>(second, states.second + row);
      const typename Op::Stat stat[1] = {Op::stat(first[0], second[0], size)};
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const idx k = begin + i * T * L;
        if (k >= end) continue;
        open(raw[i], x);
        transform_lanes<Op, L>(x, first[0]);
        store(row, k, x, stat);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (begin + i * T * L >= end) continue;
      open(raw[i], x);
      add_lanes<Op, L>(first[0], x, begin + i * T * L);
    }
    first[0] = group_merge<T>(first[0], RowMerge<Op>(), shared_first[0]);
    if constexpr (Op::kTwice) {
      const First settled = Op::settle(first[0], count_of(turn.part));
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (begin + i * T * L >= end) continue;
        open(raw[i], x);
        add_second_lanes<Op, L>(second[0], x, settled);
      }
      second[0] = group_merge<T>(second[0], RowMerge<Op>(), shared_second[0]);
    }
    if (threadIdx.x == 0) {
      states.part_first[row * parts + turn.part] = first[0];
      states.part_second[row * parts + turn.part] = second[0];
    }
    if (!arrives_last(arrived, parts)) return;
    first[0] = Op::first();
    second[0] = Op::second();
    for (int p = (int)threadIdx.x; p < parts; p += T) {
      First one[1];
      read_fresh<1>(one, states.part_first + row * parts + p);
      first[0] = Op::merge_first(first[0], one[0]);
    }
    first[0] = Op::settle(group_merge<T>(first[0], RowMerge<Op>(), shared_first[1]), size);
    if constexpr (Op::kTwice) {
      for (int p = (int)threadIdx.x; p < parts; p += T) {
        First from[1];
        Second one[1];
        read_fresh<1>(from, states.part_first + row * parts + p);
        read_fresh<1>(one, states.part_second + row * parts + p);
        const First settled = Op::settle(from[0], count_of(p));
        second[0] = Op::merge_second(second[0], Op::moved(one[0], settled, first[0], count_of(p)));
      }
      second[0] = group_merge<T>(second[0], RowMerge<Op>(), shared_second[1]);
    }
    if (threadIdx.x == 0) {
      states.first[row] = first[0];
      states.second[row] = second[0];
      const typename Op::Stat stat[1] = {Op::stat(first[0], second[0], size)};
      done(row, stat);
    }
    announce(arrived);
  });
}

// A group is X * L columns side by side, a part Y * N elements of each.
template <class Op, int X, int Y, int L, int N, class Raw, class Fetch, class Open, class Done,
          class Store>
__device__ inline void column_relay(idx rows, idx size, int parts, int lag, void* memory,
                                    Fetch fetch, Open open, Done done, Store store) {
  typedef typename Op::First First;
  typedef typename Op::Second Second;
  __shared__ First shared_first[ColumnStates<X, Y, L>::kCount];
  __shared__ Second shared_second[Op::kTwice ? ColumnStates<X, Y, L>::kCount : 1];
  constexpr int kPart = Y * N, kWidth = X * L;
  const int inner = (int)threadIdx.x % X * L, y = (int)threadIdx.x / X;
  const idx groups = (rows + kWidth - 1) / kWidth;
  const RelayMemory<Op> states(memory, groups, parts, kWidth);
  auto count_of = [&](int part) {
    return size - (idx)part * kPart < kPart ? size - (idx)part * kPart : (idx)kPart;
  };
  take_turns(states.ticket, groups, parts, lag, [&](const RelayTurn& turn) {
    const idx column = turn.group * kWidth + inner;
    const idx begin = (idx)turn.part * kPart;
    const idx end = column < rows ? begin + count_of(turn.part) : begin;
    u32* const arrived = states.arrived + turn.group;
    Raw raw[N];
    typename Op::Value x[L];
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (begin + i * Y + y < end) fetch(column, begin + i * Y + y, raw[i]);
    }
    First first[L];
    Second second[L];
    if (turn.applies) {
      await(arrived, parts + 1);
      if (column >= rows) return;
      read_fresh<L>(first, states.first + column);
      read_fresh<L>(second, states.second + column);
      typename Op::Stat stat[L];
      column_stats<Op, L>(stat, first, second, size);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const idx k = begin + i * Y + y;
        if (k >= end) continue;
        open(raw[i], x);
        transform_each<Op, L>(x, first);
        store(column, k, x, stat);
      }
      return;
    }
    clear_each<Op, L>(first, second);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const idx k = begin + i * Y + y;
      if (k >= end) continue;
      open(raw[i], x);
      add_each<Op, L>(first, x, k);
    }
    merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
    if constexpr (Op::kTwice) {
      First settled[L];
#pragma unroll
      for (int l = 0; l < L; ++l) settled[l] = Op::settle(first[l], count_of(turn.part));
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (begin + i * Y + y >= end) continue;
        open(raw[i], x);
        add_second_to_each<Op, L>(second, x, settled);
      }
      merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
    }
    const i64 of_group = (i64)turn.group * parts * kWidth + inner;
    if (y == 0) {
#pragma unroll
      for (int l = 0; l < L; ++l) {
        states.part_first[of_group + turn.part * kWidth + l] = first[l];
        states.part_second[of_group + turn.part * kWidth + l] = second[l];
      }
    }
    if (!arrives_last(arrived, parts)) return;
    clear_each<Op, L>(first, second);
#pragma unroll 2
    for (int p = y; p < parts; p += Y) {
      First one[L];
      read_fresh<L>(one, states.part_first + of_group + p * kWidth);
#pragma unroll
      for (int l = 0; l < L; ++l) first[l] = Op::merge_first(first[l], one[l]);
    }
    merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
    settle_each<Op, L>(first, size);
    if constexpr (Op::kTwice) {
#pragma unroll 2
      for (int p = y; p < parts; p += Y) {
        First from[L];
        Second one[L];
        read_fresh<L>(from, states.part_first + of_group + p * kWidth);
        read_fresh<L>(one, states.part_second + of_group + p * kWidth);
#pragma unroll
        for (int l = 0; l < L; ++l) {
          const First settled = Op::settle(from[l], count_of(p));
          second[l] =
              Op::merge_second(second[l], Op::moved(one[l], settled, first[l], count_of(p)));
        }
      }
      merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
    }
    if (y == 0) {
#pragma unroll
      for (int l = 0; l < L; ++l) {
        states.first[turn.group * kWidth + inner + l] = first[l];
        states.second[turn.group * kWidth + inner + l] = second[l];
      }
      if (column < rows) {
        typename Op::Stat stat[L];
        column_stats<Op, L>(stat, first, second, size);
        done(column, stat);
      }
    }
    announce(arrived);
  });
}
