// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/movement/movement.h"

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

// --- Tiles: dst[j * dst_pitch + i] = src[i * src_pitch + j], j < rows, i < columns ---------------

#if defined(__AVX2__)
constexpr int kTile = 8;
REDLINE_INLINE void transpose_tile(const float* src, int64_t sp, float* dst, int64_t dp) {
  __m256 r[8], t[8];
  for (int i = 0; i < 4; ++i) {
    // Row i in the low half, row i + 4 in the high half, of columns 0..3 and 4..7.
    r[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(src + i * sp)),
                                _mm_loadu_ps(src + (i + 4) * sp), 1);
    r[i + 4] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(src + i * sp + 4)),
                                    _mm_loadu_ps(src + (i + 4) * sp + 4), 1);
  }
  for (int h = 0; h < 8; h += 4) {
    t[0] = _mm256_unpacklo_ps(r[h], r[h + 1]);
    t[1] = _mm256_unpackhi_ps(r[h], r[h + 1]);
    t[2] = _mm256_unpacklo_ps(r[h + 2], r[h + 3]);
    t[3] = _mm256_unpackhi_ps(r[h + 2], r[h + 3]);
    _mm256_storeu_ps(dst + (h + 0) * dp, _mm256_shuffle_ps(t[0], t[2], 0x44));
    _mm256_storeu_ps(dst + (h + 1) * dp, _mm256_shuffle_ps(t[0], t[2], 0xee));
    _mm256_storeu_ps(dst + (h + 2) * dp, _mm256_shuffle_ps(t[1], t[3], 0x44));
    _mm256_storeu_ps(dst + (h + 3) * dp, _mm256_shuffle_ps(t[1], t[3], 0xee));
  }
}
#else
constexpr int kTile = 4;
REDLINE_INLINE void transpose_tile(const float* src, int64_t sp, float* dst, int64_t dp) {
  __m128 a = _mm_loadu_ps(src), b = _mm_loadu_ps(src + sp);
  __m128 c = _mm_loadu_ps(src + 2 * sp), d = _mm_loadu_ps(src + 3 * sp);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(dst, a);
  _mm_storeu_ps(dst + dp, b);
  _mm_storeu_ps(dst + 2 * dp, c);
  _mm_storeu_ps(dst + 3 * dp, d);
}
#endif

// 2, 3 or 4 interleaved columns (images): the constant lets the compiler shuffle whole vectors.
template <class T, int Columns>
void interleave(const T* src, int64_t sp, T* dst, int64_t rows) {
  for (int64_t j = 0; j < rows; ++j)
    for (int i = 0; i < Columns; ++i) dst[j * Columns + i] = src[i * sp + j];
}
template <class T, int Rows>
void deinterleave(const T* src, T* dst, int64_t dp, int64_t columns) {
  for (int j = 0; j < Rows; ++j)
    for (int64_t i = 0; i < columns; ++i) dst[j * dp + i] = src[i * Rows + j];
}

template <class T>
void transpose(const T* src, int64_t sp, T* dst, int64_t dp, int64_t rows, int64_t columns) {
  if (columns == dp) {
    if (columns == 2) return interleave<T, 2>(src, sp, dst, rows);
    if (columns == 3) return interleave<T, 3>(src, sp, dst, rows);
    if (columns == 4 && sizeof(T) < 4) return interleave<T, 4>(src, sp, dst, rows);
  }
  if (rows == sp) {
    if (rows == 2) return deinterleave<T, 2>(src, dst, dp, columns);
    if (rows == 3) return deinterleave<T, 3>(src, dst, dp, columns);
    if (rows == 4 && sizeof(T) < 4) return deinterleave<T, 4>(src, dst, dp, columns);
  }
  int64_t j = 0;
  if constexpr (sizeof(T) == 4) {
    const float* s = reinterpret_cast<const float*>(src);
    float* d = reinterpret_cast<float*>(dst);
    for (; j + kTile <= rows; j += kTile) {
      int64_t i = 0;
      for (; i + kTile <= columns; i += kTile)
        transpose_tile(s + i * sp + j, sp, d + j * dp + i, dp);
      for (; i < columns; ++i)
        for (int k = 0; k < kTile; ++k) dst[(j + k) * dp + i] = src[i * sp + j + k];
    }
  } else {
    // A block of 8 x 8 touches few enough lines to stay in L1 whatever the pitches.
    for (; j + 8 <= rows; j += 8) {
      int64_t i = 0;
      for (; i + 8 <= columns; i += 8)
        for (int k = 0; k < 8; ++k)
          for (int c = 0; c < 8; ++c) dst[(j + k) * dp + i + c] = src[(i + c) * sp + j + k];
      for (; i < columns; ++i)
        for (int k = 0; k < 8; ++k) dst[(j + k) * dp + i] = src[i * sp + j + k];
    }
  }
  for (; j < rows; ++j)
    for (int64_t i = 0; i < columns; ++i) dst[j * dp + i] = src[i * sp + j];
}

// --- Walking the units ---------------------------------------------------------------------------

struct Walk {
  int64_t index[kMaxCopyRank];
  int64_t src, dst;  // offsets of the outer position
};

Walk walk_to(const CopyPlan& p, int64_t outer) {
  Walk w{};
  for (int64_t d = p.outer_rank - 1; d >= 0; --d) {
    w.index[d] = outer % p.dims[d];
    outer /= p.dims[d];
    w.src += w.index[d] * p.src_strides[d];
    w.dst += w.index[d] * p.dst_strides[d];
  }
  return w;
}

void advance(const CopyPlan& p, Walk* w) {
  for (int64_t d = p.outer_rank - 1; d >= 0; --d) {
    w->src += p.src_strides[d];
    w->dst += p.dst_strides[d];
    if (++w->index[d] < p.dims[d]) return;
    w->src -= p.src_strides[d] * p.dims[d];
    w->dst -= p.dst_strides[d] * p.dims[d];
    w->index[d] = 0;
  }
}

template <class T>
REDLINE_INLINE void copy_row(const CopyPlan& p, const T* src, T* dst, int64_t n) {
  const int last = p.rank - 1;
  const int64_t s = p.src_strides[last], d = p.dst_strides[last];
  switch (p.mode) {
    case CopyPlan::Mode::kRows:
      if (n * static_cast<int64_t>(sizeof(T)) >= 64) {
        std::memcpy(dst, src, static_cast<size_t>(n) * sizeof(T));
      } else {
        // No call for a few elements.
        for (int64_t i = 0; i < n; ++i) dst[i] = src[i];
      }
      return;
    case CopyPlan::Mode::kFill: {
      const T value = *src;
      for (int64_t i = 0; i < n; ++i) dst[i] = value;
      return;
    }
    default:
      if (d == 1) {
        for (int64_t i = 0; i < n; ++i) dst[i] = src[i * s];
      } else {
        for (int64_t i = 0; i < n; ++i) dst[i * d] = src[i * s];
      }
  }
}

template <class T>
void copy_units(const CopyPlan& p, const T* src, T* dst, int64_t begin, int64_t end) {
  const int last = p.rank - 1;
  const int64_t per_outer = p.mode == CopyPlan::Mode::kTranspose ? p.tiles * p.chunks : p.chunks;
  Walk w = walk_to(p, begin / per_outer);
  int64_t piece = begin % per_outer;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t column = piece % p.chunks * p.chunk;
    const int64_t left = p.dims[last] - column;
    const int64_t n = left < p.chunk ? left : p.chunk;
    const T* s = src + w.src + column * p.src_strides[last];
    T* d = dst + w.dst + column * p.dst_strides[last];
    if (p.mode == CopyPlan::Mode::kTranspose) {
      const int64_t row = piece / p.chunks * p.tile_rows;
      const int64_t rows_left = p.dims[last - 1] - row;
      transpose(s + row, p.src_strides[last], d + row * p.dst_strides[last - 1],
                p.dst_strides[last - 1], rows_left < p.tile_rows ? rows_left : p.tile_rows, n);
    } else {
      copy_row(p, s, d, n);
    }
    if (++piece == per_outer) {
      piece = 0;
      advance(p, &w);
    }
  }
}

void copy(const CopyPlan& p, const void* src, void* dst, int64_t begin, int64_t end) {
  if (begin >= end) return;
  switch (p.elem_bytes) {
    case 1:
      return copy_units(p, static_cast<const uint8_t*>(src), static_cast<uint8_t*>(dst), begin,
                        end);
    case 2:
      return copy_units(p, static_cast<const uint16_t*>(src), static_cast<uint16_t*>(dst), begin,
                        end);
    case 4:
      return copy_units(p, static_cast<const uint32_t*>(src), static_cast<uint32_t*>(dst), begin,
                        end);
    case 8:
      return copy_units(p, static_cast<const uint64_t*>(src), static_cast<uint64_t*>(dst), begin,
                        end);
  }
}

// --- Gather --------------------------------------------------------------------------------------

template <class Index>
int64_t gather_rows(const char* src, int64_t axis_dim, int64_t bytes, const Index* indices,
                    int64_t count, char* dst, int64_t begin, int64_t end) {
  int64_t i = begin % count;
  const char* base = src + begin / count * axis_dim * bytes;
  for (int64_t row = begin; row < end; ++row) {
    int64_t index = indices[i];
    if (index < 0) index += axis_dim;
    if (index < 0 || index >= axis_dim) return i;
    const char* from = base + index * bytes;
    char* to = dst + row * bytes;
    if (bytes == 4) {
      std::memcpy(to, from, 4);
    } else if (bytes == 8) {
      std::memcpy(to, from, 8);
    } else {
      std::memcpy(to, from, static_cast<size_t>(bytes));
    }
    if (++i == count) {
      i = 0;
      base += axis_dim * bytes;
    }
  }
  return -1;
}

int64_t gather(const void* src, int64_t axis_dim, int64_t inner_bytes, const void* indices,
               bool wide, int64_t count, void* dst, int64_t begin, int64_t end) {
  if (begin >= end) return -1;
  const char* s = static_cast<const char*>(src);
  char* d = static_cast<char*>(dst);
  return wide ? gather_rows(s, axis_dim, inner_bytes, static_cast<const int64_t*>(indices), count,
                            d, begin, end)
              : gather_rows(s, axis_dim, inner_bytes, static_cast<const int32_t*>(indices), count,
                            d, begin, end);
}

// --- Blocked channels ----------------------------------------------------------------------------

// Strips of the spatial dim that stay in L1 with their block of channels.
constexpr int64_t kSpatialStrip = 256;

void to_blocked(const void* src, void* dst, int64_t channels, int64_t spatial, int64_t block,
                int64_t begin, int64_t end) {
  const int64_t blocks = (channels + block - 1) / block;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t image = unit / blocks, first_channel = unit % blocks * block;
    const int64_t left = channels - first_channel, width = left < block ? left : block;
    const uint32_t* s =
        static_cast<const uint32_t*>(src) + (image * channels + first_channel) * spatial;
    uint32_t* d = static_cast<uint32_t*>(dst) + unit * spatial * block;
    for (int64_t at = 0; at < spatial; at += kSpatialStrip) {
      const int64_t rows = spatial - at < kSpatialStrip ? spatial - at : kSpatialStrip;
      transpose(s + at, spatial, d + at * block, block, rows, width);
      for (int64_t j = at; width < block && j < at + rows; ++j)
        for (int64_t c = width; c < block; ++c) d[j * block + c] = 0;
    }
  }
}

void from_blocked(const void* src, void* dst, int64_t channels, int64_t spatial, int64_t block,
                  int64_t begin, int64_t end) {
  const int64_t blocks = (channels + block - 1) / block;
  for (int64_t unit = begin; unit < end; ++unit) {
    const int64_t image = unit / blocks, first_channel = unit % blocks * block;
    const int64_t left = channels - first_channel, width = left < block ? left : block;
    const uint32_t* s = static_cast<const uint32_t*>(src) + unit * spatial * block;
    uint32_t* d = static_cast<uint32_t*>(dst) + (image * channels + first_channel) * spatial;
    for (int64_t at = 0; at < spatial; at += kSpatialStrip) {
      const int64_t columns = spatial - at < kSpatialStrip ? spatial - at : kSpatialStrip;
      transpose(s + at * block, block, d + at, spatial, width, columns);
    }
  }
}

}  // namespace

extern const MovementKernels kMovement = {
    .copy = copy, .gather = gather, .to_blocked = to_blocked, .from_blocked = from_blocked};

}  // namespace redline::kernels::REDLINE_ISA
