// SPDX-License-Identifier: Apache-2.0
// Windows over channels-last images, each channel for itself: a thread makes LANES channels of
// PIXELS neighbouring windows, and reads what they share once, ROWS of taps at a time. G: the
// sizes, those of the image as constants or as members; kPixel channels.

// Depthwise filters: WEIGHTS lie as [tap][channel] when PACKED, else as [channel][tap].
template <class T, class G, int LANES, bool PACKED>
struct DepthwiseSum {
  const T* weights;
  // Of one row of taps.
  struct Row {
    lanes_of<T, LANES> tap[G::kKernelWidth];
  };
  __device__ inline void start(float (&sum)[LANES]) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) sum[i] = 0;
  }
  __device__ inline Row row(int tap_y, int channel) const {
    Row row;
#pragma unroll
    for (int x = 0; x < G::kKernelWidth; ++x) {
      int tap = tap_y * G::kKernelWidth + x;
      if constexpr (PACKED) {
        row.tap[x] = load_lanes<LANES>(weights + (tap * G::kPixel + channel));
      } else {
#pragma unroll
        for (int i = 0; i < LANES; ++i) {
          row.tap[x].element[i] =
              weights[(channel + i) * (G::kKernelHeight * G::kKernelWidth) + tap];
        }
      }
    }
    return row;
  }
  __device__ inline void add(float (&sum)[LANES], const lanes_of<T, LANES>& value, const Row& row,
                             int x) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) {
      sum[i] = fmaf(widen(value.element[i]), widen(row.tap[x].element[i]), sum[i]);
    }
  }
  __device__ inline void finish(float (&)[LANES], int, int) const {}
};

template <class T, int LANES>
struct WindowMaximum {
  __device__ inline void start(float (&best)[LANES]) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) best[i] = -INFINITY;
  }
  struct Row {};
  __device__ inline Row row(int, int) const { return {}; }
  __device__ inline void add(float (&best)[LANES], const lanes_of<T, LANES>& value, const Row&,
                             int) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) {
      float v = widen(value.element[i]);
      best[i] = v > best[i] || v != v ? v : best[i];
    }
  }
  __device__ inline void finish(float (&)[LANES], int, int) const {}
};

// Taps of an axis that lie in [low, limit).
template <int TAPS, int DILATION>
__device__ inline int taps_inside(int start, int low, int limit) {
  int count = 0;
#pragma unroll 1
  for (int tap = 0; tap < TAPS; ++tap) {
    int at = start + tap * DILATION;
    count += at >= low && at < limit ? 1 : 0;
  }
  return count;
}

// PADDING: elements in the padding count.
template <class T, class G, int LANES, bool PADDING>
struct WindowAverage {
  G sizes;
  __device__ inline void start(float (&sum)[LANES]) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) sum[i] = 0;
  }
  struct Row {};
  __device__ inline Row row(int, int) const { return {}; }
  __device__ inline void add(float (&sum)[LANES], const lanes_of<T, LANES>& value, const Row&,
                             int) const {
#pragma unroll
    for (int i = 0; i < LANES; ++i) sum[i] += widen(value.element[i]);
  }
  __device__ inline void finish(float (&sum)[LANES], int y, int x) const {
    int down = taps_inside<G::kKernelHeight, G::kDilationY>(
        y, PADDING ? -sizes.pad_y : 0, sizes.height + (PADDING ? sizes.pad_end_y : 0));
    int across = taps_inside<G::kKernelWidth, G::kDilationX>(
        x, PADDING ? -sizes.pad_x : 0, sizes.width + (PADDING ? sizes.pad_end_x : 0));
    float count = (float)(down * across);
#pragma unroll
    for (int i = 0; i < LANES; ++i) sum[i] = sum[i] / count;
  }
};

// Whether any of PIXELS windows has a tap at `reach` from where the first begins.
template <class G, int PIXELS>
__device__ constexpr bool is_tap(int reach) {
  for (int p = 0; p < PIXELS; ++p) {
    int distance = reach - p * G::kStrideX;
    if (distance >= 0 && distance % G::kDilationX == 0 &&
        distance / G::kDilationX < G::kKernelWidth) {
      return true;
    }
  }
  return false;
}

__device__ inline int clamped(int at, int size) { return at < 0 ? 0 : at < size ? at : size - 1; }

template <class T, class G, int LANES, int PIXELS, int ROWS, int THREADS, class Op, class Tail>
__device__ inline void windows(const T* images, Op op, const Tail& tail, const G& sizes,
                               int count) {
  constexpr int kGroups = G::kPixel / LANES;
  constexpr int kReach = (PIXELS - 1) * G::kStrideX + (G::kKernelWidth - 1) * G::kDilationX + 1;
  wait_for_former();
  release_next();
  i64 index = (i64)blockIdx.x * THREADS + threadIdx.x;
  i64 line = sizes.by_line_threads(index);  // of all images
  if (line >= (i64)count * sizes.out_height) return;
  int inside = (int)(index - line * sizes.line_threads);
  int channel = inside % kGroups * LANES;
  int out_x = inside / kGroups * PIXELS;
  int image = (int)sizes.by_out_height(line);
  int y = (int)(line - (i64)image * sizes.out_height) * G::kStrideY - sizes.pad_y;
  int x = out_x * G::kStrideX - sizes.pad_x;
  const T* base = images + (i64)image * ((i64)sizes.height * sizes.width * G::kPixel) + channel;
  float value[PIXELS][LANES];
#pragma unroll
  for (int p = 0; p < PIXELS; ++p) op.start(value[p]);
#pragma unroll 1
  for (int first = 0; first < G::kKernelHeight; first += ROWS) {
    if (sizes.height == 0 || sizes.width == 0) break;
    // What lies outside is read from the border, and left out below: reads without a branch are
    // all under way at once.
    lanes_of<T, LANES> held[ROWS][kReach];
    typename Op::Row row[ROWS];
#pragma unroll
    for (int j = 0; j < ROWS; ++j) {
      row[j] = op.row(clamped(first + j, G::kKernelHeight), channel);
      int in_y = clamped(y + (first + j) * G::kDilationY, sizes.height);
#pragma unroll
      for (int r = 0; r < kReach; ++r) {
        if (!is_tap<G, PIXELS>(r)) continue;
        int in_x = clamped(x + r, sizes.width);
        held[j][r] = load_lanes<LANES>(base + (in_y * sizes.width + in_x) * G::kPixel);
      }
    }
#pragma unroll
    for (int j = 0; j < ROWS; ++j) {
      int in_y = y + (first + j) * G::kDilationY;
      if (first + j >= G::kKernelHeight || (u32)in_y >= (u32)sizes.height) continue;
#pragma unroll
      for (int r = 0; r < kReach; ++r) {
        if (!is_tap<G, PIXELS>(r) || (u32)(x + r) >= (u32)sizes.width) continue;
#pragma unroll
        for (int p = 0; p < PIXELS; ++p) {
          int distance = r - p * G::kStrideX;
          if (distance >= 0 && distance % G::kDilationX == 0 &&
              distance / G::kDilationX < G::kKernelWidth) {
            op.add(value[p], held[j][r], row[j], distance / G::kDilationX);
          }
        }
      }
    }
  }
#pragma unroll
  for (int p = 0; p < PIXELS; ++p) {
    if (out_x + p >= sizes.out_width) break;
    op.finish(value[p], y, x + p * G::kStrideX);
    tail(0, (int)line * sizes.out_width + out_x + p, channel, value[p]);
  }
}
