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

// The states of a row's blocks become one, which all threads of them get. Consecutive calls use
// different memory; behind the last one blocks stay until all have read theirs.
template <int T, int C, class S, class Merge>
__device__ inline S cluster_merge(S state, Merge merge, S* shared, S* mine) {
  state = group_merge<T>(state, merge, shared);
  if (threadIdx.x == 0) *mine = state;
  cluster_sync();
  state = *in_block(mine, (int)threadIdx.x % C);
  return warp_merge<C>(state, merge);
}

// T threads a block, N groups of L elements a thread: a row has at most C * T * N * L elements.
template <class Op, int T, int L, int N, int C, class Raw, class Fetch, class Open, class Done,
          class Store>
__device__ inline void row_cluster(idx size, Fetch fetch, Open open, Done done, Store store) {
  __shared__ typename Op::First shared_first[32];
  __shared__ typename Op::Second shared_second[32];
  const idx row = (idx)blockIdx.x / C;
  const int start = ((int)blockIdx.x % C * T + (int)threadIdx.x) * L;
  Raw raw[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const idx k = start + i * (C * T * L);
    if (k < size) fetch(row, k, raw[i]);
  }
  typename Op::Value x[L];
  typename Op::First first = Op::first();
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const idx k = start + i * (C * T * L);
    if (k >= size) continue;
    open(raw[i], x);
    add_lanes<Op, L>(first, x, k);
  }
  first = cluster_merge<T, C>(first, RowMerge<Op>(), shared_first,
                              cluster_states<typename Op::First>(0));
  first = Op::settle(first, size);
  typename Op::Second second = Op::second();
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (start + i * (C * T * L) >= size) continue;
      open(raw[i], x);
      add_second_lanes<Op, L>(second, x, first);
    }
    second = cluster_merge<T, C>(second, RowMerge<Op>(), shared_second,
                                 cluster_states<typename Op::Second>(1));
  }
  cluster_arrive();
  const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
  if (start == 0) done(row, stat);
  if constexpr (Op::kApplies) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const idx k = start + i * (C * T * L);
      if (k >= size) continue;
      open(raw[i], x);
      transform_lanes<Op, L>(x, first);
      store(row, k, x, stat);
    }
  }
  __syncwarp();
  cluster_wait();
}

// The same for each of X * L columns; `shared` is for merge_columns().
template <int X, int Y, int L, int C, class S, class Merge>
__device__ inline void merge_columns_of_cluster(S (&state)[L], Merge merge, S* shared, S* mine) {
  merge_columns<X, Y, L>(state, merge, shared);
  const int x = (int)threadIdx.x % X;
  if ((int)threadIdx.x < X) {
#pragma unroll
    for (int l = 0; l < L; ++l) mine[l * X + x] = state[l];
  }
  cluster_sync();
  for (int i = (int)threadIdx.x; i < X * L; i += X * Y) {
    S one = *in_block(mine + i, 0);
#pragma unroll 4
    for (int c = 1; c < C; ++c) one = merge(one, *in_block(mine + i, c));
    shared[i] = one;
  }
  __syncthreads();
#pragma unroll
  for (int l = 0; l < L; ++l) state[l] = shared[l * X + x];
}

// X threads side by side, Y along a column, of which a block holds Y * N elements.
template <class Op, int X, int Y, int L, int N, int C, class Raw, class Fetch, class Open,
          class Done, class Store>
__device__ inline void column_cluster(idx rows, idx size, Fetch fetch, Open open, Done done,
                                      Store store) {
  static_assert(ColumnStates<X, Y, L>::kGroups > 1, "a block of several warps");
  constexpr int kStates = ColumnStates<X, Y, L>::kCount;
  __shared__ typename Op::First shared_first[kStates];
  __shared__ typename Op::Second shared_second[Op::kTwice ? kStates : 1];
  const idx column = ((idx)(blockIdx.x / C) * X + (int)threadIdx.x % X) * L;
  const int start = (int)blockIdx.x % C * Y + (int)threadIdx.x / X;
  const idx end = column < rows ? size : 0;
  Raw raw[N];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const idx k = start + i * (C * Y);
    if (k < end) fetch(column, k, raw[i]);
  }
  typename Op::Value x[L];
  typename Op::First first[L];
  typename Op::Second second[L];
  clear_each<Op, L>(first, second);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const idx k = start + i * (C * Y);
    if (k >= end) continue;
    open(raw[i], x);
    add_each<Op, L>(first, x, k);
  }
  merge_columns_of_cluster<X, Y, L, C>(first, RowMerge<Op>(), shared_first,
                                       cluster_states<typename Op::First>(0));
  settle_each<Op, L>(first, size);
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (start + i * (C * Y) >= end) continue;
      open(raw[i], x);
      add_second_to_each<Op, L>(second, x, first);
    }
    merge_columns_of_cluster<X, Y, L, C>(second, RowMerge<Op>(), shared_second,
                                         cluster_states<typename Op::Second>(X * L));
  }
  cluster_arrive();
  if (column < rows) {
    typename Op::Stat stat[L];
    column_stats<Op, L>(stat, first, second, size);
    if (start == 0) done(column, stat);
    if constexpr (Op::kApplies) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const idx k = start + i * (C * Y);
        if (k >= end) continue;
        open(raw[i], x);
        transform_each<Op, L>(x, first);
        store(column, k, x, stat);
      }
    }
  }
  __syncwarp();
  cluster_wait();
}
