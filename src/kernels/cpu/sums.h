// SPDX-License-Identifier: Apache-2.0
#pragma once

// Accurate sums over contiguous floats, for *.isa.cc files: blocks of 16 vectors in each of four
// float accumulators, the blocks' sums in double lanes. So the error is at most about 18 half units
// in the last place of the sum of magnitudes, whatever the length.

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {

inline constexpr int64_t kSumBlock = 64 * kLanes;

struct DoubleSum {
  D low = dset1(0.0), high = dset1(0.0);
};
REDLINE_INLINE void add_to(DoubleSum& sum, F v) {
  sum.low += widen_low(v);
  sum.high += widen_high(v);
}
REDLINE_INLINE double total_of(const DoubleSum& sum) {
  const D v = sum.low + sum.high;
#if defined(__AVX512F__)
  return _mm512_reduce_add_pd(v);
#elif defined(__AVX2__)
  const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
#else
  return _mm_cvtsd_f64(_mm_add_sd(v, _mm_unpackhi_pd(v, v)));
#endif
}

// sum of f(x[i]); f maps a vector to a vector and must give 0 for lanes that are `pad`.
template <class Map>
REDLINE_INLINE double sum_of(const float* x, int64_t n, F pad, Map f) {
  DoubleSum total;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    F s0 = zero(), s1 = zero(), s2 = zero(), s3 = zero();
    int64_t i = begin;
    for (; i + 4 * kLanes <= end; i += 4 * kLanes) {
      s0 += f(load(x + i));
      s1 += f(load(x + i + kLanes));
      s2 += f(load(x + i + 2 * kLanes));
      s3 += f(load(x + i + 3 * kLanes));
    }
    for (; i + kLanes <= end; i += kLanes) s0 += f(load(x + i));
    if (i < end) s1 += f(load_n_or(x + i, static_cast<int>(end - i), pad));
    add_to(total, (s0 + s1) + (s2 + s3));
  }
  return total_of(total);
}

// Mean and variance by the corrected two-pass method (T. Chan, G. Golub, R. LeVeque, "Algorithms
// for computing the sample variance", 1983): the second pass is about a float near the mean, and
// its own mean difference corrects both.
struct Moments {
  float center;      // a float near the mean
  float correction;  // mean - center
  double variance;
};
REDLINE_INLINE Moments moments_of(const float* x, int64_t n) {
  const double count = static_cast<double>(n);
  const float center = static_cast<float>(sum_of(x, n, zero(), [](F v) { return v; }) / count);
  const F c = set1(center);
  DoubleSum differences, squares;
  for (int64_t begin = 0; begin < n; begin += kSumBlock) {
    const int64_t end = n - begin < kSumBlock ? n : begin + kSumBlock;
    F d0 = zero(), d1 = zero(), q0 = zero(), q1 = zero();
    int64_t i = begin;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      const F a = load(x + i) - c, b = load(x + i + kLanes) - c;
      d0 += a;
      d1 += b;
      q0 = fma(a, a, q0);
      q1 = fma(b, b, q1);
    }
    for (; i < end; i += kLanes) {
      const int left = end - i < kLanes ? static_cast<int>(end - i) : kLanes;
      const F a = load_n_or(x + i, left, c) - c;
      d0 += a;
      q0 = fma(a, a, q0);
    }
    add_to(differences, d0 + d1);
    add_to(squares, q0 + q1);
  }
  const double correction = total_of(differences) / count;
  const double variance = total_of(squares) / count - correction * correction;
  return {.center = center,
          .correction = static_cast<float>(correction),
          .variance = variance < 0 ? 0 : variance};  // keeps NaN
}

// The maximum of n >= 1 floats; unspecified (but no trap) when one is NaN.
REDLINE_INLINE float max_of(const float* x, int64_t n) {
  const F lowest = set1(-__builtin_inff());
  F m0 = lowest, m1 = lowest;
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    m0 = max_raw(m0, load(x + i));
    m1 = max_raw(m1, load(x + i + kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) m0 = max_raw(m0, load(x + i));
  if (i < n) m1 = max_raw(m1, load_n_or(x + i, static_cast<int>(n - i), lowest));
  return reduce_max(max_raw(m0, m1));
}

}  // namespace redline::kernels::REDLINE_ISA
