// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm/gemm.h"

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

// A tile of kTileRows x kPanel outputs fills the registers but those for one row of B and one
// element of A: 12 x 2 of 32, 6 x 2 of 16, 6 x 2 of 16.
#if defined(__AVX512F__)
constexpr int kTileRows = 12;
#else
constexpr int kTileRows = 6;
#endif
constexpr int kVectors = 2;
constexpr int kPanel = kVectors * kLanes;
// A slice of a panel (kSlice x kPanel floats) stays in L1 or L2 while the rows of A go by.
constexpr int64_t kSlice = 384;
constexpr int64_t kRowBlock = 8 * kTileRows;

int64_t packed_elems(int64_t k, int64_t n) { return (n + kPanel - 1) / kPanel * kPanel * k; }

// Panels of kPanel columns, each [k][kPanel]; columns past n are 0.
void pack(const float* b, int64_t ldb, bool transposed, int64_t k, int64_t n, float* packed) {
  for (int64_t first = 0; first < n; first += kPanel) {
    const int64_t width = n - first < kPanel ? n - first : kPanel;
    float* panel = packed + first * k;
    if (transposed) {
      for (int64_t j = 0; j < width; ++j)
        for (int64_t i = 0; i < k; ++i) panel[i * kPanel + j] = b[(first + j) * ldb + i];
    } else {
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < width; ++j) panel[i * kPanel + j] = b[i * ldb + first + j];
    }
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = width; j < kPanel; ++j) panel[i * kPanel + j] = 0;
  }
}

int64_t row_blocks(int64_t m) { return (m + kRowBlock - 1) / kRowBlock; }
int64_t units(int64_t m, int64_t n) { return row_blocks(m) * ((n + kPanel - 1) / kPanel); }

struct Tile {
  const float* a;
  int64_t lda;
  const float* panel;  // [k][kPanel]
  int64_t k;
  float* c;
  int64_t ldc;
  int columns;        // of the panel that exist
  const float* bias;  // at the panel's first column, or null
  bool accumulate;
};

REDLINE_INLINE F load_columns(const float* p, int columns) {
  return columns >= kLanes ? load(p) : columns > 0 ? load_n(p, columns) : zero();
}

template <int Rows>
void multiply_tile(const Tile& t) {
  F acc[Rows][kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const int columns = t.columns - v * kLanes;
    const F start = t.bias ? load_columns(t.bias + v * kLanes, columns) : zero();
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) acc[r][v] = start;
  }
  const float* b = t.panel;
  for (int64_t i = 0; i < t.k; ++i, b += kPanel) {
    const F b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < Rows; ++r) {
      const F a = set1(t.a[r * t.lda + i]);
      acc[r][0] = fma(a, b0, acc[r][0]);
      acc[r][1] = fma(a, b1, acc[r][1]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* c = t.c + r * t.ldc + v * kLanes;
      const int columns = t.columns - v * kLanes;
      if (columns >= kLanes) {
        store(c, t.accumulate ? load(c) + acc[r][v] : acc[r][v]);
      } else if (columns > 0) {
        store_n(c, t.accumulate ? load_n(c, columns) + acc[r][v] : acc[r][v], columns);
      }
    }
}

template <int Rows>
void multiply_rows(int rows, const Tile& t) {
  if (rows == Rows) return multiply_tile<Rows>(t);
  if constexpr (Rows > 1) multiply_rows<Rows - 1>(rows, t);
}

void gemm(const GemmArgs& g, int64_t begin, int64_t end) {
  const int64_t blocks = row_blocks(g.m);
  // Rows a multiple of 512 bytes apart fall into few sets of the L1 cache and push each other out:
  // such tiles are copied to a pitch that does not.
  constexpr int64_t kSpacedPitch = kSlice + 16;
  alignas(64) float spaced[kTileRows * kSpacedPitch];
  const bool aliased = g.lda % 128 == 0 && g.m > 4;
  for (int64_t unit = begin; unit < end; ++unit) {
    // The blocks of rows of one panel follow each other, so that the panel stays in cache.
    const int64_t first_row = unit % blocks * kRowBlock, first_column = unit / blocks * kPanel;
    const int64_t last_row = g.m - first_row < kRowBlock ? g.m : first_row + kRowBlock;
    const int64_t left = g.n - first_column;
    Tile t{.a = nullptr,
           .lda = g.lda,
           .panel = nullptr,
           .k = 0,
           .c = nullptr,
           .ldc = g.ldc,
           .columns = static_cast<int>(left < kPanel ? left : kPanel),
           .bias = nullptr,
           .accumulate = false};
    int64_t slice = 0;
    do {  // once for k == 0 too: the bias alone
      t.k = g.k - slice < kSlice ? g.k - slice : kSlice;
      t.panel = g.packed_b + first_column * g.k + slice * kPanel;
      t.bias = g.bias && slice == 0 ? g.bias + first_column : nullptr;
      t.accumulate = g.accumulate || slice > 0;
      for (int64_t row = first_row; row < last_row; row += kTileRows) {
        t.a = g.a + row * g.lda + slice;
        t.lda = g.lda;
        t.c = g.c + row * g.ldc + first_column;
        const int64_t rows = last_row - row < kTileRows ? last_row - row : kTileRows;
        if (aliased) {
          for (int64_t r = 0; r < rows; ++r)
            std::memcpy(spaced + r * kSpacedPitch, t.a + r * g.lda,
                        static_cast<size_t>(t.k) * sizeof(float));
          t.a = spaced;
          t.lda = kSpacedPitch;
        }
        multiply_rows<kTileRows>(static_cast<int>(rows), t);
      }
      slice += kSlice;
    } while (slice < g.k);
  }
}

// Rows x Columns dot products at once; the loads of b are used for each row of a.
template <int Rows, int Columns>
REDLINE_INLINE void dots(const GemvArgs& g, int64_t first) {
  // With few sums, two sets of accumulators hide the latency of the additions.
  constexpr int kSets = Rows * Columns <= 8 ? 2 : 1;
  F acc[kSets][Rows][Columns];
  for (int s = 0; s < kSets; ++s)
    for (int r = 0; r < Rows; ++r)
      for (int c = 0; c < Columns; ++c) acc[s][r][c] = zero();
  const float* b = g.b + first * g.ldb;
  int64_t i = 0;
  for (; i + kSets * kLanes <= g.k; i += kSets * kLanes)
#pragma GCC unroll 2
    for (int s = 0; s < kSets; ++s) {
      const int64_t at = i + s * kLanes;
      F a[Rows];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r) a[r] = load(g.a + r * g.lda + at);
#pragma GCC unroll 4
      for (int c = 0; c < Columns; ++c) {
        const F v = load(b + c * g.ldb + at);
#pragma GCC unroll 4
        for (int r = 0; r < Rows; ++r) acc[s][r][c] = fma(a[r], v, acc[s][r][c]);
      }
    }
  for (; i < g.k; i += kLanes) {
    const int left = g.k - i < kLanes ? static_cast<int>(g.k - i) : kLanes;
    for (int c = 0; c < Columns; ++c)
      for (int r = 0; r < Rows; ++r)
        acc[0][r][c] =
            fma(load_n(g.a + r * g.lda + i, left), load_n(b + c * g.ldb + i, left), acc[0][r][c]);
  }
  for (int r = 0; r < Rows; ++r)
    for (int c = 0; c < Columns; ++c) {
      const F sum = kSets == 2 ? acc[0][r][c] + acc[kSets - 1][r][c] : acc[0][r][c];
      g.c[r * g.ldc + first + c] = reduce_add(sum) + (g.bias ? g.bias[first + c] : 0.0f);
    }
}

template <int Rows>
void gemv_rows(const GemvArgs& g, int64_t begin, int64_t end) {
  int64_t n = begin;
  for (; n + 4 <= end; n += 4) dots<Rows, 4>(g, n);
  for (; n < end; ++n) dots<Rows, 1>(g, n);
}

void gemv(const GemvArgs& g, int64_t begin, int64_t end) {
  switch (g.m) {
    case 1:
      return gemv_rows<1>(g, begin, end);
    case 2:
      return gemv_rows<2>(g, begin, end);
    case 3:
      return gemv_rows<3>(g, begin, end);
    case 4:
      return gemv_rows<4>(g, begin, end);
  }
}

}  // namespace

extern const GemmKernels kGemm = {
    .packed_elems = packed_elems, .pack = pack, .units = units, .gemm = gemm, .gemv = gemv};

}  // namespace redline::kernels::REDLINE_ISA
