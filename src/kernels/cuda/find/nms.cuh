// SPDX-License-Identifier: Apache-2.0
// Non-maximum suppression in double, every operation rounded by itself: models are tuned to what
// comes out at a threshold.
#ifdef REDLINE_EMULATED
__device__ inline double times(double a, double b) { return a * b; }
__device__ inline double plus(double a, double b) { return a + b; }
#else
__device__ inline double times(double a, double b) { return __dmul_rn(a, b); }
__device__ inline double plus(double a, double b) { return __dadd_rn(a, b); }
#endif
__device__ inline double lesser(double a, double b) { return b < a ? b : a; }
__device__ inline double greater(double a, double b) { return a < b ? b : a; }

struct box {
  double x0, y0, x1, y1;
  __device__ inline double area() const { return times(plus(x1, -x0), plus(y1, -y0)); }
};

template <bool CENTRE, class T>
__device__ inline box read_box(const T* b) {
  const double p = (double)widen(b[0]), q = (double)widen(b[1]);
  const double r = (double)widen(b[2]), s = (double)widen(b[3]);
  if (CENTRE) {
    return {plus(p, -r / 2), plus(q, -s / 2), plus(p, r / 2), plus(q, s / 2)};
  }
  return {lesser(q, s), lesser(p, r), greater(q, s), greater(p, r)};
}

__device__ inline bool overlaps(const box& a, const box& b, double threshold) {
  const double width = plus(lesser(a.x1, b.x1), -greater(a.x0, b.x0));
  const double height = plus(lesser(a.y1, b.y1), -greater(a.y0, b.y0));
  if (!(width > 0 && height > 0)) return false;
  const double common = times(width, height);
  const double together = plus(plus(a.area(), b.area()), -common);
  if (!(a.area() > 0 && b.area() > 0 && together > 0)) return false;
  return (float)(common / together) > (float)threshold;
}

// The better of two candidates; of equal ones the first.
struct candidate {
  double score;
  i64 box;  // negative: none
};
struct better_candidate {
  __device__ inline candidate operator()(const candidate& a, const candidate& b) const {
    if (a.box < 0) return b;
    if (b.box < 0) return a;
    if (a.score != b.score) return a.score > b.score ? a : b;
    return a.box < b.box ? a : b;
  }
};

// One block for one class of one batch. `dead` has a byte a box; kept[0], kept[1], ... get the
// boxes that stay, at most `most`; returns how many, to all threads.
template <bool CENTRE, class T, class S>
__device__ inline i64 suppress(const T* boxes, const S* scores, i64 count, i64 most, double lowest,
                               double threshold, u8* dead, i32* kept) {
  __shared__ candidate best_of_warp[2][8];
  const int t = (int)threadIdx.x;
  for (i64 i = t; i < count; i += 256) dead[i] = (double)widen(scores[i]) > lowest ? 0 : 1;
  i64 found = 0;
  while (found < most) {
    candidate best = {0, -1};
    for (i64 i = t; i < count; i += 256) {
      if (!dead[i]) best = better_candidate()(best, candidate{(double)widen(scores[i]), i});
    }
    best = group_merge<256>(best, better_candidate(), best_of_warp[found & 1]);
    if (best.box < 0) break;
    const box taken = read_box<CENTRE>(boxes + best.box * 4);
    for (i64 i = t; i < count; i += 256) {
      if (i == best.box) dead[i] = 1;
      if (!dead[i] && overlaps(read_box<CENTRE>(boxes + i * 4), taken, threshold)) dead[i] = 1;
    }
    if (t == 0) kept[found] = (i32)best.box;
    ++found;
  }
  return found;
}
