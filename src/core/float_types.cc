// SPDX-License-Identifier: Apache-2.0
#include "core/float_types.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/status.h"

namespace redline {

namespace {

// A sign, exponent and mantissa type by its bit codes; `bias` is the exponent code of 2^0.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  int bias;
  uint32_t max_finite;  // code of the largest finite value
  uint32_t infinity;    // codes without sign; infinity == max_finite: none, it clamps
  uint32_t nan;
  bool unsigned_zero;  // "uz": no -0, whose code is NaN's
};

constexpr Format kF16 = {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false};
constexpr Format kBF16 = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false};
constexpr Format kE4M3FN = {4, 3, 7, 0x7e, 0x7f, 0x7f, false};
constexpr Format kE4M3FNUZ = {4, 3, 8, 0x7f, 0x80, 0x80, true};
constexpr Format kE5M2 = {5, 2, 15, 0x7b, 0x7c, 0x7e, false};
constexpr Format kE5M2FNUZ = {5, 2, 16, 0x7f, 0x80, 0x80, true};
constexpr Format kE2M1 = {2, 1, 1, 0x7, 0x7, 0x8, false};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint64_t kDoubleInfinity = 0x7ff0000000000000;
constexpr uint64_t kDoubleMantissa = 0x000fffffffffffff;
constexpr double kDoubleNan = std::bit_cast<double>(uint64_t{0x7ff8000000000000});

template <Format F>
constexpr uint32_t encode(double value, bool saturate) {
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t magnitude = bits & ~(uint64_t{1} << 63);
  const uint32_t sign = static_cast<uint32_t>(bits >> 63) << (F.exponent_bits + F.mantissa_bits);
  const uint32_t beyond = saturate ? F.max_finite : F.infinity;
  // XOR, for the NaN of E2M1 is by convention (ml_dtypes, ONNX's cases) the zero of the other sign.
  if (magnitude > kDoubleInfinity) return F.unsigned_zero ? F.nan : F.nan ^ sign;
  uint32_t code = 0;
  if (magnitude == kDoubleInfinity) {
    code = beyond;
  } else if (magnitude > kDoubleMantissa) {  // subnormal doubles are far below any half step
    constexpr int kMinExponent = 1 - F.bias;
    const int exponent = static_cast<int>(magnitude >> 52) - 1023;
    const uint64_t significand = (magnitude & kDoubleMantissa) | (kDoubleMantissa + 1);
    const int drop = 52 - F.mantissa_bits + std::max(0, kMinExponent - exponent);
    if (drop < 54) {
      const uint64_t half = uint64_t{1} << (drop - 1);
      const uint64_t odd = (significand >> drop) & 1;
      const uint64_t rounded = (significand + half - 1 + odd) >> drop;
      const int steps = std::max(exponent, kMinExponent) - kMinExponent;
      // A wide exponent is beyond in any case; the clamp keeps the shift in range.
      const int clamped = std::min(steps, 1 << F.exponent_bits);
      code = (static_cast<uint32_t>(clamped) << F.mantissa_bits) + static_cast<uint32_t>(rounded);
      if (code > F.max_finite) code = beyond;
    }
  }
  if (F.unsigned_zero && (code == 0 || code == F.nan)) return code;
  return code | sign;
}

template <Format F>
constexpr double decode(uint32_t bits) {
  constexpr int kSignShift = F.exponent_bits + F.mantissa_bits;
  const uint64_t sign = static_cast<uint64_t>(bits >> kSignShift & 1) << 63;
  if (F.unsigned_zero && bits == F.nan) return kDoubleNan;
  const uint32_t code = bits & ((1u << kSignShift) - 1);
  uint64_t magnitude = 0;
  if (code > F.max_finite) {
    magnitude = code == F.infinity && F.infinity != F.nan ? kDoubleInfinity
                                                          : std::bit_cast<uint64_t>(kDoubleNan);
  } else {
    const uint32_t exponent = code >> F.mantissa_bits;
    const uint32_t mantissa = code & ((1u << F.mantissa_bits) - 1);
    const uint32_t count = exponent == 0 ? mantissa : mantissa + (1u << F.mantissa_bits);
    const int scale = (exponent == 0 ? 1 : static_cast<int>(exponent)) - F.bias - F.mantissa_bits;
    const auto power = std::bit_cast<double>(static_cast<uint64_t>(scale + 1023) << 52);
    magnitude = std::bit_cast<uint64_t>(static_cast<double>(count) * power);
  }
  return std::bit_cast<double>(magnitude | sign);
}

template <Format F>
constexpr auto decode_table() {
  constexpr size_t kCodes = size_t{2} << (F.exponent_bits + F.mantissa_bits);
  std::array<double, kCodes> table{};
  for (size_t i = 0; i < kCodes; ++i) table[i] = decode<F>(static_cast<uint32_t>(i));
  return table;
}

template <Format F>
constexpr auto kDecoded = decode_table<F>();

template <class Small, class Wide, class Decode>
void decode_all(const void* small, Wide* dst, size_t count, Decode decode_one) {
  const auto* src = static_cast<const Small*>(small);
  for (size_t i = 0; i < count; ++i) dst[i] = static_cast<Wide>(decode_one(src[i]));
}

template <class Small, class Wide, class Encode>
void encode_all(const Wide* src, void* small, size_t count, Encode encode_one) {
  auto* dst = static_cast<Small*>(small);
  for (size_t i = 0; i < count; ++i) dst[i] = static_cast<Small>(encode_one(src[i]));
}

template <class Wide>
void decode_any(DType dtype, const void* small, Wide* dst, size_t count) {
  const auto same = [](auto value) { return value; };
  switch (dtype) {
    case DType::kFloat64:
      return decode_all<double>(small, dst, count, same);
    case DType::kFloat32:
      return decode_all<float>(small, dst, count, same);
    case DType::kFloat16:
      return decode_all<uint16_t>(small, dst, count, f16_to_f32);
    case DType::kBFloat16:
      return decode_all<uint16_t>(small, dst, count, bf16_to_f32);
    case DType::kFloat8E4M3FN:
      return decode_all<uint8_t>(small, dst, count, f8e4m3fn_to_f64);
    case DType::kFloat8E4M3FNUZ:
      return decode_all<uint8_t>(small, dst, count, f8e4m3fnuz_to_f64);
    case DType::kFloat8E5M2:
      return decode_all<uint8_t>(small, dst, count, f8e5m2_to_f64);
    case DType::kFloat8E5M2FNUZ:
      return decode_all<uint8_t>(small, dst, count, f8e5m2fnuz_to_f64);
    case DType::kFloat8E8M0:
      return decode_all<uint8_t>(small, dst, count, f8e8m0_to_f64);
    case DType::kFloat4E2M1:
      return decode_all<uint8_t>(small, dst, count, f4e2m1_to_f64);
    default:
      REDLINE_ASSERT(is_float(dtype));
  }
}

inline uint16_t to_f16(float value) { return f32_to_f16(value); }
inline uint16_t to_f16(double value) { return f64_to_f16(value); }
inline uint16_t to_bf16(float value) { return f32_to_bf16(value); }
inline uint16_t to_bf16(double value) { return f64_to_bf16(value); }

template <class Wide>
void encode_any(DType dtype, const Wide* src, void* small, size_t count, FloatCast cast) {
  const bool saturate = cast.saturate;
  switch (dtype) {
    case DType::kFloat64:
      return encode_all<double>(src, small, count, [](Wide v) { return v; });
    case DType::kFloat32:
      return encode_all<float>(src, small, count, [](Wide v) { return v; });
    case DType::kFloat16:
      return encode_all<uint16_t>(src, small, count, [](Wide v) { return to_f16(v); });
    case DType::kBFloat16:
      return encode_all<uint16_t>(src, small, count, [](Wide v) { return to_bf16(v); });
    case DType::kFloat8E4M3FN:
      return encode_all<uint8_t>(src, small, count,
                                 [=](Wide v) { return f64_to_f8e4m3fn(v, saturate); });
    case DType::kFloat8E4M3FNUZ:
      return encode_all<uint8_t>(src, small, count,
                                 [=](Wide v) { return f64_to_f8e4m3fnuz(v, saturate); });
    case DType::kFloat8E5M2:
      return encode_all<uint8_t>(src, small, count,
                                 [=](Wide v) { return f64_to_f8e5m2(v, saturate); });
    case DType::kFloat8E5M2FNUZ:
      return encode_all<uint8_t>(src, small, count,
                                 [=](Wide v) { return f64_to_f8e5m2fnuz(v, saturate); });
    case DType::kFloat8E8M0:
      return encode_all<uint8_t>(
          src, small, count, [=](Wide v) { return f64_to_f8e8m0(v, saturate, cast.e8m0_round); });
    case DType::kFloat4E2M1:
      return encode_all<uint8_t>(src, small, count, [](Wide v) { return f64_to_f4e2m1(v); });
    default:
      REDLINE_ASSERT(is_float(dtype));
  }
}

}  // namespace

uint16_t f64_to_f16(double value) { return static_cast<uint16_t>(encode<kF16>(value, false)); }
uint16_t f64_to_bf16(double value) { return static_cast<uint16_t>(encode<kBF16>(value, false)); }

double f8e4m3fn_to_f64(uint8_t bits) { return kDecoded<kE4M3FN>[bits]; }
double f8e4m3fnuz_to_f64(uint8_t bits) { return kDecoded<kE4M3FNUZ>[bits]; }
double f8e5m2_to_f64(uint8_t bits) { return kDecoded<kE5M2>[bits]; }
double f8e5m2fnuz_to_f64(uint8_t bits) { return kDecoded<kE5M2FNUZ>[bits]; }
double f4e2m1_to_f64(uint8_t bits) { return kDecoded<kE2M1>[bits & 0xf]; }

double f8e8m0_to_f64(uint8_t bits) {
  if (bits == 0xff) return kDoubleNan;
  return std::bit_cast<double>(static_cast<uint64_t>(bits - 127 + 1023) << 52);
}

uint8_t f64_to_f8e4m3fn(double value, bool saturate) {
  return static_cast<uint8_t>(encode<kE4M3FN>(value, saturate));
}
uint8_t f64_to_f8e4m3fnuz(double value, bool saturate) {
  return static_cast<uint8_t>(encode<kE4M3FNUZ>(value, saturate));
}
uint8_t f64_to_f8e5m2(double value, bool saturate) {
  return static_cast<uint8_t>(encode<kE5M2>(value, saturate));
}
uint8_t f64_to_f8e5m2fnuz(double value, bool saturate) {
  return static_cast<uint8_t>(encode<kE5M2FNUZ>(value, saturate));
}
uint8_t f64_to_f4e2m1(double value) { return static_cast<uint8_t>(encode<kE2M1>(value, true)); }

uint8_t f64_to_f8e8m0(double value, bool saturate, E8M0Round round) {
  constexpr uint8_t kMax = 0xfe;
  constexpr uint8_t kNan = 0xff;
  if (!(value >= 0)) return kNan;
  if (value > 0x1p127) return saturate ? kMax : kNan;
  if (value < 0x1p-127) return saturate ? 0 : kNan;
  const auto bits = std::bit_cast<uint64_t>(value);
  const uint64_t fraction = bits & kDoubleMantissa;
  const auto below = static_cast<uint8_t>((bits >> 52) - 1023 + 127);
  const bool up = (round == E8M0Round::kUp && fraction != 0) ||
                  (round == E8M0Round::kNearest && fraction > kDoubleMantissa / 2);
  return static_cast<uint8_t>(below + (up ? 1 : 0));
}

FloatSummary summarise_floats(const float* values, size_t count) {
  constexpr size_t kLanes = 8;  // sums that do not wait for each other
  float largest[kLanes] = {};
  double squares[kLanes] = {};
  int64_t nonzero[kLanes] = {};
  auto add = [&](size_t lane, float value) {
    float magnitude = std::abs(value);
    float finite = magnitude < kInfinity ? magnitude : 0;
    largest[lane] = largest[lane] < finite ? finite : largest[lane];
    squares[lane] += static_cast<double>(finite) * static_cast<double>(finite);
    nonzero[lane] += finite > 0 ? 1 : 0;
  };
  size_t whole = count / kLanes * kLanes;
  for (size_t i = 0; i < whole; i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) add(lane, values[i + lane]);
  }
  for (size_t i = whole; i < count; ++i) add(i - whole, values[i]);
  FloatSummary sum;
  for (size_t lane = 0; lane < kLanes; ++lane) {
    sum.largest = std::max(sum.largest, largest[lane]);
    sum.squares += squares[lane];
    sum.nonzero += nonzero[lane];
  }
  return sum;
}

void clamp_finite(const float* src, float limit, float* dst, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    float value = src[i];
    float clamped = value > limit ? limit : value;
    clamped = clamped < -limit ? -limit : clamped;
    dst[i] = std::abs(value) < kInfinity ? clamped : value;
  }
}

void decode_floats(DType dtype, const void* small, float* dst, size_t count) {
  decode_any(dtype, small, dst, count);
}
void decode_floats(DType dtype, const void* small, double* dst, size_t count) {
  decode_any(dtype, small, dst, count);
}
void encode_floats(DType dtype, const float* src, void* small, size_t count, FloatCast cast) {
  encode_any(dtype, src, small, count, cast);
}
void encode_floats(DType dtype, const double* src, void* small, size_t count, FloatCast cast) {
  encode_any(dtype, src, small, count, cast);
}

}  // namespace redline
