// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pool/pool.h"

#include "kernels/cpu/pool/window.h"
#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

constexpr float kInf = __builtin_inff();

REDLINE_INLINE int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
REDLINE_INLINE int64_t at_least(int64_t a, int64_t b) { return a > b ? a : b; }

// The widest strip whose `rows` buffered rows fit; a multiple of 64 columns unless it is all.
WindowStrip fit_strip(const Window2d& w, int64_t rows) {
  int64_t columns = w.out_width;
  if (window_strip(w, columns).row_pitch * rows > kWindowBufferFloats) {
    columns = (columns + 63) / 64 * 64;
    while (columns > 64 && window_strip(w, columns).row_pitch * rows > kWindowBufferFloats)
      columns = (columns / 2 + 63) / 64 * 64;
  }
  return window_strip(w, columns);
}

// The columns first_column + i, i < n, of a row (null: all padding) into the phases of `out`.
void split_row(const Window2d& w, const WindowStrip& strip, const float* row, int64_t first_column,
               float padding, float* out) {
  const int64_t stride = w.stride_x, pitch = strip.phase_pitch;
  if (!row) {
    for (int64_t i = 0; i < strip.row_pitch; ++i) out[i] = padding;
    return;
  }
  for (int64_t p = 0; p < stride; ++p) {
    float* phase = out + p * pitch;
    const int64_t first = first_column + p;
    // phase[i] is column first + i * stride; those within the row are i in [from, to).
    const int64_t from = first >= 0 ? 0 : at_most(pitch, (-first + stride - 1) / stride);
    const int64_t to =
        first >= w.width ? from
                         : at_least(from, at_most(pitch, (w.width - first + stride - 1) / stride));
    for (int64_t i = 0; i < from; ++i) phase[i] = padding;
    const float* src = row + first;
    if (stride == 1) {
      for (int64_t i = from; i < to; ++i) phase[i] = src[i];
    } else if (stride == 2) {
      for (int64_t i = from; i < to; ++i) phase[i] = src[2 * i];
    } else {
      for (int64_t i = from; i < to; ++i) phase[i] = src[stride * i];
    }
    for (int64_t i = to; i < pitch; ++i) phase[i] = padding;
  }
}

// The input rows, split by phase, that outputs of one strip need; each is split once and kept for
// the outputs below.
struct RowRing {
  alignas(64) float rows[kWindowBufferFloats];
  int64_t next;  // input rows below this one are there
};

// Brings the rows that output row oy needs into the ring; row r is at slot r modulo the ring.
void fill_ring(const Window2d& w, const WindowStrip& strip, const float* plane,
               int64_t first_column, int64_t oy, float padding, RowRing* ring) {
  const int64_t rows = window_rows(w), first = oy * w.stride_y - w.pad_top;
  for (int64_t r = at_least(first, ring->next); r < first + rows; ++r) {
    const float* row = r >= 0 && r < w.height ? plane + r * w.width : nullptr;
    const int64_t slot = (r + w.pad_top) % rows;
    split_row(w, strip, row, first_column, padding, ring->rows + slot * strip.row_pitch);
  }
  ring->next = first + rows;
}

template <int N>
struct Count {
  static constexpr int value = N;
};

// Folds the window's elements of each output of one row: finish(acc, column) gives the result.
template <class Start, class Step, class Finish>
REDLINE_INLINE void fold_windows(const Window2d& w, const WindowStrip& strip, const RowRing& ring,
                                 int64_t oy, int64_t columns, float* y, Start start, Step step,
                                 Finish finish) {
  const int64_t rows = window_rows(w);
  int64_t ox = 0;
  const auto group = [&](auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    F acc[kVectors];
    for (int v = 0; v < kVectors; ++v) acc[v] = start;
    for (int64_t i = 0; i < w.kernel_y; ++i) {
      const int64_t slot = (oy * w.stride_y + i * w.dilation_y) % rows;
      const float* row = ring.rows + slot * strip.row_pitch + ox;
      for (int64_t j = 0; j < w.kernel_x; ++j) {
        const int64_t tap = j * w.dilation_x;
        const float* src = row + tap % w.stride_x * strip.phase_pitch + tap / w.stride_x;
        const int64_t element = i * w.kernel_x + j;
        for (int v = 0; v < kVectors; ++v) acc[v] = step(acc[v], load(src + v * kLanes), element);
      }
    }
    for (int v = 0; v < kVectors; ++v) {
      const int64_t at = ox + v * kLanes, left = columns - at;
      if (left >= kLanes) {
        store(y + at, finish(acc[v], at, kLanes));
      } else if (left > 0) {
        store_n(y + at, finish(acc[v], at, static_cast<int>(left)), static_cast<int>(left));
      }
    }
    ox += kVectors * kLanes;
  };
  while (columns - ox >= 4 * kLanes) group(Count<4>{});
  while (ox < columns) group(Count<1>{});
}

// visit(ring, strip, first output column, columns, oy) for each strip and row of a plane.
template <class Visit>
REDLINE_INLINE void for_rows(const Window2d& w, const float* plane, float padding, Visit visit) {
  const WindowStrip strip = fit_strip(w, window_rows(w));
  RowRing ring;
  for (int64_t ox = 0; ox < w.out_width; ox += strip.out_columns) {
    const int64_t columns = at_most(strip.out_columns, w.out_width - ox);
    ring.next = -w.pad_top;
    for (int64_t oy = 0; oy < w.out_height; ++oy) {
      fill_ring(w, strip, plane, ox * w.stride_x - w.pad_left, oy, padding, &ring);
      visit(ring, strip, ox, columns, oy);
    }
  }
}

void max_pool(const Window2d& w, const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p)
    for_rows(w, x + p * w.height * w.width, -kInf,
             [&](const RowRing& ring, const WindowStrip& strip, int64_t ox, int64_t columns,
                 int64_t oy) {
               float* out = y + (p * w.out_height + oy) * w.out_width + ox;
               fold_windows(
                   w, strip, ring, oy, columns, out, set1(-kInf),
                   [](F a, F v, int64_t) { return max_nan(a, v); },
                   [](F a, int64_t, int) { return a; });
             });
}

// How many window positions of output `o` lie in [low, high).
int64_t count_inside(int64_t o, int64_t stride, int64_t pad, int64_t kernel, int64_t dilation,
                     int64_t low, int64_t high) {
  int64_t count = 0;
  for (int64_t i = 0; i < kernel; ++i) {
    const int64_t at = o * stride - pad + i * dilation;
    count += at >= low && at < high;
  }
  return count;
}

void average_pool(const Window2d& w, bool include_pad, const float* x, float* y, int64_t begin,
                  int64_t end) {
  const int64_t top = include_pad ? -w.pad_top : 0, left = include_pad ? -w.pad_left : 0;
  const int64_t bottom = w.height + (include_pad ? w.pad_bottom : 0);
  const int64_t right = w.width + (include_pad ? w.pad_right : 0);
  constexpr int64_t kCounts = 2048;
  float counts[kCounts + 64];
  for (int64_t p = begin; p < end; ++p)
    for_rows(
        w, x + p * w.height * w.width, 0.0f,
        [&](const RowRing& ring, const WindowStrip& strip, int64_t ox, int64_t columns,
            int64_t oy) {
          float* out = y + (p * w.out_height + oy) * w.out_width + ox;
          const F high = set1(static_cast<float>(
              count_inside(oy, w.stride_y, w.pad_top, w.kernel_y, w.dilation_y, top, bottom)));
          const bool table = columns <= kCounts;
          if (table && (oy == 0 || strip.out_columns < w.out_width))
            for (int64_t i = 0; i < columns; ++i)
              counts[i] = static_cast<float>(count_inside(ox + i, w.stride_x, w.pad_left,
                                                          w.kernel_x, w.dilation_x, left, right));
          fold_windows(
              w, strip, ring, oy, columns, out, zero(), [](F a, F v, int64_t) { return a + v; },
              [&](F a, int64_t at, int n) {
                float wide[kLanes] = {};
                for (int i = 0; i < n && !table; ++i)
                  wide[i] = static_cast<float>(count_inside(ox + at + i, w.stride_x, w.pad_left,
                                                            w.kernel_x, w.dilation_x, left, right));
                return a / (high * (table ? load_n(counts + at, n) : load(wide)));
              });
        });
}

void depthwise_conv(const Depthwise2dArgs& args, int64_t begin, int64_t end) {
  const Window2d& w = args.window;
  const F low = set1(args.low), high = set1(args.high);
  for (int64_t p = begin; p < end; ++p) {
    const int64_t channel = p % args.channels;
    const float* weights = args.weights + channel * w.kernel_y * w.kernel_x;
    const F bias = set1(args.bias ? args.bias[channel] : 0.0f);
    for_rows(w, args.x + p * w.height * w.width, 0.0f,
             [&](const RowRing& ring, const WindowStrip& strip, int64_t ox, int64_t columns,
                 int64_t oy) {
               float* out = args.y + (p * w.out_height + oy) * w.out_width + ox;
               fold_windows(
                   w, strip, ring, oy, columns, out, bias,
                   [&](F a, F v, int64_t element) { return fma(set1(weights[element]), v, a); },
                   [&](F a, int64_t, int) { return min_raw(high, max_raw(low, a)); });
             });
  }
}

}  // namespace

extern const PoolKernels kPool = {
    .max_pool = max_pool, .average_pool = average_pool, .depthwise_conv = depthwise_conv};

}  // namespace redline::kernels::REDLINE_ISA
