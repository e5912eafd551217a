// SPDX-License-Identifier: Apache-2.0
// Reductions of rows, and what is computed of each element with its row's statistics.
//
// An Op has: Value, the type of elements; First with first(), add(state, x, k) and merge_first(a,
// b); settle(first, count), and about(first, count), which is nearly that; when kTwice, a second
// state that is summed of transform(x, first), with Second, second(), add_second(state, y) and
// merge_second(a, b); stat(first, second, count). kUnroll: how many reads a loop keeps in flight.
// With kInPlace, store gets transform(x, first) instead of x. kApplies: store is called at all.
//
// load(row, k, x) reads L elements from k on; done(row, stat) stores what a row has one of;
// store(row, k, x, stat) stores what each element gives. fetch(row, k, raw) and open(raw, x) are
// the halves of load, between which the elements are held as they lie in memory.

template <class Op>
struct RowMerge {
  __device__ inline typename Op::First operator()(const typename Op::First& a,
                                                  const typename Op::First& b) const {
    return Op::merge_first(a, b);
  }
  __device__ inline typename Op::Second operator()(const typename Op::Second& a,
                                                   const typename Op::Second& b) const {
    return Op::merge_second(a, b);
  }
};

// Of `size` elements those that part `rank` of C has, of which groups of W lie together.
template <int C, int W>
__device__ inline idx count_of_part(idx size, int rank) {
  const idx turns = size / (C * W);
  const idx left = size - turns * (C * W) - rank * W;
  return turns * W + (left < 0 ? 0 : left < W ? left : W);
}

// What WIDTH neighbouring lanes, of a whole warp, know of parts of a row becomes what there is to
// know of all of them; the first state is not settled. `count`: elements of the lane's part, to
// whose first state its second one belongs; `all`: of the parts together.
template <class Op, int WIDTH>
__device__ inline void merge_parts(typename Op::First& first, typename Op::Second& second,
                                   idx count, idx all) {
  const typename Op::First own = Op::settle(first, count);
  first = warp_merge<WIDTH>(first, RowMerge<Op>());
  if constexpr (Op::kTwice) {
    second = count > 0 ? Op::moved(second, own, Op::settle(first, all), count) : Op::second();
    second = warp_merge<WIDTH>(second, RowMerge<Op>());
  }
}

// Whether what op makes of elements is held instead of them, where it takes no more registers.
template <class Op, int L, class Raw>
struct HoldsMade {
  static constexpr bool value = Op::kCarries && sizeof(Raw) == L * sizeof(typename Op::Value);
};

template <int L, class T>
__device__ inline void copy_lanes(T (&to)[L], const T (&from)[L]) {
#pragma unroll
  for (int l = 0; l < L; ++l) to[l] = from[l];
}

// What store() is given of elements as they were read.
template <class Op, int L>
__device__ inline void transform_lanes(typename Op::Value (&x)[L],
                                       const typename Op::First& first) {
  if constexpr (Op::kInPlace) {
#pragma unroll
    for (int l = 0; l < L; ++l) x[l] = Op::transform(x[l], first);
  }
}

template <class Op, int L>
__device__ inline void add_lanes(typename Op::First& state, const typename Op::Value (&x)[L],
                                 i64 k) {
#pragma unroll
  for (int l = 0; l < L; ++l) Op::add(state, x[l], k + l);
}

// x becomes what store() gets.
template <class Op, int L>
__device__ inline void add_second_lanes(typename Op::Second& state, typename Op::Value (&x)[L],
                                        const typename Op::First& first) {
#pragma unroll
  for (int l = 0; l < L; ++l) {
    auto y = Op::transform(x[l], first);
    Op::add_second(state, y);
    if constexpr (Op::kInPlace) x[l] = y;
  }
}

// The same where each lane has a row of its own.
template <class Op, int L>
__device__ inline void add_second_to_each(typename Op::Second (&state)[L],
                                          typename Op::Value (&x)[L],
                                          const typename Op::First (&first)[L]) {
#pragma unroll
  for (int l = 0; l < L; ++l) {
    auto y = Op::transform(x[l], first[l]);
    Op::add_second(state[l], y);
    if constexpr (Op::kInPlace) x[l] = y;
  }
}

// R threads a row, T a block, N groups of L elements a thread: a row has at most R * L * N elements
// and is read once. With R of a warp or less, threads have M rows, which all are read before the
// first is used.
template <class Op, int T, int R, int L, int N, int M, class Load, class Done, class Store>
__device__ inline void rows_in_registers(idx rows, idx size, Load load, Done done, Store store) {
  static_assert(M == 1 || R <= 32, "a block has one row at a time");
  __shared__ typename Op::First shared_first[32];
  __shared__ typename Op::Second shared_second[32];
  const idx first_row = (idx)blockIdx.x * (T / R * M) + (int)threadIdx.x / R;
  const int t = (int)threadIdx.x % R;
  typename Op::Value x[M][N][L];
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const idx row = first_row + m * (T / R);
    const idx end = row < rows ? size : 0;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const idx k = (i * R + t) * L;
      if (k < end) load(row, k, x[m][i]);
    }
  }
#pragma unroll
  for (int m = 0; m < M; ++m) {
    const idx row = first_row + m * (T / R);
    const idx end = row < rows ? size : 0;
    typename Op::First first = Op::first();
#pragma unroll
    for (int i = 0; i < N; ++i) {
      const idx k = (i * R + t) * L;
      if (k < end) add_lanes<Op, L>(first, x[m][i], k);
    }
    first = Op::settle(group_merge<R>(first, RowMerge<Op>(), shared_first), size);
    typename Op::Second second = Op::second();
    if constexpr (Op::kTwice) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if ((i * R + t) * L < end) add_second_lanes<Op, L>(second, x[m][i], first);
      }
      second = group_merge<R>(second, RowMerge<Op>(), shared_second);
    }
    if (row >= rows) continue;
    const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
    if (t == 0) done(row, stat);
    if constexpr (Op::kApplies) {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        const idx k = (i * R + t) * L;
        if (k < end) store(row, k, x[m][i], stat);
      }
    }
  }
}

template <class Op, int R, int L, class Load>
__device__ inline typename Op::First first_of(idx row, idx from, idx end, int t, Load load) {
  typename Op::First first = Op::first();
#pragma unroll Op::kUnroll
  for (idx k = from + t * L; k < end; k += R * L) {
    typename Op::Value x[L];
    load(row, k, x);
    add_lanes<Op, L>(first, x, k);
  }
  return first;
}

template <class Op, int R, int L, class Load>
__device__ inline typename Op::Second second_of(idx row, idx from, idx end, int t, Load load,
                                                const typename Op::First& first) {
  typename Op::Second second = Op::second();
#pragma unroll Op::kUnroll
  for (idx k = from + t * L; k < end; k += R * L) {
    typename Op::Value x[L];
    load(row, k, x);
    add_second_lanes<Op, L>(second, x, first);
  }
  return second;
}

template <class Op, int R, int L, class Load, class Store>
__device__ inline void apply_to(idx row, idx from, idx end, int t, Load load, Store store,
                                const typename Op::First& first,
                                const typename Op::Stat (&stat)[1]) {
#pragma unroll Op::kUnroll
  for (idx k = from + t * L; k < end; k += R * L) {
    typename Op::Value x[L];
    load(row, k, x);
    transform_lanes<Op, L>(x, first);
    store(row, k, x, stat);
  }
}

// Rows of any length, which are read once for each statistic and once to apply them.
template <class Op, int T, int R, int L, class Load, class Done, class Store>
__device__ inline void rows_streamed(idx rows, idx size, Load load, Done done, Store store) {
  __shared__ typename Op::First shared_first[32];
  __shared__ typename Op::Second shared_second[32];
  const idx row = (idx)blockIdx.x * (T / R) + (int)threadIdx.x / R;
  const int t = (int)threadIdx.x % R;
  const idx end = row < rows ? size : 0;
  typename Op::First first = first_of<Op, R, L>(row, 0, end, t, load);
  first = Op::settle(group_merge<R>(first, RowMerge<Op>(), shared_first), size);
  typename Op::Second second = Op::second();
  if constexpr (Op::kTwice) {
    second = second_of<Op, R, L>(row, 0, end, t, load, first);
    second = group_merge<R>(second, RowMerge<Op>(), shared_second);
  }
  if (row >= rows) return;
  const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
  if (t == 0) done(row, stat);
  if constexpr (Op::kApplies) apply_to<Op, R, L>(row, 0, end, t, load, store, first, stat);
}

// Long rows, each divided among `parts` blocks. Their states lie in memory between the kernels:
// those of a row together, first ones, then second ones.
template <class Op>
struct RowParts {
  typename Op::First* first;
  typename Op::Second* second;
  __device__ inline RowParts(void* memory, i64 count) {
    first = (typename Op::First*)memory;
    second =
        (typename Op::Second*)((char*)memory + (count * sizeof(typename Op::First) + 15) / 16 * 16);
  }
};

struct RowPart {
  idx row, begin, end;
  __device__ inline RowPart(idx size, int parts, int lanes) {
    row = (idx)blockIdx.x / parts;
    const idx part = (idx)blockIdx.x % parts;
    const idx groups = (size / lanes + parts - 1) / parts;
    begin = part * groups * lanes;
    end = begin + groups * lanes < size ? begin + groups * lanes : size;
  }
};

template <class Op, int T>
__device__ inline typename Op::First merged_first(const RowParts<Op>& states, idx row, int parts,
                                                  idx size) {
  __shared__ typename Op::First shared[32];
  typename Op::First first = Op::first();
  for (int i = (int)threadIdx.x; i < parts; i += T) {
    first = Op::merge_first(first, states.first[row * parts + i]);
  }
  return Op::settle(group_merge<T>(first, RowMerge<Op>(), shared), size);
}

template <class Op, int T, int L, class Load>
__device__ inline void row_parts_first(idx rows, idx size, int parts, void* memory, Load load) {
  __shared__ typename Op::First shared[32];
  const RowParts<Op> states(memory, (i64)rows * parts);
  const RowPart part(size, parts, L);
  typename Op::First first =
      first_of<Op, T, L>(part.row, part.begin, part.end, (int)threadIdx.x, load);
  first = group_merge<T>(first, RowMerge<Op>(), shared);
  if (threadIdx.x == 0) states.first[blockIdx.x] = first;
}

template <class Op, int T, int L, class Load>
__device__ inline void row_parts_second(idx rows, idx size, int parts, void* memory, Load load) {
  __shared__ typename Op::Second shared[32];
  const RowParts<Op> states(memory, (i64)rows * parts);
  const RowPart part(size, parts, L);
  const typename Op::First first = merged_first<Op, T>(states, part.row, parts, size);
  typename Op::Second second =
      second_of<Op, T, L>(part.row, part.begin, part.end, (int)threadIdx.x, load, first);
  second = group_merge<T>(second, RowMerge<Op>(), shared);
  if (threadIdx.x == 0) states.second[blockIdx.x] = second;
}

// When nothing is stored for each element, one block a row.
template <class Op, int T, int L, class Load, class Done, class Store>
__device__ inline void row_parts_last(idx rows, idx size, int parts, void* memory, Load load,
                                      Done done, Store store) {
  __shared__ typename Op::Second shared[32];
  const RowParts<Op> states(memory, (i64)rows * parts);
  const RowPart part(size, Op::kApplies ? parts : 1, L);
  const typename Op::First first = merged_first<Op, T>(states, part.row, parts, size);
  typename Op::Second second = Op::second();
  if constexpr (Op::kTwice) {
    for (int i = (int)threadIdx.x; i < parts; i += T) {
      second = Op::merge_second(second, states.second[part.row * parts + i]);
    }
    second = group_merge<T>(second, RowMerge<Op>(), shared);
  }
  const typename Op::Stat stat[1] = {Op::stat(first, second, size)};
  if (threadIdx.x == 0 && part.begin == 0) done(part.row, stat);
  if constexpr (Op::kApplies) {
    apply_to<Op, T, L>(part.row, part.begin, part.end, (int)threadIdx.x, load, store, first, stat);
  }
}
