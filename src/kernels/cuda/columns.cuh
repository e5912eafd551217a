// SPDX-License-Identifier: Apache-2.0
// Reductions whose elements are not neighbours: the L lanes of a thread belong to L rows that lie
// side by side ("columns"). Ops are those of rows.cuh; done and store get a stat for each lane.
// Threads: X side by side, Y along a column, threadIdx.x = y * X + x; at least a warp.

// What merge_columns wants of shared memory, in states.
template <int X, int Y, int L>
struct ColumnStates {
  static constexpr int kDown = X < 32 ? 32 / X : 1;  // of a column's threads in one warp
  static constexpr int kAcross = X * L;
  static constexpr int kGroups = Y / kDown;
  static constexpr int kCount = kGroups > 1 ? kGroups* kAcross : 1;
};

// The states of a column's threads become one, which all of them get.
template <int X, int Y, int L, class S, class Merge>
__device__ inline void merge_columns(S (&state)[L], Merge merge, S* shared) {
  typedef ColumnStates<X, Y, L> States;
  const int x = (int)threadIdx.x % X, y = (int)threadIdx.x / X;
#pragma unroll
  for (int by = X; by < 32; by *= 2) {
#pragma unroll
    for (int l = 0; l < L; ++l) state[l] = merge(state[l], shuffle_xor(state[l], by));
  }
  if constexpr (States::kGroups > 1) {
    if (y % States::kDown == 0) {
#pragma unroll
      for (int l = 0; l < L; ++l) {
        shared[(y / States::kDown) * States::kAcross + l * X + x] = state[l];
      }
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < States::kAcross; i += X * Y) {
      S one = shared[i];
#pragma unroll 8
      for (int g = 1; g < States::kGroups; ++g) one = merge(one, shared[g * States::kAcross + i]);
      shared[i] = one;
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < L; ++l) state[l] = shared[l * X + x];
  }
}

// What is done for each lane, whose row is its own.
template <class Op, int L>
__device__ inline void clear_each(typename Op::First (&first)[L],
                                  typename Op::Second (&second)[L]) {
#pragma unroll
  for (int l = 0; l < L; ++l) {
    first[l] = Op::first();
    second[l] = Op::second();
  }
}
template <class Op, int L>
__device__ inline void add_each(typename Op::First (&first)[L], const typename Op::Value (&x)[L],
                                idx k) {
#pragma unroll
  for (int l = 0; l < L; ++l) Op::add(first[l], x[l], k);
}
template <class Op, int L>
__device__ inline void settle_each(typename Op::First (&first)[L], idx size) {
#pragma unroll
  for (int l = 0; l < L; ++l) first[l] = Op::settle(first[l], size);
}
template <class Op, int L>
__device__ inline void transform_each(typename Op::Value (&x)[L],
                                      const typename Op::First (&first)[L]) {
  if constexpr (Op::kInPlace) {
#pragma unroll
    for (int l = 0; l < L; ++l) x[l] = Op::transform(x[l], first[l]);
  }
}

// Every Y-th element of a column in [from, end), U reads before the first is used.
template <class Op, int X, int Y, int L, int U, class Raw, class Fetch, class Open>
__device__ inline void columns_first(typename Op::First (&first)[L], idx column, idx from, idx end,
                                     Fetch fetch, Open open) {
  auto add = [&](const Raw& raw, idx k) {
    typename Op::Value x[L];
    open(raw, x);
    add_each<Op, L>(first, x, k);
  };
#pragma unroll
  for (int l = 0; l < L; ++l) first[l] = Op::first();
  idx k = from + (int)threadIdx.x / X;
  Raw raw[U];
#pragma unroll 1
  for (; k + (U - 1) * Y < end; k += U * Y) {
#pragma unroll
    for (int u = 0; u < U; ++u) fetch(column, k + u * Y, raw[u]);
#pragma unroll
    for (int u = 0; u < U; ++u) add(raw[u], k + u * Y);
  }
#pragma unroll
  for (int u = 0; u < U - 1; ++u) {
    if (k + u * Y < end) fetch(column, k + u * Y, raw[u]);
  }
#pragma unroll
  for (int u = 0; u < U - 1; ++u) {
    if (k + u * Y < end) add(raw[u], k + u * Y);
  }
}

template <class Op, int L>
__device__ inline void column_stats(typename Op::Stat (&stat)[L],
                                    const typename Op::First (&first)[L],
                                    const typename Op::Second (&second)[L], idx size) {
#pragma unroll
  for (int l = 0; l < L; ++l) stat[l] = Op::stat(first[l], second[l], size);
}

// Columns of at most Y * N elements, which are read once.
template <class Op, int X, int Y, int L, int N, class Load, class Done, class Store>
__device__ inline void columns_in_registers(idx rows, idx size, Load load, Done done, Store store) {
  __shared__ typename Op::First shared_first[ColumnStates<X, Y, L>::kCount];
  __shared__ typename Op::Second shared_second[Op::kTwice ? ColumnStates<X, Y, L>::kCount : 1];
  const idx column = ((idx)blockIdx.x * X + (int)threadIdx.x % X) * L;
  const int y = (int)threadIdx.x / X;
  const idx end = column < rows ? size : 0;
  typename Op::Value x[N][L];
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i * Y + y < end) load(column, i * Y + y, x[i]);
  }
  typename Op::First first[L];
  typename Op::Second second[L];
  clear_each<Op, L>(first, second);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if (i * Y + y < end) add_each<Op, L>(first, x[i], i * Y + y);
  }
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
  settle_each<Op, L>(first, size);
  if constexpr (Op::kTwice) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i * Y + y < end) add_second_to_each<Op, L>(second, x[i], first);
    }
    merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
  }
  if (column >= rows) return;
  typename Op::Stat stat[L];
  column_stats<Op, L>(stat, first, second, size);
  if (y == 0) done(column, stat);
  if constexpr (Op::kApplies) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (i * Y + y < end) store(column, i * Y + y, x[i], stat);
    }
  }
}

// Of any length: read once for each statistic, U elements at once, and once to apply them.
template <class Op, int X, int Y, int L, int U, class Raw, class Fetch, class Open, class Done,
          class Store>
__device__ inline void columns(idx rows, idx size, Fetch fetch, Open open, Done done, Store store) {
  __shared__ typename Op::First shared_first[ColumnStates<X, Y, L>::kCount];
  __shared__ typename Op::Second shared_second[Op::kTwice ? ColumnStates<X, Y, L>::kCount : 1];
  const idx column = ((idx)blockIdx.x * X + (int)threadIdx.x % X) * L;
  const int y = (int)threadIdx.x / X;
  const idx end = column < rows ? size : 0;
  typename Op::First first[L];
  columns_first<Op, X, Y, L, U, Raw>(first, column, 0, end, fetch, open);
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
  settle_each<Op, L>(first, size);
  typename Op::Second second[L];
#pragma unroll
  for (int l = 0; l < L; ++l) second[l] = Op::second();
  if constexpr (Op::kTwice) {
#pragma unroll Op::kUnroll
    for (idx k = y; k < end; k += Y) {
      Raw raw;
      typename Op::Value x[L];
      fetch(column, k, raw);
      open(raw, x);
      add_second_to_each<Op, L>(second, x, first);
    }
    merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
  }
  if (column >= rows) return;
  typename Op::Stat stat[L];
  column_stats<Op, L>(stat, first, second, size);
  if (y == 0) done(column, stat);
  if constexpr (Op::kApplies) {
#pragma unroll Op::kUnroll
    for (idx k = y; k < end; k += Y) {
      Raw raw;
      typename Op::Value x[L];
      fetch(column, k, raw);
      open(raw, x);
      transform_each<Op, L>(x, first);
      store(column, k, x, stat);
    }
  }
}

// Long columns, each divided among `parts` rows of blocks: block = part * blocks a row + x. Their
// states lie in memory, those of a part together.
template <class Op, int X, int Y, int L, int U, class Raw, class Fetch, class Open>
__device__ inline void column_parts_first(idx rows, idx size, int parts, void* memory, Fetch fetch,
                                          Open open) {
  __shared__ typename Op::First shared[ColumnStates<X, Y, L>::kCount];
  const int across = (int)gridDim.x / parts;
  const idx part = (int)blockIdx.x / across;
  const idx column = ((idx)((int)blockIdx.x % across) * X + (int)threadIdx.x % X) * L;
  const idx length = (size + parts - 1) / parts;
  const idx end = part * length + length < size ? part * length + length : size;
  typename Op::First first[L];
  columns_first<Op, X, Y, L, U, Raw>(first, column, part * length, column < rows ? end : 0, fetch,
                                     open);
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared);
  if (column >= rows || (int)threadIdx.x / X > 0) return;
#pragma unroll
  for (int l = 0; l < L; ++l) ((typename Op::First*)memory)[part * rows + column + l] = first[l];
}

template <class Op, int X, int Y, int L, class Done>
__device__ inline void column_parts_last(idx rows, idx size, int parts, const void* memory,
                                         Done done) {
  __shared__ typename Op::First shared[ColumnStates<X, Y, L>::kCount];
  const idx column = ((idx)blockIdx.x * X + (int)threadIdx.x % X) * L;
  typename Op::First first[L];
#pragma unroll
  for (int l = 0; l < L; ++l) first[l] = Op::first();
  if (column < rows) {
#pragma unroll 4
    for (int i = (int)threadIdx.x / X; i < parts; i += Y) {
#pragma unroll
      for (int l = 0; l < L; ++l) {
        first[l] =
            Op::merge_first(first[l], ((const typename Op::First*)memory)[i * rows + column + l]);
      }
    }
  }
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared);
  if (column >= rows || (int)threadIdx.x / X > 0) return;
  typename Op::Stat stat[L];
#pragma unroll
  for (int l = 0; l < L; ++l) stat[l] = Op::stat(Op::settle(first[l], size), Op::second(), size);
  done(column, stat);
}
