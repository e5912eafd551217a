// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/context.h"

namespace redline::cuda {

// What the copy engine of sm_90 and later must know of a row-major matrix of 16-bit elements on the
// GPU to copy boxes of 64 columns, swizzled by 128 bytes (kernels/cuda/arch/bulk_copy.cuh). A
// kernel takes it by value.
struct TensorMap {
  struct Shape {
    int64_t rows = 0, columns = 0;
    int64_t stride = 0;    // elements from row to row, a multiple of 8
    int64_t box_rows = 0;  // 256 at most
  };
  // `address` is 16-byte aligned.
  static Result<TensorMap> create(const Context& context, const void* address, const Shape& shape);

  uint64_t words[16] = {};
};

}  // namespace redline::cuda
