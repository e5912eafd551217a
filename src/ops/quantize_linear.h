// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "ops/attrs.h"

namespace redline {

// quantize_linear(x, y_scale, y_zero_point?): saturate(round(x / y_scale) + y_zero_point).
// The scale is one number, or one for each index of `axis`, or (block_size > 0) one for each block
// of block_size indices of `axis`. Result type: that of the zero point, else `output_dtype`, else
// u8. The division is done in `precision`, else in the scale's type.
struct QuantizeLinearAttrs {
  int64_t axis = 1;
  int64_t block_size = 0;
  bool saturate = true;
  std::optional<DType> output_dtype;
  std::optional<DType> precision;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("block_size", block_size);
    v("saturate", saturate);
    v("output_dtype", output_dtype);
    v("precision", precision);
  }
};

// dequantize_linear(x, x_scale, x_zero_point?): (x - x_zero_point) * x_scale, in `output_dtype`,
// else in the scale's type.
struct DequantizeLinearAttrs {
  int64_t axis = 1;
  int64_t block_size = 0;
  std::optional<DType> output_dtype;
  template <class V>
  void fields(V& v) {
    v("axis", axis);
    v("block_size", block_size);
    v("output_dtype", output_dtype);
  }
};

}  // namespace redline
