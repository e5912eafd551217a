// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Float32 matrix products on the CPU: with a packed right-hand matrix (weights), and products of
// one to four rows, which read the weights at memory speed.
//
// Matrices are row-major, lda etc. are row pitches in elements; they need the alignment of float
// and must not overlap. Sums run along K in one order for a given matrix and instruction set,
// whatever the ranges given to threads: results do not depend on the thread count. Nothing
// allocates.
namespace redline::kernels {

// The packed form depends on the instruction set: pack with the same table that multiplies.
struct GemmArgs {
  const float* a = nullptr;         // [m][k]
  const float* packed_b = nullptr;  // as gemm's pack writes it
  const float* bias = nullptr;      // [n], added to each row, or null
  float* c = nullptr;               // [m][n]
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldc = 0;
  bool accumulate = false;  // c += a * b (+ bias), else c = a * b (+ bias)
};

struct GemvArgs {
  const float* a = nullptr;     // [m][k], m in 1..4
  const float* b = nullptr;     // [n][k]: a row for each output (a transposed weight)
  const float* bias = nullptr;  // [n], or null
  float* c = nullptr;           // [m][n]
  int64_t m = 0, n = 0, k = 0;
  int64_t lda = 0, ldb = 0, ldc = 0;
};

struct GemmKernels {
  // Floats that the packed form of a [k][n] matrix takes.
  int64_t (*packed_elems)(int64_t k, int64_t n);
  // b is [k][n] with row pitch ldb, or, if transposed, [n][k] with row pitch ldb.
  void (*pack)(const float* b, int64_t ldb, bool transposed, int64_t k, int64_t n, float* packed);
  // Work items of one product, for [begin, end) below: blocks of rows times panels of columns.
  int64_t (*units)(int64_t m, int64_t n);
  void (*gemm)(const GemmArgs& args, int64_t begin, int64_t end);
  // c = a * b^T (+ bias) for the columns [begin, end) of n.
  void (*gemv)(const GemvArgs& args, int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const GemmKernels& gemm_kernels(Isa isa);

}  // namespace redline::kernels
