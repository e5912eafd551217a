// SPDX-License-Identifier: Apache-2.0
// A number on the diagonal or below it: the largest of its column is the pivot, of equal ones the
// first.
struct pivot_candidate {
  double size;  // negative: none
  i64 row;
};
struct larger_pivot {
  __device__ inline pivot_candidate operator()(const pivot_candidate& a,
                                               const pivot_candidate& b) const {
    if (a.size != b.size) return a.size > b.size ? a : b;
    return a.row < b.row ? a : b;
  }
};

// The determinant of a[n, n], which is destroyed, by elimination; to all of the block's 256
// threads.
__device__ inline double determinant(double* a, i64 n) {
  __shared__ pivot_candidate best_of_warp[2][8];
  const int t = (int)threadIdx.x;
  double result = 1;
  for (i64 col = 0; col < n; ++col) {
    pivot_candidate best = {-1, n};
    for (i64 row = col + t; row < n; row += 256) {
      const double size = fabs(a[row * n + col]);
      // A NaN is larger than nothing; on the diagonal nothing is larger than it.
      if (row == col && size != size) best = {INFINITY, -1};
      if (size == size) best = larger_pivot()(best, pivot_candidate{size, row});
    }
    best = group_merge<256>(best, larger_pivot(), best_of_warp[col & 1]);
    const i64 pivot = best.row < 0 || best.row == n ? col : best.row;
    const double value = a[pivot * n + col];
    if (value == 0) return 0;
    if (pivot != col) {
      __syncthreads();  // all have read the pivot
      for (i64 k = t; k < n; k += 256) {
        const double above = a[col * n + k];
        a[col * n + k] = a[pivot * n + k];
        a[pivot * n + k] = above;
      }
      result = -result;
      __syncthreads();
    }
    result *= value;
    // The column itself is read by all and not needed any more.
    for (i64 at = t; at < (n - col - 1) * (n - col - 1); at += 256) {
      const i64 row = col + 1 + at / (n - col - 1), k = col + 1 + at % (n - col - 1);
      a[row * n + k] -= a[row * n + col] / value * a[col * n + k];
    }
    __syncthreads();
  }
  return result;
}
