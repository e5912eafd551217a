// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace redline::kernels {

// The storage types that the CPU kernels read and write. kBool is one byte, 0 or 1.
enum class ElemType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kI8,
  kU8,
  kI16,
  kU16,
  kI32,
  kU32,
  kI64,
  kU64,
  kBool,
};
inline constexpr int kNumElemTypes = 12;

constexpr int elem_bytes(ElemType type) {
  switch (type) {
    case ElemType::kF32:
    case ElemType::kI32:
    case ElemType::kU32:
      return 4;
    case ElemType::kF16:
    case ElemType::kBf16:
    case ElemType::kI16:
    case ElemType::kU16:
      return 2;
    case ElemType::kI64:
    case ElemType::kU64:
      return 8;
    case ElemType::kI8:
    case ElemType::kU8:
    case ElemType::kBool:
      return 1;
  }
  return 0;
}

}  // namespace redline::kernels
