// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace redline {

// Conversions between float or double and the small floating-point types, which are held as their
// bits: 16-bit types in uint16_t, others in uint8_t (f4e2m1 in its low four bits).
// To a small type: round to nearest even, once, from the full source precision; the sign of zero
// and of NaN stays where the type has it. From a small type: exact.

// What ONNX's Cast does with a value beyond the largest finite one (infinities included).
// f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz: the largest finite value when saturating, otherwise
// infinity where the type has it, else NaN.
// f8e8m0: as below. f16, bf16: always infinity. f4e2m1: always the largest finite value, and NaN
// is a zero (the type has no NaN).

// Rounding to f8e8m0, the powers of two: to the next one above, below, or to the nearest in value
// with ties upwards.
enum class E8M0Round : uint8_t { kUp, kDown, kNearest };

struct FloatCast {
  bool saturate = true;
  E8M0Round e8m0_round = E8M0Round::kUp;
};

inline float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

inline uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16;
  const uint32_t magnitude = bits & 0x7fff;
  const uint32_t normal = (magnitude << 13) + (112u << 23);
  const uint32_t special = (magnitude << 13) | 0x7f800000;
  // Below 2^-14: a count of 2^-24.
  const uint32_t small =
      std::bit_cast<uint32_t>(static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f);
  const uint32_t finite = magnitude < 0x400 ? small : normal;
  return std::bit_cast<float>(sign | (magnitude >= 0x7c00 ? special : finite));
}

inline uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t magnitude = bits & 0x7fffffff;
  // Normal: rounds the mantissa; a carry moves into the exponent and up to infinity.
  const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  // Below 2^-14: adding 0.5 leaves the count of 2^-24, rounded by the addition, in the low bits.
  const uint32_t small =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000;
  const uint32_t finite = magnitude < 0x38800000 ? small : normal;
  const uint32_t nan = 0x7e00 | ((magnitude >> 13) & 0x3ff);
  const uint32_t beyond = magnitude > 0x7f800000 ? nan : 0x7c00;
  return static_cast<uint16_t>(sign | (magnitude >= 0x47800000 ? beyond : finite));
}

inline double f16_to_f64(uint16_t bits) { return f16_to_f32(bits); }
inline double bf16_to_f64(uint16_t bits) { return bf16_to_f32(bits); }
uint16_t f64_to_f16(double value);
uint16_t f64_to_bf16(double value);

double f8e4m3fn_to_f64(uint8_t bits);
double f8e4m3fnuz_to_f64(uint8_t bits);
double f8e5m2_to_f64(uint8_t bits);
double f8e5m2fnuz_to_f64(uint8_t bits);
double f8e8m0_to_f64(uint8_t bits);
double f4e2m1_to_f64(uint8_t bits);  // the high four bits are ignored

uint8_t f64_to_f8e4m3fn(double value, bool saturate = true);
uint8_t f64_to_f8e4m3fnuz(double value, bool saturate = true);
uint8_t f64_to_f8e5m2(double value, bool saturate = true);
uint8_t f64_to_f8e5m2fnuz(double value, bool saturate = true);
// A value outside [2^-127, 2^127], zero included, becomes the nearer end when saturating, else NaN.
// A negative value has no counterpart and becomes NaN.
uint8_t f64_to_f8e8m0(double value, bool saturate = true, E8M0Round round = E8M0Round::kUp);
uint8_t f64_to_f4e2m1(double value);

inline float f8e4m3fn_to_f32(uint8_t bits) { return static_cast<float>(f8e4m3fn_to_f64(bits)); }
inline float f8e4m3fnuz_to_f32(uint8_t bits) { return static_cast<float>(f8e4m3fnuz_to_f64(bits)); }
inline float f8e5m2_to_f32(uint8_t bits) { return static_cast<float>(f8e5m2_to_f64(bits)); }
inline float f8e5m2fnuz_to_f32(uint8_t bits) { return static_cast<float>(f8e5m2fnuz_to_f64(bits)); }
inline float f8e8m0_to_f32(uint8_t bits) { return static_cast<float>(f8e8m0_to_f64(bits)); }
inline float f4e2m1_to_f32(uint8_t bits) { return static_cast<float>(f4e2m1_to_f64(bits)); }

// A float is exact as a double, so the f64_to_* functions serve it too.

// Of the finite ones among some floats.
struct FloatSummary {
  float largest = 0;   // magnitude
  double squares = 0;  // their sum
  int64_t nonzero = 0;
};
FloatSummary summarise_floats(const float* values, size_t count);
// Finite values beyond ±limit become that; infinities and NaN stay.
void clamp_finite(const float* src, float limit, float* dst, size_t count);

// Arrays of `count` elements; dtype is any floating-point type and says what `small` points to
// (one element a uint16_t, a byte, or itself for f32 and f64). Source and destination are apart.
void decode_floats(DType dtype, const void* small, float* dst, size_t count);
void decode_floats(DType dtype, const void* small, double* dst, size_t count);
void encode_floats(DType dtype, const float* src, void* small, size_t count, FloatCast cast = {});
void encode_floats(DType dtype, const double* src, void* small, size_t count, FloatCast cast = {});

}  // namespace redline
