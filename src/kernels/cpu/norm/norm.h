// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "kernels/cpu/isa.h"

// Softmax and normalisations of float32 on the CPU.
//
// All arrays are dense and row-major, need only the alignment of float, and must not overlap unless
// a function says so; y may be x itself everywhere. Threads may work on disjoint [begin, end) of
// one call. Nothing allocates. Statistics are summed in blocks (float lanes, then double), so that
// long rows lose no accuracy; results are within a few ulp of the exact ones where the statistics
// do not cancel. A NaN in a row makes the row NaN.
namespace redline::kernels {

struct LayerNormArgs {
  const float* x = nullptr;
  const float* residual = nullptr;    // added to x first, or null; same shape as x
  const float* input_bias = nullptr;  // [n], added to each row too, or null
  const float* scale = nullptr;       // [n], or null for 1
  const float* bias = nullptr;        // [n], or null for 0; LayerNorm only
  float* y = nullptr;
  float* sum = nullptr;      // x + residual + input_bias is written here, or null; may be
                             // `residual` or `x`
  float* mean = nullptr;     // [rows], or null; LayerNorm only
  float* inv_std = nullptr;  // [rows], or null: 1 / sqrt(variance + epsilon) (RMSNorm: of the
                             // mean square)
  int64_t n = 0;             // row length
  float epsilon = 1e-5f;
};

struct GroupNormArgs {
  const float* x = nullptr;      // [batch][channels][spatial]
  const float* scale = nullptr;  // [channels], or null for 1
  const float* bias = nullptr;   // [channels], or null for 0
  float* y = nullptr;
  int64_t channels = 0;
  int64_t spatial = 0;
  int64_t groups = 1;  // divides channels; InstanceNorm: groups == channels
  float epsilon = 1e-5f;
};

struct NormKernels {
  // y = softmax or log_softmax along the last dim of x[rows][n], for rows [begin, end). A row of
  // which all elements are -inf is NaN, as in IEEE arithmetic.
  void (*softmax_rows)(const float* x, float* y, int64_t n, int64_t begin, int64_t end);
  void (*log_softmax_rows)(const float* x, float* y, int64_t n, int64_t begin, int64_t end);
  // Along the middle dim of x[outer][n][inner], for the columns [begin, end) of outer * inner.
  void (*softmax_axis)(const float* x, float* y, int64_t n, int64_t inner, int64_t begin,
                       int64_t end);
  void (*log_softmax_axis)(const float* x, float* y, int64_t n, int64_t inner, int64_t begin,
                           int64_t end);
  // (v - mean) / sqrt(variance + epsilon) * scale + bias, v = x + residual + input_bias.
  void (*layer_norm)(const LayerNormArgs& args, int64_t begin, int64_t end);
  // v / sqrt(mean(v^2) + epsilon) * scale
  void (*rms_norm)(const LayerNormArgs& args, int64_t begin, int64_t end);
  // The same over each group of channels; [begin, end) of batch * groups.
  void (*group_norm)(const GroupNormArgs& args, int64_t begin, int64_t end);
};

// The functions compiled for `isa`, which must not be above detect_isa(). Static data.
const NormKernels& norm_kernels(Isa isa);

}  // namespace redline::kernels
