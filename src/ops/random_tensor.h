// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace redline {

// Elements that follow from the seed alone, on every machine: floats in [-1, 1), signed integers
// in [-8, 8), unsigned ones in [0, 16) (each within its type), bools, one-letter strings.
Result<Tensor> random_tensor(DType dtype, const Dims& dims, uint64_t seed);

}  // namespace redline
