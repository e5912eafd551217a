// SPDX-License-Identifier: Apache-2.0
#include "device/tensor_map.h"

namespace redline::cuda {

Result<TensorMap> TensorMap::create(const Context& context, const void* address,
                                    const Shape& shape) {
  // CUDA driver API: CUtensorMapDataType and the like.
  constexpr int kUint16 = 1;
  constexpr int kNoInterleave = 0;
  constexpr int kSwizzle128 = 3;
  constexpr int kPromote256 = 3;
  constexpr int kFillZeros = 0;
  TensorMap map;
  const uint64_t sizes[] = {static_cast<uint64_t>(shape.columns),
                            static_cast<uint64_t>(shape.rows)};
  const uint64_t strides[] = {static_cast<uint64_t>(shape.stride) * 2};
  const unsigned int box[] = {64, static_cast<unsigned int>(shape.box_rows)};
  const unsigned int steps[] = {1, 1};
  REDLINE_TRY(context.make_current());
  REDLINE_TRY(context.check(context.api().cuTensorMapEncodeTiled(
                                map.words, kUint16, 2, const_cast<void*>(address), sizes, strides,
                                box, steps, kNoInterleave, kSwizzle128, kPromote256, kFillZeros),
                            "cuTensorMapEncodeTiled"));
  return map;
}

}  // namespace redline::cuda
