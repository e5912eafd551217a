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

REDLINE_INLINE void store_at_most(float* p, F v, int64_t n) {
  if (n >= kLanes) {
    store(p, v);
  } else if (n > 0) {
    store_n(p, v, static_cast<int>(n));
  }
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
    // Whole vectors throughout: each part may overwrite the start of the next, which follows. Up to
    // a vector at the end of the pitch stays unset; only lanes past the last output read it.
    const F pad = set1(padding);
    for (int64_t i = 0; i < from; i += kLanes) store_at_most(phase + i, pad, pitch - i);
    const float* src = row + first;
    int64_t i = from;
    if (stride == 1) {
      for (; i + kLanes <= to; i += kLanes) store(phase + i, load(src + i));
      if (i < to) {
        const int left = static_cast<int>(to - i);
        store_at_most(phase + i, load_n_or(src + i, left, pad), pitch - i);
        i += kLanes;
      }
    } else {
      if (stride == 2)
        for (; first + 2 * (i + kLanes) <= w.width; i += kLanes)
          store_at_most(phase + i, even(load(src + 2 * i), load(src + 2 * i + kLanes)), pitch - i);
      for (; i < to; ++i) phase[i] = src[stride * i];
    }
    for (; i + kLanes <= pitch; i += kLanes) store(phase + i, pad);
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

// Where the window's elements lie in the ring for one output row: element (i, j) of output ox is
// rows[i][taps[j] + ox].
struct Taps {
  const float* rows[kMaxWindowKernel];
  int32_t taps[kMaxWindowKernel];
};

void place_taps(const Window2d& w, const WindowStrip& strip, Taps* taps) {
  for (int64_t j = 0; j < w.kernel_x; ++j) {
    const int64_t column = j * w.dilation_x;
    taps->taps[j] =
        static_cast<int32_t>(column % w.stride_x * strip.phase_pitch + column / w.stride_x);
  }
}

void place_rows(const Window2d& w, const WindowStrip& strip, const RowRing& ring, int64_t oy,
                Taps* taps) {
  const int64_t rows = window_rows(w);
  int64_t slot = oy * w.stride_y % rows;
  for (int64_t i = 0; i < w.kernel_y; ++i) {
    taps->rows[i] = ring.rows + slot * strip.row_pitch;
    slot += w.dilation_y;
    if (slot >= rows) slot -= rows;
  }
}

// Folds the window's elements for Vectors vectors of outputs from column ox.
template <int Vectors, class Start, class Step, class Finish>
REDLINE_INLINE void fold_group(const Window2d& w, const Taps& taps, int64_t ox, int64_t columns,
                               float* y, Start start, Step step, Finish finish) {
  F acc[Vectors];
  for (int v = 0; v < Vectors; ++v) acc[v] = start;
  int64_t element = 0;
  for (int64_t i = 0; i < w.kernel_y; ++i) {
    const float* row = taps.rows[i] + ox;
    for (int64_t j = 0; j < w.kernel_x; ++j, ++element) {
      const float* src = row + taps.taps[j];
      for (int v = 0; v < Vectors; ++v) acc[v] = step(acc[v], load(src + v * kLanes), element);
    }
  }
  for (int v = 0; v < Vectors; ++v) {
    const int64_t at = ox + v * kLanes, left = columns - at;
    if (left >= kLanes) {
      store(y + at, finish(acc[v], at, kLanes));
    } else if (left > 0) {
      store_n(y + at, finish(acc[v], at, static_cast<int>(left)), static_cast<int>(left));
    }
  }
}

// All outputs of one row of a strip; finish(acc, column, lanes) gives the result.
template <class Start, class Step, class Finish>
REDLINE_INLINE void fold_windows(const Window2d& w, const Taps& taps, int64_t columns, float* y,
                                 Start start, Step step, Finish finish) {
  int64_t ox = 0;
  for (; columns - ox > 3 * kLanes; ox += 4 * kLanes)
    fold_group<4>(w, taps, ox, columns, y, start, step, finish);
  const int64_t left = columns - ox;
  if (left > 2 * kLanes) {
    fold_group<3>(w, taps, ox, columns, y, start, step, finish);
  } else if (left > kLanes) {
    fold_group<2>(w, taps, ox, columns, y, start, step, finish);
  } else if (left > 0) {
    fold_group<1>(w, taps, ox, columns, y, start, step, finish);
  }
}

// visit(taps, first output column, columns, oy) for each strip and row of a plane.
template <class Visit>
REDLINE_INLINE void for_rows(const Window2d& w, const float* plane, float padding, Visit visit) {
  const WindowStrip strip = fit_strip(w, window_rows(w));
  RowRing ring;
  Taps taps;
  place_taps(w, strip, &taps);
  for (int64_t ox = 0; ox < w.out_width; ox += strip.out_columns) {
    const int64_t columns = at_most(strip.out_columns, w.out_width - ox);
    ring.next = -w.pad_top;
    for (int64_t oy = 0; oy < w.out_height; ++oy) {
      fill_ring(w, strip, plane, ox * w.stride_x - w.pad_left, oy, padding, &ring);
      place_rows(w, strip, ring, oy, &taps);
      visit(taps, ox, columns, oy);
    }
  }
}

// Pooling folds columns of the window first, row by row of the input, then the window's row: for
// kernel_y x kernel_x elements kernel_y + kernel_x steps. finish(acc, row_start(oy), column, lanes)
// gives the result.
template <class Step, class RowStart, class Finish>
REDLINE_INLINE void pool_plane(const Window2d& w, const float* plane, float* y, float neutral,
                               Step step, RowStart row_start, Finish finish) {
  constexpr int64_t kHalf = kWindowBufferFloats / 2;
  alignas(64) float folded[kHalf], phases[kHalf];
  const WindowStrip strip = fit_strip(w, 2);
  const F start = set1(neutral);
  Taps taps;
  place_taps(w, strip, &taps);
  taps.rows[0] = phases;
  for (int64_t ox = 0; ox < w.out_width; ox += strip.out_columns) {
    const int64_t columns = at_most(strip.out_columns, w.out_width - ox);
    // The input columns that the strip sees are [low, high).
    const int64_t first = ox * w.stride_x - w.pad_left;
    const int64_t low = at_most(at_least(first, 0), w.width);
    const int64_t past = first + (columns - 1) * w.stride_x + (w.kernel_x - 1) * w.dilation_x + 1;
    const int64_t high = at_least(low, at_most(past, w.width));
    Window2d row = w;
    row.kernel_y = 1;
    row.width = high - low;
    for (int64_t oy = 0; oy < w.out_height; ++oy) {
      const int64_t top = oy * w.stride_y - w.pad_top;
      const int64_t skipped = top >= 0 ? 0 : (-top + w.dilation_y - 1) / w.dilation_y;
      const int64_t within =
          top >= w.height ? 0 : (w.height - top + w.dilation_y - 1) / w.dilation_y;
      const int64_t end = at_most(w.kernel_y, within);
      const float* src = plane + (top + skipped * w.dilation_y) * w.width + low;
      const int64_t pitch = w.dilation_y * w.width;
      for (int64_t c = 0; c < row.width; c += kLanes) {
        const int left = row.width - c < kLanes ? static_cast<int>(row.width - c) : kLanes;
        F acc = start;
        if (left == kLanes) {
          for (int64_t i = skipped; i < end; ++i)
            acc = step(acc, load(src + (i - skipped) * pitch + c));
        } else {
          for (int64_t i = skipped; i < end; ++i)
            acc = step(acc, load_n(src + (i - skipped) * pitch + c, left));
        }
        store_n(folded + c, acc, left);
      }
      split_row(row, strip, folded, first - low, neutral, phases);
      const F of_row = row_start(oy);
      fold_windows(
          row, taps, columns, y + oy * w.out_width + ox, start,
          [&](F a, F v, int64_t) { return step(a, v); },
          [&](F a, int64_t at, int n) { return finish(a, of_row, ox + at, n); });
    }
  }
}

void max_pool(const Window2d& w, const float* x, float* y, int64_t begin, int64_t end) {
  for (int64_t p = begin; p < end; ++p)
    pool_plane(
        w, x + p * w.height * w.width, y + p * w.out_height * w.out_width, -kInf,
        [](F a, F v) { return max_nan(a, v); }, [](int64_t) { return zero(); },
        [](F a, F, int64_t, int) { return a; });
}

// Vectors vectors of channels under the window whose first element is at (top, left).
template <int Vectors>
REDLINE_INLINE void max_of_window(const Window2d& w, int64_t channels, const float* image,
                                  int64_t top, int64_t left, float* y, int64_t count) {
  F acc[Vectors];
  for (int v = 0; v < Vectors; ++v) acc[v] = set1(-kInf);
  const int last = static_cast<int>(count - (Vectors - 1) * kLanes);
  for (int64_t i = 0; i < w.kernel_y; ++i) {
    const int64_t row = top + i * w.dilation_y;
    if (row < 0 || row >= w.height) continue;
    for (int64_t j = 0; j < w.kernel_x; ++j) {
      const int64_t column = left + j * w.dilation_x;
      if (column < 0 || column >= w.width) continue;
      const float* src = image + (row * w.width + column) * channels;
      for (int v = 0; v + 1 < Vectors; ++v) acc[v] = max_nan(acc[v], load(src + v * kLanes));
      const float* end = src + (Vectors - 1) * kLanes;
      acc[Vectors - 1] = max_nan(acc[Vectors - 1], last == kLanes ? load(end) : load_n(end, last));
    }
  }
  for (int v = 0; v + 1 < Vectors; ++v) store(y + v * kLanes, acc[v]);
  store_n(y + (Vectors - 1) * kLanes, acc[Vectors - 1], last);
}

void max_pool_channels_last(const Window2d& w, int64_t channels, const float* x, float* y,
                            int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const float* image = x + r / w.out_height * w.height * w.width * channels;
    const int64_t top = r % w.out_height * w.stride_y - w.pad_top;
    for (int64_t ox = 0; ox < w.out_width; ++ox) {
      const int64_t left = ox * w.stride_x - w.pad_left;
      float* out = y + (r * w.out_width + ox) * channels;
      int64_t c = 0;
      for (; channels - c >= 4 * kLanes; c += 4 * kLanes)
        max_of_window<4>(w, channels, image + c, top, left, out + c, 4 * kLanes);
      for (; c < channels; c += kLanes)
        max_of_window<1>(w, channels, image + c, top, left, out + c, at_most(kLanes, channels - c));
    }
  }
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
  const auto columns_inside = [&](int64_t ox) {
    return static_cast<float>(
        count_inside(ox, w.stride_x, w.pad_left, w.kernel_x, w.dilation_x, left, right));
  };
  // Counts of the first output columns; those of a wider plane are counted as they come.
  constexpr int64_t kCounts = 2048;
  alignas(64) float counts[kCounts];
  const int64_t counted = at_most(w.out_width, kCounts);
  for (int64_t i = 0; i < counted; ++i) counts[i] = columns_inside(i);
  for (int64_t p = begin; p < end; ++p)
    pool_plane(
        w, x + p * w.height * w.width, y + p * w.out_height * w.out_width, 0.0f,
        [](F a, F v) { return a + v; },
        [&](int64_t oy) {
          return set1(static_cast<float>(
              count_inside(oy, w.stride_y, w.pad_top, w.kernel_y, w.dilation_y, top, bottom)));
        },
        [&](F a, F rows, int64_t ox, int n) {
          if (ox + n <= counted) return a / (rows * load_n(counts + ox, n));
          alignas(64) float wide[kLanes] = {};
          for (int i = 0; i < n; ++i) wide[i] = columns_inside(ox + i);
          return a / (rows * load(wide));
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
             [&](const Taps& taps, int64_t ox, int64_t columns, int64_t oy) {
               float* out = args.y + (p * w.out_height + oy) * w.out_width + ox;
               fold_windows(
                   w, taps, columns, out, bias,
                   [&](F a, F v, int64_t element) { return fma(set1(weights[element]), v, a); },
                   [&](F a, int64_t, int) { return min_raw(high, max_raw(low, a)); });
             });
  }
}

}  // namespace

extern const PoolKernels kPool = {.max_pool = max_pool,
                                  .max_pool_channels_last = max_pool_channels_last,
                                  .average_pool = average_pool,
                                  .depthwise_conv = depthwise_conv};

}  // namespace redline::kernels::REDLINE_ISA
