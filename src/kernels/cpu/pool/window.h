// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/pool/pool.h"

namespace redline::kernels {

// Input rows are kept in a buffer of this many floats, padded and split by column phase: phase p of
// a row holds the columns p, p + stride, p + 2 stride ..., so that neighbouring outputs read
// neighbouring floats whatever the stride.
inline constexpr int64_t kWindowBufferFloats = 16 * 1024;
inline constexpr int64_t kPhaseSlack = 16;  // a vector may be read past the last column

inline constexpr int64_t kMaxWindowKernel = 1024;

// Columns of outputs that are computed together, so that the rows they need fit in the buffer.
struct WindowStrip {
  int64_t out_columns;
  int64_t phase_pitch;  // floats between phases
  int64_t row_pitch;    // floats between rows
};

inline constexpr int64_t window_rows(const Window2d& w) {
  return (w.kernel_y - 1) * w.dilation_y + 1;
}

inline constexpr WindowStrip window_strip(const Window2d& w, int64_t out_columns) {
  const int64_t columns = (out_columns - 1) * w.stride_x + (w.kernel_x - 1) * w.dilation_x + 1;
  const int64_t pitch = (columns + w.stride_x - 1) / w.stride_x + kPhaseSlack;
  return {.out_columns = out_columns, .phase_pitch = pitch, .row_pitch = pitch * w.stride_x};
}

}  // namespace redline::kernels
