// SPDX-License-Identifier: Apache-2.0
#include "core/float_types.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "base/status.h"

namespace redline {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

enum class Specials { kIeee, kNanOnly, kUnsignedZero, kNone };

// A slow reference, written from the formats' definitions: the value of each code, and the code of
// a value by search among all.
struct Format {
  std::string name;
  int exponent_bits;
  int mantissa_bits;
  int bias;
  Specials specials;
  std::function<double(uint16_t)> decode;
  std::function<uint16_t(double, bool)> encode;
  int max_code = 0;  // of the largest finite value; set by formats()

  int sign_bit() const { return exponent_bits + mantissa_bits; }
  int codes() const { return 2 << sign_bit(); }

  double value(int code) const {
    const int sign = code >> sign_bit();
    const int exponent = code >> mantissa_bits & ((1 << exponent_bits) - 1);
    const int mantissa = code & ((1 << mantissa_bits) - 1);
    const bool top = exponent == (1 << exponent_bits) - 1;
    const bool full = mantissa == (1 << mantissa_bits) - 1;
    if (specials == Specials::kUnsignedZero && code == 1 << sign_bit()) return kNan;
    if (specials == Specials::kNanOnly && top && full) return kNan;
    if (specials == Specials::kIeee && top) {
      return mantissa != 0 ? kNan : sign ? -kInf : kInf;
    }
    const double fraction = std::ldexp(mantissa, -mantissa_bits);
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
    return sign ? -magnitude : magnitude;
  }

  // The code of a finite or infinite value >= 0.
  int nearest(double x, bool saturate) const {
    int overflow = max_code;
    if (!saturate && specials == Specials::kIeee) overflow = max_code + 1;
    if (!saturate && specials == Specials::kNanOnly) overflow = max_code + 1;
    if (!saturate && specials == Specials::kUnsignedZero) overflow = 1 << sign_bit();
    const double max = value(max_code);
    const double step = max - value(max_code - 1);
    // Half a step beyond the maximum is a tie, which an even maximum wins.
    if (x > max + step / 2 || (x == max + step / 2 && max_code % 2 == 1)) return overflow;
    if (x >= max) return max_code;
    int low = 0;
    int high = max_code;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (value(middle) <= x ? low : high) = middle;
    }
    // Both differences are exact: the operands are within a factor of two, or one is a multiple
    // of the other's last place.
    const double down = x - value(low);
    const double up = value(high) - x;
    if (down != up) return down < up ? low : high;
    return low % 2 == 0 ? low : high;
  }

  // -1 stands for any NaN.
  int reference(double x, bool saturate) const {
    if (std::isnan(x)) return -1;
    const int code = nearest(std::fabs(x), saturate);
    if (std::isnan(value(code))) return -1;
    if (!std::signbit(x) || (code == 0 && specials == Specials::kUnsignedZero)) return code;
    return code | 1 << sign_bit();
  }
};

std::vector<Format> formats() {
  const auto no_flag = [](auto f) { return [f](double v, bool) -> uint16_t { return f(v); }; };
  std::vector<Format> all = {
      {"f16", 5, 10, 15, Specials::kIeee, f16_to_f64, no_flag(f64_to_f16), 0},
      {"bf16", 8, 7, 127, Specials::kIeee, bf16_to_f64, no_flag(f64_to_bf16), 0},
      {"f8e4m3fn", 4, 3, 7, Specials::kNanOnly, f8e4m3fn_to_f64, f64_to_f8e4m3fn, 0},
      {"f8e4m3fnuz", 4, 3, 8, Specials::kUnsignedZero, f8e4m3fnuz_to_f64, f64_to_f8e4m3fnuz, 0},
      {"f8e5m2", 5, 2, 15, Specials::kIeee, f8e5m2_to_f64, f64_to_f8e5m2, 0},
      {"f8e5m2fnuz", 5, 2, 16, Specials::kUnsignedZero, f8e5m2fnuz_to_f64, f64_to_f8e5m2fnuz, 0},
      {"f4e2m1", 2, 1, 1, Specials::kNone, f4e2m1_to_f64, no_flag(f64_to_f4e2m1), 0},
  };
  for (Format& format : all) {
    for (int code = 0; code < format.codes() / 2; ++code) {
      if (std::isfinite(format.value(code))) format.max_code = code;
    }
  }
  return all;
}

void expect_same_value(double actual, double expected, const std::string& what) {
  if (std::isnan(expected)) {
    EXPECT_TRUE(std::isnan(actual)) << what;
  } else {
    EXPECT_EQ(actual, expected) << what;
    EXPECT_EQ(std::signbit(actual), std::signbit(expected)) << what;
  }
}

TEST(FloatTypes, EveryCodeDecodesToItsValue) {
  for (const Format& format : formats()) {
    for (int code = 0; code < format.codes(); ++code) {
      expect_same_value(format.decode(static_cast<uint16_t>(code)), format.value(code),
                        str_cat(format.name, " ", code));
    }
  }
}

TEST(FloatTypes, EveryCodeSurvivesARoundTrip) {
  for (const Format& format : formats()) {
    for (int code = 0; code < format.codes(); ++code) {
      const double value = format.value(code);
      const int back = format.encode(value, false);
      if (std::isnan(value)) {
        EXPECT_TRUE(std::isnan(format.value(back))) << format.name << " " << code;
      } else {
        EXPECT_EQ(back, code) << format.name;
      }
    }
  }
}

void expect_reference(const Format& format, double x) {
  const bool clamps = format.name == "f4e2m1";
  const bool never = format.name == "f16" || format.name == "bf16";
  for (const bool saturate : {false, true}) {
    const int expected = format.reference(x, clamps || (saturate && !never));
    const int actual = format.encode(x, saturate);
    if (expected < 0) {
      ASSERT_TRUE(std::isnan(format.value(actual))) << format.name << " " << x << " " << actual;
    } else {
      ASSERT_EQ(actual, expected) << format.name << " of " << x << ", saturate " << saturate;
    }
  }
}

// Each value, the midpoint above it, and the doubles around both.
TEST(FloatTypes, RoundsToNearestEvenAtEveryTie) {
  for (const Format& format : formats()) {
    for (int code = 0; code<format.codes() / 2; code += format.codes()> 256 ? 7 : 1) {
      const double value = format.value(code);
      if (!std::isfinite(value)) continue;
      const double next = std::isfinite(format.value(code + 1)) && code + 1 < format.codes() / 2
                              ? format.value(code + 1)
                              : value + (value - format.value(code - 1));
      for (const double at : {value, value + (next - value) / 2}) {
        for (const double x : {at, std::nextafter(at, kInf), std::nextafter(at, -kInf)}) {
          expect_reference(format, x);
          expect_reference(format, -x);
        }
      }
    }
  }
}

TEST(FloatTypes, RandomValuesAgreeWithTheSearch) {
  std::mt19937_64 random(1);
  for (const Format& format : formats()) {
    for (int i = 0; i < 20000; ++i) {
      const double scale = std::ldexp(1.0, static_cast<int>(random() % 48) - 28);
      const double unit = std::ldexp(static_cast<double>(random() >> 11), -52);
      expect_reference(format, (random() % 2 ? 1 : -1) * unit * scale);
      const double any = std::bit_cast<double>(random());
      if (!std::isnan(any)) expect_reference(format, any);
    }
    for (const double x : {0.0, -0.0, kInf, -kInf, 5e-324, -5e-324, 1e-310, 1.7e308, -1.7e308}) {
      expect_reference(format, x);
    }
  }
}

TEST(FloatTypes, NanKeepsItsSignWhereThereIsOne) {
  EXPECT_EQ(f64_to_f16(kNan), 0x7e00);
  EXPECT_EQ(f64_to_f16(-kNan), 0xfe00);
  EXPECT_EQ(f64_to_bf16(-kNan), 0xffc0);
  for (const bool saturate : {false, true}) {
    EXPECT_EQ(f64_to_f8e4m3fn(kNan, saturate), 0x7f);
    EXPECT_EQ(f64_to_f8e4m3fn(-kNan, saturate), 0xff);
    EXPECT_EQ(f64_to_f8e5m2(kNan, saturate), 0x7e);
    EXPECT_EQ(f64_to_f8e5m2(-kNan, saturate), 0xfe);
    EXPECT_EQ(f64_to_f8e4m3fnuz(-kNan, saturate), 0x80);
    EXPECT_EQ(f64_to_f8e5m2fnuz(-kNan, saturate), 0x80);
  }
  EXPECT_EQ(f64_to_f4e2m1(kNan), 0x8);
  EXPECT_EQ(f64_to_f4e2m1(-kNan), 0x0);
  EXPECT_EQ(f4e2m1_to_f64(0xf7), 6);
}

// The tables of ONNX's Cast, with -0 and infinities.
TEST(FloatTypes, CastTableOfOnnx) {
  EXPECT_EQ(f64_to_f8e4m3fn(-0.0), 0x80);
  EXPECT_EQ(f64_to_f8e4m3fnuz(-0.0), 0x00);
  EXPECT_EQ(f64_to_f8e5m2(-0.0), 0x80);
  EXPECT_EQ(f64_to_f8e5m2fnuz(-0.0), 0x00);
  EXPECT_EQ(f8e4m3fn_to_f64(f64_to_f8e4m3fn(kInf)), 448);
  EXPECT_EQ(f8e4m3fnuz_to_f64(f64_to_f8e4m3fnuz(-1e6)), -240);
  EXPECT_EQ(f8e5m2_to_f64(f64_to_f8e5m2(-kInf)), -57344);
  EXPECT_EQ(f8e5m2fnuz_to_f64(f64_to_f8e5m2fnuz(1e6)), 57344);
  EXPECT_EQ(f64_to_f8e4m3fn(-kInf, false), 0xff);
  EXPECT_EQ(f64_to_f8e4m3fnuz(kInf, false), 0x80);
  EXPECT_EQ(f64_to_f8e5m2(-1e6, false), 0xfc);
  EXPECT_EQ(f64_to_f8e5m2fnuz(-1e6, false), 0x80);
  EXPECT_EQ(f64_to_f8e4m3fn(464, false), 0x7e);  // a tie with the missing 480
  EXPECT_EQ(f64_to_f8e4m3fn(465, false), 0x7f);
  EXPECT_EQ(f64_to_f8e4m3fnuz(248, false), 0x80);
}

TEST(FloatTypes, DoublesRoundOnce) {
  // Just above the midpoint of 1 and 1 + 2^-10; as a float it is the midpoint, which goes down.
  const double above = 1 + 0x1p-11 + 0x1p-40;
  EXPECT_EQ(f64_to_f16(above), 0x3c01);
  EXPECT_EQ(f32_to_f16(static_cast<float>(above)), 0x3c00);
  EXPECT_EQ(f64_to_bf16(1 + 0x1p-8 + 0x1p-45), 0x3f81);
  EXPECT_EQ(f64_to_f8e4m3fn(1 + 0x1p-4 + 0x1p-50), 0x39);
  EXPECT_EQ(f64_to_f16(0x1p-25 + 0x1p-70), 0x0001);
  EXPECT_EQ(f64_to_f16(0x1p-25), 0x0000);
}

TEST(FloatTypes, FloatAndDoublePathsAgree) {
  for (uint32_t code = 0; code < 0x10000; ++code) {
    const auto bits = static_cast<uint16_t>(code);
    const float f = f16_to_f32(bits);
    const float b = bf16_to_f32(bits);
    if (!std::isnan(f)) {
      ASSERT_EQ(f32_to_f16(f), bits);
    } else {
      ASSERT_EQ(f32_to_f16(f), bits | 0x200);
    }
    if (!std::isnan(b)) {
      ASSERT_EQ(f32_to_bf16(b), bits);
    } else {
      ASSERT_EQ(f32_to_bf16(b), bits | 0x40);
    }
  }
  // A stride that is odd and prime visits every exponent and all kinds of low bits.
  for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 1021) {
    const auto x = std::bit_cast<float>(static_cast<uint32_t>(bits));
    if (std::isnan(x)) continue;
    ASSERT_EQ(f32_to_f16(x), f64_to_f16(x)) << x;
    ASSERT_EQ(f32_to_bf16(x), f64_to_bf16(x)) << x;
  }
  // Every float tie between two f16 values, and its neighbours.
  for (uint16_t code = 0; code < 0x7bff; ++code) {
    const float tie = (f16_to_f32(code) + f16_to_f32(static_cast<uint16_t>(code + 1))) / 2;
    for (const float x : {tie, std::nextafter(tie, 1e9f), std::nextafter(tie, -1e9f)}) {
      ASSERT_EQ(f32_to_f16(x), f64_to_f16(x)) << x;
      ASSERT_EQ(f32_to_f16(-x), f64_to_f16(-x)) << x;
    }
  }
  EXPECT_EQ(f32_to_f16(65519.996f), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7f800001u)), 0x7fc0);
}

TEST(FloatTypes, E8M0) {
  for (int code = 0; code < 255; ++code) {
    const auto bits = static_cast<uint8_t>(code);
    const double value = std::ldexp(1.0, code - 127);
    ASSERT_EQ(f8e8m0_to_f64(bits), value);
    ASSERT_EQ(f8e8m0_to_f32(bits), static_cast<float>(value));
    for (const auto round : {E8M0Round::kUp, E8M0Round::kDown, E8M0Round::kNearest}) {
      for (const bool saturate : {false, true}) {
        ASSERT_EQ(f64_to_f8e8m0(value, saturate, round), code);
      }
    }
    if (code == 254) continue;
    const double tie = 1.5 * value;
    const double above = std::nextafter(value, kInf);
    ASSERT_EQ(f64_to_f8e8m0(above), code + 1);
    ASSERT_EQ(f64_to_f8e8m0(std::nextafter(2 * value, 0), false, E8M0Round::kDown), code);
    ASSERT_EQ(f64_to_f8e8m0(tie, false, E8M0Round::kNearest), code + 1);
    ASSERT_EQ(f64_to_f8e8m0(std::nextafter(tie, 0), false, E8M0Round::kNearest), code);
  }
  EXPECT_TRUE(std::isnan(f8e8m0_to_f64(0xff)));
  for (const auto round : {E8M0Round::kUp, E8M0Round::kDown, E8M0Round::kNearest}) {
    EXPECT_EQ(f64_to_f8e8m0(0.0, true, round), 0);
    EXPECT_EQ(f64_to_f8e8m0(1e-300, true, round), 0);
    EXPECT_EQ(f64_to_f8e8m0(kInf, true, round), 0xfe);
    EXPECT_EQ(f64_to_f8e8m0(1.01 * 0x1p127, true, round), 0xfe);
    for (const double x : {0.0, 0x1p-128, kInf, 1.01 * 0x1p127, kNan, -1.0}) {
      EXPECT_EQ(f64_to_f8e8m0(x, false, round), 0xff) << x;
    }
    EXPECT_EQ(f64_to_f8e8m0(kNan, true, round), 0xff);
    EXPECT_EQ(f64_to_f8e8m0(-1.0, true, round), 0xff);
  }
}

TEST(FloatTypes, SummaryAndClampLeaveOutWhatIsNotFinite) {
  std::vector<float> values(37, 0.5f);
  values[3] = INFINITY;
  values[9] = NAN;
  values[20] = -70000;
  values[35] = 0;
  values[36] = -INFINITY;
  FloatSummary sum = summarise_floats(values.data(), values.size());
  EXPECT_EQ(sum.largest, 70000);
  EXPECT_EQ(sum.squares, 32 * 0.25 + 4.9e9);
  EXPECT_EQ(sum.nonzero, 33);

  std::vector<float> clamped(values.size());
  clamp_finite(values.data(), 65504, clamped.data(), values.size());
  EXPECT_EQ(clamped[0], 0.5f);
  EXPECT_EQ(clamped[3], INFINITY);
  EXPECT_TRUE(std::isnan(clamped[9]));
  EXPECT_EQ(clamped[20], -65504);
  EXPECT_EQ(clamped[36], -INFINITY);
}

TEST(FloatTypes, ArraysAgreeWithScalars) {
  const std::vector<float> src = {0.0f, -0.0f, 0.3f, -1.75f, 6.5f, 300.0f, 1e6f, 0x1p-9f, -2e38f};
  const std::vector<double> wide(src.begin(), src.end());
  std::vector<uint16_t> halves(src.size());
  encode_floats(DType::kFloat16, src.data(), halves.data(), src.size());
  for (size_t i = 0; i < src.size(); ++i) EXPECT_EQ(halves[i], f32_to_f16(src[i]));
  encode_floats(DType::kBFloat16, wide.data(), halves.data(), src.size());
  for (size_t i = 0; i < src.size(); ++i) EXPECT_EQ(halves[i], f32_to_bf16(src[i]));
  std::vector<float> back(src.size());
  decode_floats(DType::kBFloat16, halves.data(), back.data(), src.size());
  for (size_t i = 0; i < src.size(); ++i) EXPECT_EQ(back[i], bf16_to_f32(halves[i]));

  std::vector<uint8_t> bytes(src.size());
  std::vector<double> doubles(src.size());
  const FloatCast cast = {.saturate = false, .e8m0_round = E8M0Round::kDown};
  const auto check = [&](DType dtype, auto encode, auto decode) {
    encode_floats(dtype, src.data(), bytes.data(), src.size(), cast);
    decode_floats(dtype, bytes.data(), doubles.data(), src.size());
    decode_floats(dtype, bytes.data(), back.data(), src.size());
    for (size_t i = 0; i < src.size(); ++i) {
      EXPECT_EQ(bytes[i], encode(src[i])) << dtype_name(dtype) << " " << src[i];
      expect_same_value(doubles[i], decode(bytes[i]), str_cat(dtype_name(dtype), " ", src[i]));
      expect_same_value(back[i], decode(bytes[i]), str_cat(dtype_name(dtype), " ", src[i]));
    }
    std::vector<uint8_t> from_wide(src.size());
    encode_floats(dtype, wide.data(), from_wide.data(), src.size(), cast);
    EXPECT_EQ(from_wide, bytes);
  };
  check(
      DType::kFloat8E4M3FN, [](float v) { return f64_to_f8e4m3fn(v, false); }, f8e4m3fn_to_f64);
  check(
      DType::kFloat8E4M3FNUZ, [](float v) { return f64_to_f8e4m3fnuz(v, false); },
      f8e4m3fnuz_to_f64);
  check(
      DType::kFloat8E5M2, [](float v) { return f64_to_f8e5m2(v, false); }, f8e5m2_to_f64);
  check(
      DType::kFloat8E5M2FNUZ, [](float v) { return f64_to_f8e5m2fnuz(v, false); },
      f8e5m2fnuz_to_f64);
  check(
      DType::kFloat8E8M0, [](float v) { return f64_to_f8e8m0(v, false, E8M0Round::kDown); },
      f8e8m0_to_f64);
  check(
      DType::kFloat4E2M1, [](float v) { return f64_to_f4e2m1(v); }, f4e2m1_to_f64);

  std::vector<double> copied(src.size());
  encode_floats(DType::kFloat64, src.data(), copied.data(), src.size());
  EXPECT_EQ(copied, wide);
  decode_floats(DType::kFloat32, src.data(), copied.data(), src.size());
  EXPECT_EQ(copied, wide);
  encode_floats(DType::kFloat16, src.data(), nullptr, 0);
}

}  // namespace
}  // namespace redline
