// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "device/context.h"

namespace redline::cuda {

// What the copy engine of sm_90 and later must know of row-major matrices of 16-bit elements on the
// GPU to copy boxes of them (kernels/cuda/arch/copy_box.cuh). A kernel takes it by value.
struct TensorMap {
  struct Shape {
    int64_t rows = 0, columns = 0;
    int64_t stride = 0;    // elements from row to row, a multiple of 8
    int64_t box_rows = 0;  // 256 at most
    int64_t box_columns = 64;
    // 0: of one matrix, swizzled by 128 bytes; else of so many, `rows` * `stride` elements apart,
    // row by row.
    int64_t matrices = 0;
  };
  // `address` is 16-byte aligned.
  static Result<TensorMap> create(const Context& context, const void* address, const Shape& shape);

  uint64_t words[16] = {};
};

}  // namespace redline::cuda
