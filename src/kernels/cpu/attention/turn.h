// SPDX-License-Identifier: Apache-2.0
#pragma once

// Transposition in registers. Only for *.isa.cc files.
#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {

// Rows become columns in a square of registers.
REDLINE_INLINE void turn_square(F (&x)[kLanes]) {
#if defined(__AVX512F__)
  F t[16];
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(x[i], x[i + 1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(x[i], x[i + 1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(x[i + 2], x[i + 3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(x[i + 2], x[i + 3]));
    t[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    t[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    t[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    t[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  // Quarters: t[i + 4 j] holds in its quarter q the elements 4 j ... of column 4 q + i.
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const F a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88);
    const F b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
    const F c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88);
    const F d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
    x[i] = _mm512_shuffle_f32x4(a, c, 0x88);
    x[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88);
    x[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
    x[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
  }
#elif defined(__AVX2__)
  F t[8];
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    const F a = _mm256_unpacklo_ps(x[i], x[i + 1]), b = _mm256_unpackhi_ps(x[i], x[i + 1]);
    const F c = _mm256_unpacklo_ps(x[i + 2], x[i + 3]), d = _mm256_unpackhi_ps(x[i + 2], x[i + 3]);
    t[i] = _mm256_shuffle_ps(a, c, 0x44);
    t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
    t[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
    t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
    x[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
  }
#else
  _MM_TRANSPOSE4_PS(x[0], x[1], x[2], x[3]);
#endif
}

// to[c][r] = from[r][c], a square of kLanes at a time.
static inline void turn(const float* from, int64_t from_pitch, int64_t rows, int64_t columns,
                        float* to, int64_t to_pitch) {
  for (int64_t r = 0; r < rows; r += kLanes) {
    const int height = static_cast<int>(rows - r < kLanes ? rows - r : kLanes);
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int width = static_cast<int>(columns - c < kLanes ? columns - c : kLanes);
      const float* f = from + r * from_pitch + c;
      float* t = to + c * to_pitch + r;
      F x[kLanes];
      if (height == kLanes && width == kLanes) {
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) x[i] = load(f + i * from_pitch);
        turn_square(x);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) store(t + i * to_pitch, x[i]);
      } else {
        for (int i = 0; i < kLanes; ++i)
          x[i] = i < height ? load_n(f + i * from_pitch, width) : zero();
        turn_square(x);
        for (int i = 0; i < width; ++i) store_n(t + i * to_pitch, x[i], height);
      }
    }
  }
}

}  // namespace redline::kernels::REDLINE_ISA
