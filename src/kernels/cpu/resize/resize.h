// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Nearest and linear resizing of float32 planes (NCHW) on the CPU. The caller works out which
// source rows and columns each output needs (coordinate modes, rounding and clamping are his) as
// tables, once for each shape.
namespace redline::kernels {

struct NearestArgs {
  const float* x = nullptr;  // [planes][height][width]
  float* y = nullptr;        // [planes][out_height][out_width]
  int64_t height = 0, width = 0, out_height = 0, out_width = 0;
  const int32_t* rows = nullptr;     // [out_height], in [0, height)
  const int32_t* columns = nullptr;  // [out_width], in [0, width)
  int64_t repeat = 0;  // if columns[i] == i / repeat for all i (see column_repeat), else 0
};

// The k in 1..4 for which columns[i] == i / k for all i < n, else 0.
int64_t column_repeat(const int32_t* columns, int64_t n);

struct LinearArgs {
  const float* x = nullptr;
  float* y = nullptr;
  int64_t height = 0, width = 0, out_height = 0, out_width = 0;
  // Output row i is rows0[i] * (1 - row_weights[i]) + rows1[i] * row_weights[i]; columns likewise.
  const int32_t* rows0 = nullptr;
  const int32_t* rows1 = nullptr;
  const float* row_weights = nullptr;
  const int32_t* columns0 = nullptr;
  const int32_t* columns1 = nullptr;
  const float* column_weights = nullptr;
};

// [begin, end) are output rows of all planes, planes * out_height, which threads may share out. x
// and y are dense and must not overlap. Nothing allocates; at most 40 KB of stack.
struct ResizeKernels {
  void (*nearest)(const NearestArgs& args, int64_t begin, int64_t end);
  // Columns first, then rows; each (1 - w) * a + w * b, so that weights of 0 and 1 are exact.
  void (*linear)(const LinearArgs& args, int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const ResizeKernels& resize_kernels(Isa isa);

}  // namespace redline::kernels
