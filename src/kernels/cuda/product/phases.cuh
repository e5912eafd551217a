// SPDX-License-Identifier: Apache-2.0
// A transposed convolution as products. The places of the result whose remainders by the strides
// are the same (a phase) see the same taps, so each phase is a product: its rows are places, its
// columns channels of the result, its depth goes tap by tap over the channels of a group. G: the
// sizes, those of the image as constants or as members; place o of the result takes tap k of place
// i where o + pad = i * stride + k.

// What place q of phase p sees along one axis: tap first + j * stride of place `start` - j.
template <int STRIDE, int PAD>
struct PhaseAxis {
  int start, first;
  __device__ inline PhaseAxis(int p, int q)
      : start(q + (p + PAD) / STRIDE), first((p + PAD) % STRIDE) {}
};

// Rows: the windows of one phase over images [n, height, width, PIXEL].
template <class T, class G>
struct PhaseRows {
  typedef T Element;
  struct Row {
    i64 image;
    int y, x, tap_y, tap_x;
  };
  const T* base;
  int rows, phase;
  G sizes;
  __device__ inline Row row(int r) const {
    int image = sizes.by_phase_places(r);
    int place = r - image * sizes.phase_places;
    int q = sizes.by_phase_width(place);
    PhaseAxis<G::kStrideY, G::kPadY> y(phase / G::kStrideX, q);
    PhaseAxis<G::kStrideX, G::kPadX> x(phase % G::kStrideX, place - q * sizes.phase_width);
    i64 first = (i64)image * ((i64)sizes.height * sizes.width * G::kPixel);
    return {r < rows ? first : -1, y.start, x.start, y.first, x.first};
  }
  __device__ inline bool at(const Row& row, int column, const T*& from) const {
    int tap = column / G::kChannels;
    int channel = column - tap * G::kChannels;
    int j = tap / G::kTapsX;
    int i = tap - j * G::kTapsX;
    int y = row.y - j;
    int x = row.x - i;
    // A tap beyond the kernel must not meet what it would turn into NaN.
    bool inside = row.image >= 0 && tap < G::kTapsY * G::kTapsX && (u32)y < (u32)sizes.height &&
                  (u32)x < (u32)sizes.width && row.tap_y + j * G::kStrideY < G::kKernelHeight &&
                  row.tap_x + i * G::kStrideX < G::kKernelWidth;
    if (inside) from = base + row.image + ((y * sizes.width + x) * G::kPixel + channel);
    return inside;
  }
};

// Columns: filters [channel, FILTERS, kernel height, kernel width] in the order of PhaseRows.
template <class T, class G>
struct PhaseFilters {
  typedef T Element;
  typedef int Row;
  const T* base;
  int phase;
  static constexpr int kKernel = G::kKernelHeight * G::kKernelWidth;
  __device__ inline Row row(int r) const { return r < G::kFilters ? r * kKernel : -1; }
  __device__ inline bool at(Row row, int column, const T*& from) const {
    int tap = column / G::kChannels;
    int channel = column - tap * G::kChannels;
    int j = tap / G::kTapsX;
    int y = PhaseAxis<G::kStrideY, G::kPadY>(phase / G::kStrideX, 0).first + j * G::kStrideY;
    int x = PhaseAxis<G::kStrideX, G::kPadX>(phase % G::kStrideX, 0).first +
            (tap - j * G::kTapsX) * G::kStrideX;
    bool inside =
        row >= 0 && tap < G::kTapsY * G::kTapsX && y < G::kKernelHeight && x < G::kKernelWidth;
    if (inside) from = base + row + (channel * (G::kFilters * kKernel) + y * G::kKernelWidth + x);
    return inside;
  }
};

// The place of the result that a row is, as a row of [n, height, width]; -1 where there is none.
template <class G>
__device__ inline int phase_place(const G& sizes, int phase, int row) {
  int image = sizes.by_phase_places(row);
  int place = row - image * sizes.phase_places;
  int q = sizes.by_phase_width(place);
  int y = q * G::kStrideY + phase / G::kStrideX;
  int x = (place - q * sizes.phase_width) * G::kStrideX + phase % G::kStrideX;
  bool inside = y < sizes.out_height && x < sizes.out_width;
  return inside ? (image * sizes.out_height + y) * sizes.out_width + x : -1;
}
