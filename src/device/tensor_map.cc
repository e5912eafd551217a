// SPDX-License-Identifier: Apache-2.0
#include "device/tensor_map.h"

#include <algorithm>
#include <iterator>

namespace redline::cuda {

Result<TensorMap> TensorMap::create(const Context& context, const void* address,
                                    const Shape& shape) {
  TensorMap map;
  alignas(64) uint64_t words[std::size(map.words)] = {};  // the driver wants them aligned
  auto stride = static_cast<uint64_t>(shape.stride) * 2;
  const uint64_t sizes[] = {static_cast<uint64_t>(shape.columns), static_cast<uint64_t>(shape.rows),
                            static_cast<uint64_t>(shape.matrices)};
  const uint64_t strides[] = {stride, stride * sizes[1]};
  const unsigned int box[] = {static_cast<unsigned int>(shape.box_columns),
                              static_cast<unsigned int>(shape.box_rows), 1};
  const unsigned int steps[] = {1, 1, 1};
  bool swizzled = shape.matrices == 0;
  REDLINE_TRY(context.make_current());
  REDLINE_TRY(context.check(
      context.api().cuTensorMapEncodeTiled(
          words, kTensorUint16, swizzled ? 2 : 3, const_cast<void*>(address), sizes, strides, box,
          steps, kTensorNoInterleave, swizzled ? kTensorSwizzle128 : kTensorNoSwizzle,
          swizzled ? kTensorPromote256 : kTensorPromote128, kTensorFillZeros),
      "cuTensorMapEncodeTiled"));
  std::copy(std::begin(words), std::end(words), map.words);
  return map;
}

}  // namespace redline::cuda
