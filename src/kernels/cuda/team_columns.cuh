// SPDX-License-Identifier: Apache-2.0
// Columns of which teams (teams.cuh) hold pieces: boxes of a tensor map, a word of each row for a
// lane. `inner` of them lie side by side in each matrix. A group is X * L of them, in K parts of
// N * (T / X) rows, of which a block has TURN in one turn.
template <class S, int T, int L, int N, int K, int TURN, int X>
struct TeamColumns {
  typedef S Element;
  typedef TeamPiece<K, TURN> Piece;
  static constexpr bool kBeside = true;
  static constexpr int kThreads = T, kLanes = L, kAccesses = N, kStates = L, kColumns = X * L;
  static constexpr int kAcross = X;
  static constexpr int kBox = 8;
  static constexpr int kDown = T / X;  // threads of a column
  static constexpr i64 kStreamed = 16 << 20;
  static_assert(L * sizeof(S) == 4, "a word of a row for each lane of a warp");
  static_assert(kBox * kDown <= 256, "rows of a box");
  const idx inner, size, across, groups;
  const TensorMap *const from, *const to;
  // Of what is too large for the L2, to which each row of a box is a line or part of one: what
  // comes is kept until others have had the rest, what goes makes room.
  const bool streams;

  __device__ inline TeamColumns(idx rows, idx size, idx inner, const TensorMap* from,
                                const TensorMap* to)
      : inner(inner),
        size(size),
        across((inner + kColumns - 1) / kColumns),
        groups(rows / inner * across),
        from(from),
        to(to),
        streams((i64)rows * size * (int)sizeof(S) >= kStreamed) {}
  __device__ inline void prepare() const {
    prefetch_map(from);
    prefetch_map(to);
  }
  __device__ inline idx count(int part) const {
    if (full()) return N * kDown;
    const idx left = size - part * (N * kDown);
    return left < 0 ? 0 : left < N * kDown ? left : N * kDown;
  }
  __device__ inline int matrix(const Piece& at) const { return at.group / (int)across; }
  __device__ inline int column(const Piece& at) const { return at.group % (int)across * kColumns; }
  // Whether all pieces are, along columns and across; both are known when this is compiled.
  __device__ inline bool full() const { return size == K * N * kDown; }
  __device__ inline bool full_across() const { return inner % kColumns == 0; }
  __device__ inline int own(const Piece& at) const {
    if (full() && full_across()) return N;
    if (!exists(at, (int)threadIdx.x % X)) return 0;
    return (int)(count(at.part) + kDown - 1 - (int)threadIdx.x / X) / kDown;
  }
  __device__ inline idx elements(int part) const { return count(part); }
  __device__ inline idx elements_of_warp(const Piece& at, int warp) const {
    static_assert(X <= 32, "whole rows in a warp");
    return count_of_part<T / 32, 32 / X>(count(at.part), warp);
  }
  // Those that are not there lie at the end.
  __device__ inline idx row(const Piece& at, int x) const {
    const idx side = column(at) + x * L;
    return (idx)matrix(at) * inner + (full_across() || side < inner ? side : inner - L);
  }
  __device__ inline bool exists(const Piece& at, int x) const { return column(at) + x * L < inner; }
  __device__ inline idx place(const Piece& at, int i) const {
    const idx k = at.part * (N * kDown) + i * kDown + (int)threadIdx.x / X;
    return full() || k < size ? k : size - 1;
  }

  // A map counts in 2 bytes.
  __device__ inline int map_column(const Piece& at) const {
    return column(at) * (int)sizeof(S) / 2;
  }
  __device__ inline int box_row(const Piece& at, int box) const {
    return at.part * (N * kDown) + box * (kBox * kDown);
  }
  __device__ inline void bring(S* slot, const Piece& at, int box, u64* barrier) const {
    const bool some = box_row(at, box) < size;
    expect_bytes(barrier, some ? kBox * T * 4 : 0);
    if (!some) return;
    copy_tile(slot, from, map_column(at), box_row(at, box), matrix(at), barrier,
              l2_policy(streams ? GivenUp::kLast : GivenUp::kInTurn));
  }
  __device__ inline void take_away(const S* slot, const Piece& at, int box) const {
    if (box_row(at, box) >= size) return copy_nothing_out();
    copy_tile_out(to, map_column(at), box_row(at, box), matrix(at), slot,
                  l2_policy(streams ? GivenUp::kFirst : GivenUp::kInTurn));
  }
};
