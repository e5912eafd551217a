// SPDX-License-Identifier: Apache-2.0
#pragma once

// Loads and stores between storage types and the registers of the interpreter (float, int64), and
// other *.isa.cc files. See pointwise/program.h for the rounding and saturation rules.

#include "kernels/cpu/elem_type.h"
#include "kernels/cpu/simd.h"

namespace redline::kernels::REDLINE_ISA {

REDLINE_INLINE float float_of_bits(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, sizeof f);
  return f;
}
REDLINE_INLINE uint32_t bits_of_float(float f) {
  uint32_t bits;
  std::memcpy(&bits, &f, sizeof bits);
  return bits;
}

// Rebias by a multiplication, which also normalises subnormals (F. Giesen, "float->half variants").
REDLINE_INLINE float float_of_half(uint16_t h) {
  const uint32_t magnitude = (h & 0x7fffu) << 13;
  const float scaled = float_of_bits(magnitude) * 0x1p112f;
  const uint32_t special = scaled >= 65536.0f ? 0x7f800000u | (magnitude & 0x7fffffu) : 0;
  const uint32_t quiet = special > 0x7f800000u ? 0x400000u : 0;
  return float_of_bits((special ? special | quiet : bits_of_float(scaled)) |
                       (static_cast<uint32_t>(h & 0x8000u) << 16));
}
REDLINE_INLINE uint16_t half_of_float(float f) {
  const uint32_t bits = bits_of_float(f), sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t h;
  if (magnitude > 0x7f800000u) {
    h = 0x7e00u | (magnitude >> 13 & 0x1ffu);
  } else if (magnitude >= 0x477ff000u) {
    h = 0x7c00u;  // 65520 and above
  } else if (magnitude < 0x38800000u) {
    // Subnormal or zero: the sum rounds to a multiple of 2^-24.
    h = bits_of_float(float_of_bits(magnitude) + 0.5f) - 0x3f000000u;
  } else {
    h = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  }
  return static_cast<uint16_t>(h | sign);
}
REDLINE_INLINE uint16_t bf16_of_float(float f) {
  const uint32_t bits = bits_of_float(f);
  const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
  const uint32_t nan = bits >> 16 | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

REDLINE_INLINE void load_half(const uint16_t* src, float* dst, int n) {
  int i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16)
    _mm512_storeu_ps(
        dst + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src + i))));
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(dst + i,
                     _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src + i))));
#endif
  for (; i < n; ++i) dst[i] = float_of_half(src[i]);
}

REDLINE_INLINE void store_half(const float* src, uint16_t* dst, int n) {
  int i = 0;
#if defined(__AVX512F__)
  for (; i + 16 <= n; i += 16)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst + i),
                        _mm512_cvtps_ph(_mm512_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(src + i), _MM_FROUND_TO_NEAREST_INT));
#endif
  for (; i < n; ++i) dst[i] = half_of_float(src[i]);
}

// One element, for strided walks.
template <class R>
REDLINE_INLINE R load_one(const void* base, ElemType type, int64_t i) {
  switch (type) {
    case ElemType::kF32:
      return static_cast<R>(static_cast<const float*>(base)[i]);
    case ElemType::kF16:
      return static_cast<R>(float_of_half(static_cast<const uint16_t*>(base)[i]));
    case ElemType::kBf16:
      return static_cast<R>(float_of_bits(uint32_t{static_cast<const uint16_t*>(base)[i]} << 16));
    case ElemType::kI8:
      return static_cast<R>(static_cast<const int8_t*>(base)[i]);
    case ElemType::kU8:
      return static_cast<R>(static_cast<const uint8_t*>(base)[i]);
    case ElemType::kI16:
      return static_cast<R>(static_cast<const int16_t*>(base)[i]);
    case ElemType::kU16:
      return static_cast<R>(static_cast<const uint16_t*>(base)[i]);
    case ElemType::kI32:
      return static_cast<R>(static_cast<const int32_t*>(base)[i]);
    case ElemType::kU32:
      return static_cast<R>(static_cast<const uint32_t*>(base)[i]);
    case ElemType::kI64:
      return static_cast<R>(static_cast<const int64_t*>(base)[i]);
    case ElemType::kU64:
      return static_cast<R>(static_cast<const uint64_t*>(base)[i]);
    case ElemType::kBool:
      return static_cast<R>(static_cast<const uint8_t*>(base)[i] != 0);
  }
  return R{};
}

template <class T, class R>
REDLINE_INLINE void load_each(const void* src, R* dst, int n) {
  const T* s = static_cast<const T*>(src);
  for (int i = 0; i < n; ++i) dst[i] = static_cast<R>(s[i]);
}

// n contiguous elements into registers. The cases are loops, not one loop around a switch, so that
// each vectorises.
template <class R>
static inline void load_block(const void* src, ElemType type, R* dst, int n) {
  switch (type) {
    case ElemType::kF32:
      return load_each<float>(src, dst, n);
    case ElemType::kF16: {
      if constexpr (sizeof(R) == sizeof(float))
        load_half(static_cast<const uint16_t*>(src), dst, n);
      return;
    }
    case ElemType::kBf16: {
      const uint16_t* s = static_cast<const uint16_t*>(src);
      for (int i = 0; i < n; ++i) dst[i] = static_cast<R>(float_of_bits(uint32_t{s[i]} << 16));
      return;
    }
    case ElemType::kI8:
      return load_each<int8_t>(src, dst, n);
    case ElemType::kU8:
      return load_each<uint8_t>(src, dst, n);
    case ElemType::kI16:
      return load_each<int16_t>(src, dst, n);
    case ElemType::kU16:
      return load_each<uint16_t>(src, dst, n);
    case ElemType::kI32:
      return load_each<int32_t>(src, dst, n);
    case ElemType::kU32:
      return load_each<uint32_t>(src, dst, n);
    case ElemType::kI64:
      return load_each<int64_t>(src, dst, n);
    case ElemType::kU64:
      return load_each<uint64_t>(src, dst, n);
    case ElemType::kBool: {
      const uint8_t* s = static_cast<const uint8_t*>(src);
      for (int i = 0; i < n; ++i) dst[i] = static_cast<R>(s[i] != 0);
      return;
    }
  }
}

// Towards zero, saturating, NaN to 0; Low and High are exact in float, High may be one too large.
template <class T>
REDLINE_INLINE T saturate(float x, float low, float high, T above) {
  const float c = x == x ? x : 0.0f;
  const float floor = c > low ? c : low;
  return floor >= high ? above : static_cast<T>(floor >= high ? 0.0f : floor);
}

template <class T>
REDLINE_INLINE T narrow_to(float x) {
  if constexpr (sizeof(T) <= 2) {
    constexpr bool is_signed = static_cast<T>(-1) < 0;
    constexpr int bits = 8 * sizeof(T) - is_signed;
    constexpr float high = (1 << bits) - 1, low = is_signed ? -high - 1 : 0;
    float c = x == x ? x : 0.0f;
    c = c > low ? c : low;
    c = c < high ? c : high;
    return static_cast<T>(static_cast<int32_t>(c));
  } else if constexpr (sizeof(T) == 4 && static_cast<T>(-1) < 0) {
    return saturate<T>(x, -0x1p31f, 0x1p31f, INT32_MAX);
  } else if constexpr (sizeof(T) == 4) {
    return saturate<T>(x, 0.0f, 0x1p32f, UINT32_MAX);
  } else if constexpr (static_cast<T>(-1) < 0) {
    return saturate<T>(x, -0x1p63f, 0x1p63f, INT64_MAX);
  } else {
    return saturate<T>(x, 0.0f, 0x1p64f, UINT64_MAX);
  }
}
template <class T>
REDLINE_INLINE T narrow_to(int64_t x) {
  return static_cast<T>(x);
}

template <class T, class R>
REDLINE_INLINE void store_each(const R* src, void* dst, int n) {
  T* d = static_cast<T*>(dst);
  for (int i = 0; i < n; ++i) d[i] = narrow_to<T>(src[i]);
}

template <class R>
static inline void store_block(const R* src, ElemType type, void* dst, int n) {
  switch (type) {
    case ElemType::kF32: {
      float* d = static_cast<float*>(dst);
      for (int i = 0; i < n; ++i) d[i] = static_cast<float>(src[i]);
      return;
    }
    case ElemType::kF16: {
      if constexpr (sizeof(R) == sizeof(float)) store_half(src, static_cast<uint16_t*>(dst), n);
      return;
    }
    case ElemType::kBf16: {
      uint16_t* d = static_cast<uint16_t*>(dst);
      for (int i = 0; i < n; ++i) d[i] = bf16_of_float(static_cast<float>(src[i]));
      return;
    }
    case ElemType::kI8:
      return store_each<int8_t>(src, dst, n);
    case ElemType::kU8:
      return store_each<uint8_t>(src, dst, n);
    case ElemType::kI16:
      return store_each<int16_t>(src, dst, n);
    case ElemType::kU16:
      return store_each<uint16_t>(src, dst, n);
    case ElemType::kI32:
      return store_each<int32_t>(src, dst, n);
    case ElemType::kU32:
      return store_each<uint32_t>(src, dst, n);
    case ElemType::kI64:
      return store_each<int64_t>(src, dst, n);
    case ElemType::kU64:
      return store_each<uint64_t>(src, dst, n);
    case ElemType::kBool: {
      uint8_t* d = static_cast<uint8_t*>(dst);
      for (int i = 0; i < n; ++i) d[i] = src[i] != 0;
      return;
    }
  }
}

}  // namespace redline::kernels::REDLINE_ISA
