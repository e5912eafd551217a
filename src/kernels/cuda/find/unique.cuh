// SPDX-License-Identifier: Apache-2.0
// Slices of a tensor [outer, size, inner], compared element by element; NaNs are equal to each
// other and greater than numbers.
template <class T>
struct slices {
  const T* x;
  i64 outer, size, inner;

  __device__ inline int compare(i64 a, i64 b) const {
    for (i64 i = 0; i < outer; ++i) {
      const T* row = x + i * size * inner;
      for (i64 j = 0; j < inner; ++j) {
        const auto p = widen(row[a * inner + j]);
        const auto q = widen(row[b * inner + j]);
        if (p < q) return -1;
        if (q < p) return 1;
        if (p != p && q == q) return 1;
        if (q != q && p == p) return -1;
      }
    }
    return 0;
  }
  // Numbers from `size` on name nothing and come last; equal slices keep their order.
  __device__ inline bool before(i32 a, i32 b) const {
    if (a >= size || b >= size) return a < b;
    const int order = compare(a, b);
    return order != 0 ? order < 0 : a < b;
  }
};
