// SPDX-License-Identifier: Apache-2.0
// Reductions whose elements are not neighbours: the L lanes of a thread belong to L rows that lie
// side by side ("columns"). Ops are those of rows.cuh; done and store get a stat for each lane.

// The states of a column's Y threads (threadIdx.x = y * X + x) become one, which all of them get.
template <int X, int Y, int L, class S, class Merge>
__device__ inline void merge_columns(S (&state)[L], Merge merge, S* shared) {
  if constexpr (Y > 1) {
    const int x = (int)threadIdx.x % X, y = (int)threadIdx.x / X;
#pragma unroll
    for (int l = 0; l < L; ++l) shared[(y * L + l) * X + x] = state[l];
#pragma unroll
    for (int half = Y / 2; half > 0; half /= 2) {
      __syncthreads();
      if (y < half) {
#pragma unroll
        for (int l = 0; l < L; ++l) {
          S& mine = shared[(y * L + l) * X + x];
          mine = merge(mine, shared[((y + half) * L + l) * X + x]);
        }
      }
    }
    __syncthreads();
#pragma unroll
    for (int l = 0; l < L; ++l) state[l] = shared[l * X + x];
  }
}

// X threads side by side, Y along a column, each with every Y-th of its elements in [from, end).
template <class Op, int X, int Y, int L, class Load>
__device__ inline void columns_first(typename Op::First (&first)[L], idx column, idx from, idx end,
                                     Load load) {
#pragma unroll
  for (int l = 0; l < L; ++l) first[l] = Op::first();
#pragma unroll Op::kUnroll
  for (idx k = from + (int)threadIdx.x / X; k < end; k += Y) {
    typename Op::Value x[L];
    load(column, k, x);
#pragma unroll
    for (int l = 0; l < L; ++l) Op::add(first[l], x[l], k);
  }
}

template <class Op, int X, int Y, int L, class Load, class Done, class Store>
__device__ inline void columns(idx rows, idx size, Load load, Done done, Store store) {
  __shared__ typename Op::First shared_first[X * Y * L];
  __shared__ typename Op::Second shared_second[Op::kTwice ? X * Y * L : 1];
  const idx column = ((idx)blockIdx.x * X + (int)threadIdx.x % X) * L;
  const int y = (int)threadIdx.x / X;
  const idx end = column < rows ? size : 0;
  typename Op::First first[L];
  columns_first<Op, X, Y, L>(first, column, 0, end, load);
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared_first);
  typename Op::Second second[L];
#pragma unroll
  for (int l = 0; l < L; ++l) {
    first[l] = Op::settle(first[l], size);
    second[l] = Op::second();
  }
  if constexpr (Op::kTwice) {
#pragma unroll Op::kUnroll
    for (idx k = y; k < end; k += Y) {
      typename Op::Value x[L];
      load(column, k, x);
#pragma unroll
      for (int l = 0; l < L; ++l) Op::add_second(second[l], Op::transform(x[l], first[l]));
    }
    merge_columns<X, Y, L>(second, RowMerge<Op>(), shared_second);
  }
  if (column >= rows) return;
  typename Op::Stat stat[L];
#pragma unroll
  for (int l = 0; l < L; ++l) stat[l] = Op::stat(first[l], second[l], size);
  if (y == 0) done(column, stat);
  if constexpr (Op::kApplies) {
#pragma unroll Op::kUnroll
    for (idx k = y; k < end; k += Y) {
      typename Op::Value x[L];
      load(column, k, x);
      if constexpr (Op::kInPlace) {
#pragma unroll
        for (int l = 0; l < L; ++l) x[l] = Op::transform(x[l], first[l]);
      }
      store(column, k, x, stat);
    }
  }
}

// Long columns, each divided among `parts` rows of blocks: block = part * blocks a row + x. Their
// states lie in memory, those of a part together.
template <class Op, int X, int Y, int L, class Load>
__device__ inline void column_parts_first(idx rows, idx size, int parts, void* memory, Load load) {
  __shared__ typename Op::First shared[X * Y * L];
  const int across = (int)gridDim.x / parts;
  const idx part = (int)blockIdx.x / across;
  const idx column = ((idx)((int)blockIdx.x % across) * X + (int)threadIdx.x % X) * L;
  const idx length = (size + parts - 1) / parts;
  const idx end = part * length + length < size ? part * length + length : size;
  typename Op::First first[L];
  columns_first<Op, X, Y, L>(first, column, part * length, column < rows ? end : 0, load);
  merge_columns<X, Y, L>(first, RowMerge<Op>(), shared);
  if (column >= rows || (int)threadIdx.x / X > 0) return;
#pragma unroll
  for (int l = 0; l < L; ++l) ((typename Op::First*)memory)[part * rows + column + l] = first[l];
}

template <class Op, int X, int Y, int L, class Done>
__device__ inline void column_parts_last(idx rows, idx size, int parts, const void* memory,
                                         Done done) {
  __shared__ typename Op::First shared[X * Y * L];
  const idx column = ((idx)blockIdx.x * X + (int)threadIdx.x % X) * L;
  typename Op::First first[L];
#pragma unroll
  for (int l = 0; l < L; ++l) first[l] = Op::first();
  if (column < rows) {
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
