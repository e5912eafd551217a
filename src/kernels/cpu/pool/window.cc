// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/pool/window.h"

namespace redline::kernels {

const char* window2d_error(const Window2d& w) {
  constexpr int64_t kMax = int64_t{1} << 31;
  const int64_t positive[] = {w.height,   w.width,    w.out_height, w.out_width,  w.kernel_y,
                              w.kernel_x, w.stride_y, w.stride_x,   w.dilation_y, w.dilation_x};
  for (int64_t v : positive)
    if (v < 1 || v > kMax) return "window: a size, stride or dilation is not in 1..2^31";
  const int64_t pads[] = {w.pad_top, w.pad_left, w.pad_bottom, w.pad_right};
  for (int64_t v : pads)
    if (v < 0 || v > kMax) return "window: a pad is not in 0..2^31";
  if (w.kernel_x > kMaxWindowKernel || w.kernel_y > kMaxWindowKernel)
    return "window: a kernel dim is above 1024";
  const WindowStrip strip = window_strip(w, w.out_width < 64 ? w.out_width : 64);
  if (window_rows(w) > kWindowBufferFloats ||
      strip.row_pitch > kWindowBufferFloats / window_rows(w))
    return "window: the rows that 64 output columns need do not fit in 64 KB";
  return nullptr;
}

}  // namespace redline::kernels
