// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/rotary/rotary.h"

#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {
namespace {

void copy_rest(const float* x, int64_t from, int64_t size, float* y) {
  if (x == y || from >= size) return;
  std::memcpy(y + from, x + from, static_cast<size_t>(size - from) * sizeof(float));
}

void halves(const float* x, const float* cos, const float* sin, int64_t half, int64_t size,
            int64_t count, int64_t pitch, float* y) {
  for (int64_t h = 0; h < count; ++h, x += pitch, y += pitch) {
    for (int64_t i = 0; i < half; i += kLanes) {
      const int n = half - i < kLanes ? static_cast<int>(half - i) : kLanes;
      const F c = load_n(cos + i, n), s = load_n(sin + i, n);
      const F first = load_n(x + i, n), second = load_n(x + half + i, n);
      store_n(y + i, c * first - s * second, n);
      store_n(y + half + i, s * first + c * second, n);
    }
    copy_rest(x, 2 * half, size, y);
  }
}

void pairs(const float* x, const float* cos, const float* sin, int64_t half, int64_t size,
           int64_t count, int64_t pitch, float* y) {
  for (int64_t h = 0; h < count; ++h, x += pitch, y += pitch) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const float first = x[2 * i], second = x[2 * i + 1];
      y[2 * i] = cos[i] * first - sin[i] * second;
      y[2 * i + 1] = sin[i] * first + cos[i] * second;
    }
    copy_rest(x, 2 * half, size, y);
  }
}

}  // namespace

extern const RotaryKernels kRotary = {.halves = halves, .pairs = pairs};

}  // namespace redline::kernels::REDLINE_ISA
