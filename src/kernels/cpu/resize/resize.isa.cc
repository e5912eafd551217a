// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/resize/resize.h"

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

template <int Repeat>
void repeat_columns(const float* src, float* dst, int64_t n) {
  const int64_t whole = n / Repeat;
  for (int64_t i = 0; i < whole; ++i)
    for (int k = 0; k < Repeat; ++k) dst[i * Repeat + k] = src[i];
  for (int64_t i = whole * Repeat; i < n; ++i) dst[i] = src[i / Repeat];
}

REDLINE_INLINE F gather_at(const float* src, const int32_t* columns) {
  return gather(src, iload(columns));
}

void pick_columns(const float* src, const int32_t* columns, float* dst, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(dst + i, gather_at(src, columns + i));
  for (; i < n; ++i) dst[i] = src[columns[i]];
}

void nearest(const NearestArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t plane = row / a.out_height, oy = row % a.out_height;
    float* dst = a.y + row * a.out_width;
    if (row > begin && oy > 0 && a.rows[oy] == a.rows[oy - 1]) {
      std::memcpy(dst, dst - a.out_width, static_cast<size_t>(a.out_width) * sizeof(float));
      continue;
    }
    const float* src = a.x + (plane * a.height + a.rows[oy]) * a.width;
    switch (a.repeat) {
      case 1:
        std::memcpy(dst, src, static_cast<size_t>(a.out_width) * sizeof(float));
        break;
      case 2:
        repeat_columns<2>(src, dst, a.out_width);
        break;
      case 3:
        repeat_columns<3>(src, dst, a.out_width);
        break;
      case 4:
        repeat_columns<4>(src, dst, a.out_width);
        break;
      default:
        pick_columns(src, a.columns, dst, a.out_width);
    }
  }
}

REDLINE_INLINE F mix(F a, F b, F w) { return fma(w, b, (set1(1.0f) - w) * a); }

constexpr int64_t kStrip = 4096;

// A source row, interpolated along its columns and kept while output rows need it.
struct MixedRow {
  int64_t source = -1;
  alignas(64) float values[kStrip];
};

void mix_columns(const LinearArgs& a, int64_t source, int64_t column, int64_t n, MixedRow* out) {
  const float* src = a.x + source * a.width;
  const int32_t* c0 = a.columns0 + column;
  const int32_t* c1 = a.columns1 + column;
  const float* w = a.column_weights + column;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    store(out->values + i, mix(gather_at(src, c0 + i), gather_at(src, c1 + i), load(w + i)));
  for (; i < n; ++i) {
    // By the same vector operation, so that a row's end rounds like its middle.
    const F v = mix(set1(src[c0[i]]), set1(src[c1[i]]), set1(w[i]));
    store_n(out->values + i, v, 1);
  }
  out->source = source;
}

void linear(const LinearArgs& a, int64_t begin, int64_t end) {
  MixedRow rows[2];
  for (int64_t column = 0; column < a.out_width; column += kStrip) {
    const int64_t n = a.out_width - column < kStrip ? a.out_width - column : kStrip;
    rows[0].source = rows[1].source = -1;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t plane = row / a.out_height, oy = row % a.out_height;
      const int64_t top = plane * a.height + a.rows0[oy], bottom = plane * a.height + a.rows1[oy];
      // The lower row of one output is often the upper one of a later output.
      int upper = rows[0].source == top ? 0 : rows[1].source == top ? 1 : -1;
      if (upper < 0) {
        upper = rows[0].source == bottom ? 1 : 0;
        mix_columns(a, top, column, n, &rows[upper]);
      }
      int lower = top == bottom ? upper : 1 - upper;
      if (rows[lower].source != bottom) mix_columns(a, bottom, column, n, &rows[lower]);
      const float* u = rows[upper].values;
      const float* l = rows[lower].values;
      float* dst = a.y + row * a.out_width + column;
      const F w = set1(a.row_weights[oy]);
      int64_t i = 0;
      for (; i + kLanes <= n; i += kLanes) store(dst + i, mix(load(u + i), load(l + i), w));
      if (i < n) {
        const int left = static_cast<int>(n - i);
        store_n(dst + i, mix(load_n(u + i, left), load_n(l + i, left), w), left);
      }
    }
  }
}

}  // namespace

extern const ResizeKernels kResize = {.nearest = nearest, .linear = linear};

}  // namespace redline::kernels::REDLINE_ISA
