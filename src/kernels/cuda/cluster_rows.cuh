// SPDX-License-Identifier: Apache-2.0
// Long rows and columns that are read once: the blocks of a cluster (sm_90 and later) hold one
// together in their registers, as it lies in memory, and exchange their states through each
// other's shared memory. (Reading the
// next one meanwhile leaves registers for half the threads, and an H100 was slower with it.) Ops
// are those of rows.cuh, columns those of columns.cuh; a cluster has C blocks, a power of two, side
// by side in the grid, and dynamic shared memory for what the others read: two states for each of
// its rows.
constexpr int kClusterStateBytes = 16;

template <class S>
__device__ inline S* cluster_states(int at) {
  extern __shared__ __align__(16) char cluster_memory[];
  static_assert(sizeof(S) <= kClusterStateBytes, "a state of at most 16 bytes");
  return (S*)(cluster_memory + at * kClusterStateBytes);
}

// T threads a block, N groups of L elements a thread: a row has at most C * T * N * L elements.
template <class Op, int T, int L, int N, int C, class Raw, class Fetch, class Open, class Done,
          class Store>
__device__ inline void row_cluster(idx size, Fetch fetch, Open open, Done done, Store store) {
  constexpr bool kHolds = HoldsMade<Op, L, Raw>::value;
  __shared__ typename Op::First shared_first[32];
  __shared__ typename Op::Second shared_second[32];
  const idx row = (idx)blockIdx.x / C;
  const int rank = (int)blockIdx.x % C;
  const int start = (rank * T + (int)threadIdx.x) * L;
  // Where all is full it is known so, and nothing branches.
  const bool full = size == C * T * L * N;
  auto place = [&](int i) { return start + i * (C * T * L); };
  auto has = [&](int i) { return full || place(i) < size; };
  Raw raw[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (has(i)) fetch(row, place(i), raw[i]);
  }
  typename Op::Value x[L], made[kHolds ? N : 1][L];
  typename Op::First first = Op::first();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (!has(i)) continue;
    open(raw[i], x);
    add_lanes<Op, L>(first, x, place(i));
  }
  first = group_merge<T>(first, RowMerge<Op>(), shared_first);
  const typename Op::First own = Op::settle(first, count_of_part<C, T * L>(size, rank));
  typename Op::Second second = Op::second();
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!has(i)) continue;
      open(raw[i], x);
      add_second_lanes<Op, L>(second, x, own);
      if constexpr (kHolds) copy_lanes<L>(made[i], x);
    }
    second = group_merge<T>(second, RowMerge<Op>(), shared_second);
  }
  typename Op::First* const its_first = cluster_states<typename Op::First>(0);
  typename Op::Second* const its_second = cluster_states<typename Op::Second>(1);
  if (threadIdx.x == 0) {
    *its_first = first;
    *its_second = second;
  }
  cluster_sync();
  const int other = (int)threadIdx.x % C;
  first = *in_block(its_first, other);
  second = *in_block(its_second, other);
  merge_parts<Op, C>(first, second, count_of_part<C, T * L>(size, other), size);
  first = Op::settle(first, size);
  cluster_arrive();
  const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
  typename Op::Value carry = 1;
  if constexpr (kHolds) carry = Op::carry(own, first);
  if (start == 0) done(row, stat);
  if constexpr (Op::kApplies) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!has(i)) continue;
      if constexpr (kHolds) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] = made[i][l] * carry;
      } else {
        open(raw[i], x);
        transform_lanes<Op, L>(x, first);
      }
      store(row, place(i), x, stat);
    }
  }
  __syncwarp();
  cluster_wait();
}

// The same for each of the X * L columns of a cluster, of which the block's states lie in
// `its_first` and `its_second`; all threads get them in `shared_first` and `shared_second`.
template <class Op, int X, int Y, int L, int C>
__device__ inline void merge_columns_of_blocks(const typename Op::First* its_first,
                                               const typename Op::Second* its_second,
                                               typename Op::First* shared_first,
                                               typename Op::Second* shared_second, idx size) {
  constexpr int kColumns = X * L;
  for (int i = (int)threadIdx.x; i < (kColumns * C + 31) / 32 * 32; i += X * Y) {
    const int other = i % C, column = i / C < kColumns ? i / C : kColumns - 1;
    typename Op::First first = *in_block(its_first + column, other);
    typename Op::Second second = *in_block(its_second + column, other);
    merge_parts<Op, C>(first, second, count_of_part<C, Y>(size, other), size);
    first = Op::settle(first, size);
    if (other == 0) {
      shared_first[column] = first;
      shared_second[column] = second;
    }
  }
  __syncthreads();
}

// X threads side by side, Y along a column, of which a block holds Y * N elements.
template <class Op, int X, int Y, int L, int N, int C, class Raw, class Fetch, class Open,
          class Done, class Store>
__device__ inline void column_cluster(idx rows, idx size, Fetch fetch, Open open, Done done,
                                      Store store) {
  static_assert(ColumnStates<X, Y, L>::kGroups > 1, "a block of several warps");
  constexpr int kStates = ColumnStates<X, Y, L>::kCount;
  constexpr bool kHolds = HoldsMade<Op, L, Raw>::value;
  __shared__ typename Op::First shared_first[kStates];
  __shared__ typename Op::Second shared_second[kStates];
  const idx column = ((idx)(blockIdx.x / C) * X + (int)threadIdx.x % X) * L;
  const int rank = (int)blockIdx.x % C;
  const int start = rank * Y + (int)threadIdx.x / X;
  const bool full = size == C * Y * N && rows % (X * L) == 0;
  const bool exists = full || column < rows;
  auto place = [&](int i) { return start + i * (C * Y); };
  auto has = [&](int i) { return full || (exists && place(i) < size); };
  Raw raw[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (has(i)) fetch(column, place(i), raw[i]);
  }
  typename Op::Value x[L], made[kHolds ? N : 1][L];
  typename Op::First first[L], own[L];
  typename Op::Second second[L];
  clear_each<Op, L>(first, second);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (!has(i)) continue;
    open(raw[i], x);
    add_each<Op, L>(first, x, place(i));
  }
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
#pragma unroll
  for (int l = 0; l < L; ++l) own[l] = Op::settle(first[l], count_of_part<C, Y>(size, rank));
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (!has(i)) continue;
      open(raw[i], x);
      add_second_to_each<Op, L>(second, x, own);
      if constexpr (kHolds) copy_lanes<L>(made[i], x);
    }
    merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
  }
  typename Op::First* const its_first = cluster_states<typename Op::First>(0);
  typename Op::Second* const its_second = cluster_states<typename Op::Second>(X * L);
  if ((int)threadIdx.x < X) {
#pragma unroll
    for (int l = 0; l < L; ++l) {
      its_first[(int)threadIdx.x * L + l] = first[l];
      its_second[(int)threadIdx.x * L + l] = second[l];
    }
  }
  cluster_sync();
  merge_columns_of_blocks<Op, X, Y, L, C>(its_first, its_second, shared_first, shared_second, size);
  cluster_arrive();
#pragma unroll
  for (int l = 0; l < L; ++l) {
    first[l] = shared_first[(int)threadIdx.x % X * L + l];
    second[l] = shared_second[(int)threadIdx.x % X * L + l];
  }
  if (exists) {
    typename Op::Stat stat[L];
    column_stats<Op, L>(stat, first, second, size);
    typename Op::Value carry[L];
    if constexpr (kHolds) {
#pragma unroll
      for (int l = 0; l < L; ++l) carry[l] = Op::carry(own[l], first[l]);
    }
    if (start == 0) done(column, stat);
    if constexpr (Op::kApplies) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (!has(i)) continue;
        if constexpr (kHolds) {
#pragma unroll
          for (int l = 0; l < L; ++l) x[l] = made[i][l] * carry[l];
        } else {
          open(raw[i], x);
          transform_each<Op, L>(x, first);
        }
        store(column, place(i), x, stat);
      }
    }
  }
  __syncwarp();
  cluster_wait();
}
