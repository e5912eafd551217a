// SPDX-License-Identifier: Apache-2.0
// Discrete Fourier transforms of a block's lines in shared memory, in place: the pass of a factor
// leaves the result's digit where the sample's was, so the results lie in the order of reversed
// digits. Passes and butterflies are those of ops/fft.cc, operation by operation. The sign is that
// of the inverse; the forward transform is that of conjugates, conjugated.
template <class R>
struct alignas(2 * sizeof(R)) complex_of {
  R re, im;
};

// Never part of a fused multiply-add: the f32 results have the rounding errors of ops/fft.cc.
__device__ inline double times(double a, double b) { return a * b; }
#ifdef REDLINE_EMULATED
__device__ inline float times(float a, float b) { return a * b; }
#else
__device__ inline float times(float a, float b) { return __fmul_rn(a, b); }
#endif

template <class R>
__device__ inline complex_of<R> operator+(const complex_of<R>& a, const complex_of<R>& b) {
  return {a.re + b.re, a.im + b.im};
}
template <class R>
__device__ inline complex_of<R> operator-(const complex_of<R>& a, const complex_of<R>& b) {
  return {a.re - b.re, a.im - b.im};
}
template <class R>
__device__ inline complex_of<R> times(const complex_of<R>& a, R b) {
  return {times(a.re, b), times(a.im, b)};
}
template <class R>
__device__ inline complex_of<R> times(const complex_of<R>& a, const complex_of<R>& b) {
  return {times(a.re, b.re) - times(a.im, b.im), times(a.re, b.im) + times(a.im, b.re)};
}
template <class R>
__device__ inline complex_of<R> times_i(const complex_of<R>& a) {
  return {-a.im, a.re};
}

// The transform of a few points; roots[k * step] turns by 1 / P of the circle k times.
template <class R>
__device__ inline void butterfly(const complex_of<R> (&a)[2], complex_of<R> (&r)[2],
                                 const complex_of<R>*, int) {
  r[0] = a[0] + a[1];
  r[1] = a[0] - a[1];
}
template <class R>
__device__ inline void butterfly(const complex_of<R> (&a)[3], complex_of<R> (&r)[3],
                                 const complex_of<R>*, int) {
  const R sine = (R)0.866025403784438646763723170752936183;
  const complex_of<R> sum = a[1] + a[2];
  r[0] = a[0] + sum;
  const complex_of<R> even = a[0] + times(sum, (R)-0.5);
  const complex_of<R> odd = times_i(times(a[1] - a[2], sine));
  r[1] = even + odd;
  r[2] = even - odd;
}
template <class R>
__device__ inline void butterfly(const complex_of<R> (&a)[4], complex_of<R> (&r)[4],
                                 const complex_of<R>*, int) {
  const complex_of<R> t1 = a[0] - a[2], t2 = a[0] + a[2], t3 = a[1] + a[3];
  const complex_of<R> t4 = times_i(a[1] - a[3]);
  r[0] = t2 + t3;
  r[1] = t1 + t4;
  r[2] = t2 - t3;
  r[3] = t1 - t4;
}
template <class R>
__device__ inline void butterfly(const complex_of<R> (&a)[5], complex_of<R> (&r)[5],
                                 const complex_of<R>*, int) {
  const R cos1 = (R)0.3090169943749474241022934171828191;
  const R sin1 = (R)0.9510565162951535721164393333793821;
  const R cos2 = (R)-0.8090169943749474241022934171828191;
  const R sin2 = (R)0.5877852522924731291687059546390728;
  const complex_of<R> t1 = a[1] + a[4], t4 = a[1] - a[4];
  const complex_of<R> t2 = a[2] + a[3], t3 = a[2] - a[3];
  r[0] = a[0] + t1 + t2;
  complex_of<R> even = a[0] + times(t1, cos1) + times(t2, cos2);
  complex_of<R> odd = times_i(times(t4, sin1) + times(t3, sin2));
  r[1] = even + odd;
  r[4] = even - odd;
  even = a[0] + times(t1, cos2) + times(t2, cos1);
  odd = times_i(times(t4, sin2) + times(t3, -sin1));
  r[2] = even + odd;
  r[3] = even - odd;
}
// Odd P: points k and P - k turn alike, in opposite directions.
template <int P, class R>
__device__ inline void butterfly(const complex_of<R> (&a)[P], complex_of<R> (&r)[P],
                                 const complex_of<R>* roots, int step) {
  r[0] = a[0];
#pragma unroll
  for (int k = 1; k < P; ++k) r[0] = r[0] + a[k];
#pragma unroll
  for (int j = 1; j <= P / 2; ++j) {
    complex_of<R> even = a[0], odd = {0, 0};
#pragma unroll
    for (int k = 1; k <= P / 2; ++k) {
      const complex_of<R> root = roots[j * k % P * step];
      even = even + times(a[k] + a[P - k], root.re);
      odd = odd + times(a[k] - a[P - k], root.im);
    }
    r[j] = even + times_i(odd);
    r[P - j] = even - times_i(odd);
  }
}

// Where point s of all of the block's lies: powers of two between the points of a butterfly would
// put them all in the same banks.
template <int LENGTH>
__device__ inline int fft_place(int s) {
  return LENGTH % 64 == 0 ? s + (s >> 3) + (s >> 6) + (s >> 9) : s;
}

// The pass of one factor over all lines; DONE is the product of the factors before.
template <int FACTOR, int DONE, int LENGTH, int LINES, class R>
__device__ inline void fft_pass(complex_of<R>* points, const complex_of<R>* roots) {
  constexpr int kEach = LENGTH / FACTOR, kInner = kEach / DONE;
#pragma unroll 1
  for (int t = (int)threadIdx.x; t < LINES * kEach; t += 256) {
    const int i = t % kInner;
    const int first = t / kInner * (kInner * FACTOR) + i;
    complex_of<R> a[FACTOR], r[FACTOR];
#pragma unroll
    for (int b = 0; b < FACTOR; ++b) a[b] = points[fft_place<LENGTH>(first + b * kInner)];
    butterfly(a, r, roots, kEach);
#pragma unroll
    for (int j = 0; j < FACTOR; ++j) {
      if (i > 0 && j > 0) r[j] = times(r[j], roots[j * DONE * i]);
      points[fft_place<LENGTH>(first + j * kInner)] = r[j];
    }
  }
  __syncthreads();
}

template <int... FACTORS>
__device__ inline int fft_reversed(int k) {
  int s = 0;
  ((s = s * FACTORS + k % FACTORS, k /= FACTORS), ...);
  return s;
}

// Line n begins at n / split * outer + n % split * inner, in complex or real numbers, and goes on
// by the stride.
struct fft_lines {
  i64 lines, split;
  i64 in_outer, in_inner, in_stride, samples;  // samples: those that are there, of each line
  i64 out_outer, out_inner, out_stride;
};

// Where each of the block's lines begins; -1: there is none.
template <int LINES>
__device__ inline void fft_begin(const fft_lines& all, i64* in_of, i64* out_of) {
#pragma unroll 1
  for (int line = (int)threadIdx.x; line < LINES; line += 256) {
    const i64 n = (i64)blockIdx.x * LINES + line, outer = n / all.split, inner = n % all.split;
    in_of[line] = n < all.lines ? outer * all.in_outer + inner * all.in_inner : -1;
    out_of[line] = n < all.lines ? outer * all.out_outer + inner * all.out_inner : -1;
  }
  __syncthreads();
}

// Reads the lines, whose numbers have PARTS parts, sample k as weighed(x, k). HALF: a line is the
// first half of the spectrum of real samples, which tells the second.
template <int LENGTH, int LINES, int PARTS, bool FORWARD, bool HALF, class R, class T, class F>
__device__ inline void fft_load(const T* in, const fft_lines& all, const i64* in_of, F weighed,
                                complex_of<R>* points) {
  const bool across = all.in_stride > 1;  // neighbours in memory belong to different lines
#pragma unroll 2
  for (int e = (int)threadIdx.x; e < LINES * LENGTH; e += 256) {
    const int line = across ? e % LINES : e / LENGTH, k = across ? e / LINES : e % LENGTH;
    const int from = HALF && 2 * k > LENGTH ? LENGTH - k : k;
    complex_of<R> x = {0, 0};
    if (in_of[line] >= 0 && from < all.samples) {
      const lanes_of<T, PARTS> parts =
          load_lanes<PARTS>(in + (in_of[line] + from * all.in_stride) * PARTS);
      x.re = (R)widen(parts.element[0]);
      if (PARTS == 2) x.im = (R)widen(parts.element[PARTS - 1]);
      x = weighed(x, k);
    }
    if (HALF && 2 * k % LENGTH == 0) x.im = 0;
    if (FORWARD != (from != k)) x.im = -x.im;
    points[fft_place<LENGTH>(line * LENGTH + k)] = x;
  }
  __syncthreads();
}

// Writes the first BINS results of each line, or their real parts.
template <int LENGTH, int LINES, int PARTS, bool FORWARD, int BINS, int... FACTORS, class R,
          class T>
__device__ inline void fft_store(const complex_of<R>* points, R scale, const fft_lines& all,
                                 const i64* out_of, T* out) {
  const bool across = all.out_stride > 1;
#pragma unroll 2
  for (int e = (int)threadIdx.x; e < LINES * BINS; e += 256) {
    const int line = across ? e % LINES : e / BINS, k = across ? e / LINES : e % BINS;
    if (out_of[line] < 0) continue;
    complex_of<R> y = points[fft_place<LENGTH>(line * LENGTH + fft_reversed<FACTORS...>(k))];
    if (!FORWARD) y = times(y, scale);
    lanes_of<T, PARTS> parts;
    narrow(&parts.element[0], y.re);
    if (PARTS == 2) narrow(&parts.element[PARTS - 1], FORWARD ? -y.im : y.im);
    store_lanes(out + (out_of[line] + k * all.out_stride) * PARTS, parts);
  }
}
