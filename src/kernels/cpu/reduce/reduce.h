// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Reductions of float32 on the CPU.
//
// x is dense, [outer][reduced][inner] row-major; y is [outer][inner]. Threads may compute disjoint
// ranges [begin, end) of y's outer * inner elements. Arrays need only the alignment of their
// element and must not overlap; nothing allocates.
//
// Accuracy: sums are formed in blocks, so that the error grows with the block's, not with the whole
// length. A NaN among the elements gives NaN, for max and min too; argmax and argmin return its
// index, as numpy does. Nothing to reduce (reduced == 0) gives the op's neutral element: 0, 1, -inf
// for max and the logarithms, +inf for min, NaN for the mean; argmax and argmin need reduced >= 1.
namespace redline::kernels {

enum class ReduceOp : uint8_t {
  kSum,
  kMean,
  kMax,
  kMin,
  kProd,
  kL1,
  kL2,
  kSumSquare,
  kLogSum,
  kLogSumExp,
};
inline constexpr int kNumReduceOps = 10;

struct ReduceKernels {
  void (*reduce)(ReduceOp op, const float* x, float* y, int64_t reduced, int64_t inner,
                 int64_t begin, int64_t end);
  // The index along `reduced` of the largest (smallest) element; of equal ones the first, or the
  // last if `last` is set.
  void (*argmax)(const float* x, int64_t* y, int64_t reduced, int64_t inner, bool last,
                 int64_t begin, int64_t end);
  void (*argmin)(const float* x, int64_t* y, int64_t reduced, int64_t inner, bool last,
                 int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const ReduceKernels& reduce_kernels(Isa isa);

}  // namespace redline::kernels
