// SPDX-License-Identifier: Apache-2.0
// Where the operands of a product are. A source has rows of elements; `row` prepares one, and `at`
// says where element `column` of it lies: false, with `from` left alone, where a zero belongs. A
// row that is not there is a negative number and no null pointer: compilers may take the sum of a
// pointer and an index to be none only if both are, and then read beside address 0.

// A row-major matrix of COLUMNS columns whose rows are STRIDE apart.
template <class T, int COLUMNS, long long STRIDE>
struct DenseRows {
  typedef T Element;
  typedef i64 Row;
  const T* base;
  int rows;
  __device__ inline Row row(int r) const { return r < rows ? (i64)r * STRIDE : -1; }
  __device__ inline bool at(Row row, int column, const T*& from) const {
    if (row < 0 || column >= COLUMNS) return false;
    from = base + row + column;
    return true;
  }
};

// The transpose of a row-major matrix whose rows are `stride` apart.
template <class T, int COLUMNS>
struct TransposedRows {
  typedef T Element;
  typedef int Row;
  const T* base;
  int rows;
  i64 stride;
  __device__ inline Row row(int r) const { return r < rows ? r : -1; }
  __device__ inline bool at(Row row, int column, const T*& from) const {
    if (row < 0 || column >= COLUMNS) return false;
    from = base + row + column * stride;
    return true;
  }
};

// The windows of a convolution over images [n, height, width, PIXEL]: a row is a window, its
// elements go tap by tap and, inside, over CHANNELS channels. G: the sizes, those of the image as
// constants or as members.
template <class T, class G>
struct WindowRows {
  typedef T Element;
  struct Row {
    i64 image;
    int y, x;
  };
  const T* base;
  int rows;
  G sizes;
  __device__ inline Row row(int r) const {
    int image = sizes.by_places(r);
    int place = r - image * sizes.places;
    int y = sizes.by_out_width(place);
    int x = place - y * sizes.out_width;
    i64 first = (i64)image * ((i64)sizes.height * sizes.width * G::kPixel);
    return {r < rows ? first : -1, y * G::kStrideY - sizes.pad_y, x * G::kStrideX - sizes.pad_x};
  }
  __device__ inline bool at(const Row& row, int column, const T*& from) const {
    int tap = column / G::kChannels;
    int channel = column - tap * G::kChannels;
    int tap_y = tap / G::kKernelWidth;
    int tap_x = tap - tap_y * G::kKernelWidth;
    int y = row.y + tap_y * G::kDilationY;
    int x = row.x + tap_x * G::kDilationX;
    bool inside =
        row.image >= 0 && tap < G::kTaps && (u32)y < (u32)sizes.height && (u32)x < (u32)sizes.width;
    if (inside) from = base + row.image + ((y * sizes.width + x) * G::kPixel + channel);
    return inside;
  }
};

// Filters [filter, CHANNELS, TAPS] in the order of WindowRows.
template <class T, int CHANNELS, int TAPS>
struct FilterRows {
  typedef T Element;
  typedef i64 Row;
  const T* base;
  int rows;
  __device__ inline Row row(int r) const { return r < rows ? (i64)r * (CHANNELS * TAPS) : -1; }
  __device__ inline bool at(Row row, int column, const T*& from) const {
    int tap = column / CHANNELS;
    int channel = column - tap * CHANNELS;
    if (row < 0 || tap >= TAPS) return false;
    from = base + row + (channel * TAPS + tap);
    return true;
  }
};
