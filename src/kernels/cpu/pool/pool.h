// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Two-dimensional max and average pooling and depthwise convolution of float32 in NCHW on the CPU.
namespace redline::kernels {

// A sliding window over planes. Output (oy, ox) sees the input rows
// oy * stride_y - pad_top + i * dilation_y for i in [0, kernel_y), and columns likewise.
struct Window2d {
  int64_t height = 0, width = 0, out_height = 0, out_width = 0;
  int64_t kernel_y = 1, kernel_x = 1;
  int64_t stride_y = 1, stride_x = 1;
  int64_t pad_top = 0, pad_left = 0;
  int64_t pad_bottom = 0, pad_right = 0;  // only for what an average with padding divides by
  int64_t dilation_y = 1, dilation_x = 1;
};

// Null if the kernels below take this window, else a static string: sizes must be positive, strides
// and dilations at least 1, pads not negative, and the rows of 64 output columns must fit in 64 KB
// (kernels up to about 1000 columns wide at 16 rows).
const char* window2d_error(const Window2d& window);

struct Depthwise2dArgs {
  Window2d window;
  const float* x = nullptr;        // [planes][height][width]; plane p is channel p % channels
  const float* weights = nullptr;  // [channels][kernel_y][kernel_x]
  const float* bias = nullptr;     // [channels], or null
  float* y = nullptr;              // [planes][out_height][out_width]
  int64_t channels = 1;
  // The result is clipped to [low, high]: relu is [0, inf], relu6 [0, 6]. NaN stays NaN.
  float low = -__builtin_inff(), high = __builtin_inff();
};

// x and y are dense and must not overlap; [begin, end) are planes (batch * channels), which threads
// may share out. Nothing allocates; at most 100 KB of stack.
struct PoolKernels {
  // Padding counts as -inf. A NaN in a window gives NaN.
  void (*max_pool)(const Window2d& window, const float* x, float* y, int64_t begin, int64_t end);
  // The same of [batch][height][width][channels]; [begin, end) are output rows, batch * out_height.
  void (*max_pool_channels_last)(const Window2d& window, int64_t channels, const float* x, float* y,
                                 int64_t begin, int64_t end);
  // Divides by the number of elements in the window: of the input, or, with include_pad, of the
  // input and its padding (not of what lies past pad_bottom and pad_right, as in ceil mode).
  void (*average_pool)(const Window2d& window, bool include_pad, const float* x, float* y,
                       int64_t begin, int64_t end);
  // Sums in the order of the kernel's elements, with FMA where there is one.
  void (*depthwise_conv)(const Depthwise2dArgs& args, int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const PoolKernels& pool_kernels(Isa isa);

}  // namespace redline::kernels
