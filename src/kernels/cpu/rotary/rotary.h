// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Rotary embedding of float32 on the CPU.
namespace redline::kernels {

struct RotaryKernels {
  // Turns the pairs (i, i + half), or (2i, 2i + 1), of `count` heads of `size` elements, one after
  // the other `pitch` elements apart in x and y, by the angles of one position: cos and sin have
  // `half` elements. Elements from 2 * half on are copied. y may be x; else they must not overlap.
  void (*halves)(const float* x, const float* cos, const float* sin, int64_t half, int64_t size,
                 int64_t count, int64_t pitch, float* y);
  void (*pairs)(const float* x, const float* cos, const float* sin, int64_t half, int64_t size,
                int64_t count, int64_t pitch, float* y);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const RotaryKernels& rotary_kernels(Isa isa);

}  // namespace redline::kernels
