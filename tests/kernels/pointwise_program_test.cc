// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>

#include "isas.h"
#include "kernels/cpu/pointwise/program.h"

namespace redline::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
using Op = PointwiseOp;

PointwiseCode compiled(const PointwiseProgram& p) {
  PointwiseCode code;
  const char* error = pointwise_compile(p, &code);
  EXPECT_EQ(error, nullptr) << error;
  return code;
}

PointwiseLayout contiguous_layout(const PointwiseCode& code, int64_t n) {
  PointwiseLayout layout;
  const int64_t* strides[kMaxPointwiseOperands] = {};
  EXPECT_EQ(pointwise_layout(code, 1, &n, strides, &layout), nullptr);
  return layout;
}

bool same(float a, float b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

std::vector<float> special_values() {
  return {0.0f,   -0.0f,  1.0f,   -1.0f, 0.5f,   -0.5f,     1.5f,   2.5f,     -2.5f,      3.0f,
          -3.0f,  7.25f,  -7.25f, kInf,  -kInf,  kNan,      1e-40f, -1e-40f,  3.4e38f,    -3e38f,
          100.0f, -99.9f, 0.1f,   -0.1f, 5.999f, -2.99999f, 1e10f,  -1.5e10f, 16777216.f, 2.0f};
}

struct UnaryCase {
  Op op;
  float alpha, beta;
  std::function<float(float)> want;
};

float clampf(float x, float low, float high) {
  return std::isnan(x) ? x : std::min(std::max(x, low), high);
}

const std::vector<UnaryCase>& unary_cases() {
  static const std::vector<UnaryCase> cases = {
      {Op::kCopy, 0, 0, [](float x) { return x; }},
      {Op::kAbs, 0, 0, [](float x) { return std::fabs(x); }},
      {Op::kNeg, 0, 0, [](float x) { return -x; }},
      {Op::kSign, 0, 0, [](float x) { return std::isnan(x) ? x : float((x > 0) - (x < 0)); }},
      {Op::kNot, 0, 0, [](float x) { return x == 0 ? 1.0f : 0.0f; }},
      {Op::kSquare, 0, 0, [](float x) { return x * x; }},
      {Op::kReciprocal, 0, 0, [](float x) { return 1 / x; }},
      {Op::kRelu, 0, 0, [](float x) { return std::isnan(x) ? x : std::max(x, 0.0f); }},
      {Op::kLeakyRelu, 0.3f, 0, [](float x) { return x < 0 ? 0.3f * x : x; }},
      {Op::kSoftsign, 0, 0, [](float x) { return x / (1 + std::fabs(x)); }},
      {Op::kThresholdedRelu, 0.4f, 0, [](float x) { return x > 0.4f ? x : 0; }},
      {Op::kShrink, 0.7f, 0.2f,
       [](float x) { return x < -0.7f  ? x + 0.2f
                            : x > 0.7f ? x - 0.2f
                                       : 0; }},
      {Op::kFloor, 0, 0, [](float x) { return std::floor(x); }},
      {Op::kCeil, 0, 0, [](float x) { return std::ceil(x); }},
      {Op::kRound, 0, 0, [](float x) { return std::nearbyint(x); }},
      {Op::kTrunc, 0, 0, [](float x) { return std::trunc(x); }},
      {Op::kIsNan, 0, 0, [](float x) { return std::isnan(x) ? 1.0f : 0.0f; }},
      {Op::kIsInf, 1, 1, [](float x) { return std::isinf(x) ? 1.0f : 0.0f; }},
      {Op::kIsInf, 1, 0, [](float x) { return x == kInf ? 1.0f : 0.0f; }},
      {Op::kIsInf, 0, 1, [](float x) { return x == -kInf ? 1.0f : 0.0f; }},
      {Op::kClipConst, -1, 2, [](float x) { return clampf(x, -1, 2); }},
  };
  return cases;
}

TEST(Pointwise, ExactUnaryOpsMatchTheirDefinitionAtEveryLength) {
  for (Isa isa : supported_isas())
    for (const UnaryCase& c : unary_cases()) {
      PointwiseProgram p;
      p.output(p.emit(c.op, p.input(ElemType::kF32), c.alpha, c.beta), ElemType::kF32);
      const PointwiseCode code = compiled(p);
      const std::vector<float> values = special_values();
      for (int64_t n : {0, 1, 3, 15, 16, 17, 30, 1030}) {
        std::vector<float> x(n + 1), y(n + 2, 42.0f);
        for (int64_t i = 0; i < n; ++i) x[i + 1] = values[i % values.size()];
        const void* inputs[] = {x.data() + 1};  // unaligned
        void* outputs[] = {y.data() + 1};
        pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
        for (int64_t i = 0; i < n; ++i)
          ASSERT_TRUE(same(y[i + 1], c.want(x[i + 1])))
              << isa_name(isa) << " " << pointwise_op_name(c.op) << "(" << x[i + 1]
              << ") = " << y[i + 1] << ", want " << c.want(x[i + 1]);
        ASSERT_EQ(y[0], 42.0f);
        ASSERT_EQ(y[n + 1], 42.0f);
      }
    }
}

TEST(Pointwise, SmoothActivationsMatchTheirDefinition) {
  const std::vector<UnaryCase> cases = {
      {Op::kElu, 1.3f, 0, [](float x) { return x < 0 ? 1.3f * std::expm1(x) : x; }},
      {Op::kSelu, 1.67f, 1.05f,
       [](float x) { return 1.05f * (x > 0 ? x : 1.67f * std::expm1(x)); }},
      {Op::kCelu, 0.7f, 0, [](float x) { return x > 0 ? x : 0.7f * std::expm1(x / 0.7f); }},
      {Op::kHardSigmoid, 0.2f, 0.5f, [](float x) { return clampf(0.2f * x + 0.5f, 0, 1); }},
      {Op::kHardSwish, 0, 0, [](float x) { return x * clampf(x + 3, 0, 6) / 6; }},
      {Op::kSilu, 1.702f, 0, [](float x) { return x / (1 + std::exp(-1.702f * x)); }},
      {Op::kRsqrt, 0, 0, [](float x) { return 1 / std::sqrt(x); }},
  };
  for (Isa isa : supported_isas())
    for (const UnaryCase& c : cases) {
      PointwiseProgram p;
      p.output(p.emit(c.op, p.input(ElemType::kF32), c.alpha, c.beta), ElemType::kF32);
      const PointwiseCode code = compiled(p);
      std::vector<float> x = {kNan, 0.0f, -0.0f, 30.0f, -30.0f, 3.0f, -3.0f};
      for (int i = -500; i < 500; ++i) x.push_back(i * 0.013f);
      std::vector<float> y(x.size());
      const void* inputs[] = {x.data()};
      void* outputs[] = {y.data()};
      const int64_t n = x.size();
      pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
      for (int64_t i = 0; i < n; ++i) {
        const float want = c.want(x[i]);
        if (std::isnan(want)) {
          ASSERT_TRUE(std::isnan(y[i])) << pointwise_op_name(c.op) << " " << x[i];
        } else if (std::isinf(want)) {
          ASSERT_EQ(y[i], want) << pointwise_op_name(c.op) << " " << x[i];
        } else {
          // The steep part of HardSigmoid is a difference of numbers near 1/2.
          const float scale = c.op == Op::kHardSigmoid ? 0.5f : 1e-3f;
          ASSERT_NEAR(y[i], want, 5e-7f * std::max(scale, std::fabs(want)))
              << pointwise_op_name(c.op) << " " << x[i];
        }
      }
    }
}

float python_mod(float x, float y) {
  const float r = std::fmod(x, y);
  if (r == 0) return std::copysign(0.0f, y);
  return (r < 0) != (y < 0) ? r + y : r;
}
float max_nan(float x, float y) { return std::isnan(x) || std::isnan(y) ? kNan : std::max(x, y); }
float min_nan(float x, float y) { return std::isnan(x) || std::isnan(y) ? kNan : std::min(x, y); }

TEST(Pointwise, BinaryOpsMatchTheirDefinitionOnAllPairsOfSpecialValues) {
  const std::vector<std::pair<Op, std::function<float(float, float)>>> cases = {
      {Op::kAdd, [](float x, float y) { return x + y; }},
      {Op::kSub, [](float x, float y) { return x - y; }},
      {Op::kMul, [](float x, float y) { return x * y; }},
      {Op::kDiv, [](float x, float y) { return x / y; }},
      {Op::kMod, python_mod},
      {Op::kFmod, [](float x, float y) { return std::fmod(x, y); }},
      {Op::kMax, max_nan},
      {Op::kMin, min_nan},
      {Op::kPrelu, [](float x, float y) { return x < 0 ? x * y : x; }},
      {Op::kEqual, [](float x, float y) { return float(x == y); }},
      {Op::kNotEqual, [](float x, float y) { return float(x != y); }},
      {Op::kLess, [](float x, float y) { return float(x < y); }},
      {Op::kLessEqual, [](float x, float y) { return float(x <= y); }},
      {Op::kGreater, [](float x, float y) { return float(x > y); }},
      {Op::kGreaterEqual, [](float x, float y) { return float(x >= y); }},
      {Op::kAnd, [](float x, float y) { return float(x != 0 && y != 0); }},
      {Op::kOr, [](float x, float y) { return float(x != 0 || y != 0); }},
      {Op::kXor, [](float x, float y) { return float((x != 0) != (y != 0)); }},
  };
  std::vector<float> x, y;
  for (float a : special_values())
    for (float b : special_values()) {
      x.push_back(a);
      y.push_back(b);
    }
  const int64_t n = x.size();
  for (Isa isa : supported_isas())
    for (const auto& [op, want] : cases) {
      PointwiseProgram p;
      const auto a = p.input(ElemType::kF32), b = p.input(ElemType::kF32);
      p.output(p.emit(op, a, b), ElemType::kF32);
      const PointwiseCode code = compiled(p);
      std::vector<float> z(n);
      const void* inputs[] = {x.data(), y.data()};
      void* outputs[] = {z.data()};
      pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
      for (int64_t i = 0; i < n; ++i)
        ASSERT_TRUE(same(z[i], want(x[i], y[i])))
            << isa_name(isa) << " " << x[i] << " " << pointwise_op_name(op) << " " << y[i] << " = "
            << z[i] << ", want " << want(x[i], y[i]);
    }
}

TEST(Pointwise, TernaryOpsKeepNanWhereTheyShould) {
  for (Isa isa : supported_isas()) {
    PointwiseProgram p;
    const auto a = p.input(ElemType::kF32), b = p.input(ElemType::kF32),
               c = p.input(ElemType::kF32);
    p.output(p.emit(Op::kClip, a, b, c), ElemType::kF32);
    p.output(p.emit(Op::kWhere, a, b, c), ElemType::kF32);
    p.output(p.emit(Op::kFma, a, b, c), ElemType::kF32);
    const PointwiseCode code = compiled(p);
    const std::vector<float> x = {5, kNan, 0, -3, 1, 1}, y = {1, 1, kNan, kNan, -2, kInf},
                             z = {2, 2, 7, 2, kNan, -kInf};
    std::vector<float> clip(6), where(6), fused(6);
    const void* inputs[] = {x.data(), y.data(), z.data()};
    void* outputs[] = {clip.data(), where.data(), fused.data()};
    pointwise_kernels(isa).run(code, contiguous_layout(code, 6), inputs, outputs, 0, 6);
    const float want_clip[] = {2, kNan, kNan, kNan, kNan, -kInf};
    const float want_where[] = {1, 1, 7, kNan, -2, kInf};
    const float want_fused[] = {7, kNan, kNan, kNan, kNan, kNan};
    for (int i = 0; i < 6; ++i) {
      EXPECT_TRUE(same(clip[i], want_clip[i])) << i << " " << clip[i];
      EXPECT_TRUE(same(where[i], want_where[i])) << i << " " << where[i];
      EXPECT_TRUE(same(fused[i], want_fused[i])) << i << " " << fused[i];
    }
  }
}

// y = (a * b + c) over a space in which the operands are broadcast or strided at random, checked
// element by element, computed whole and in uneven slices.
TEST(Pointwise, EveryBroadcastAndStrideMatchesADirectWalk) {
  std::mt19937 random(7);
  const auto pick = [&](int n) { return static_cast<int>(random() % n); };
  for (Isa isa : supported_isas())
    for (int round = 0; round < 400; ++round) {
      const int rank = 1 + pick(4);
      std::vector<int64_t> dims(rank);
      const int64_t sizes[] = {1, 2, 3, 5, 7, 16, 33, 70, 300, 700};
      int64_t n = 1;
      for (auto& d : dims) {
        d = sizes[pick(10)];
        if (n * d > 50000) d = 2;
        n *= d;
      }
      PointwiseProgram p;
      const ElemType types[] = {ElemType::kF32, ElemType::kF32, ElemType::kI32, ElemType::kU8};
      ElemType type[3];
      for (auto& t : type) p.input(t = types[pick(4)]);
      const auto product = p.emit(Op::kMul, 0, uint16_t{1});
      p.output(p.emit(Op::kAdd, product, uint16_t{2}), ElemType::kF32);
      const PointwiseCode code = compiled(p);

      std::vector<int64_t> strides[4];
      std::vector<double> values[3];
      std::vector<char> storage[3];
      int64_t base[3];
      for (int k = 0; k < 4; ++k) {
        strides[k].resize(rank);
        int64_t step = k == 3 && pick(2) ? 2 : 1, extent = 1;
        const bool gaps = pick(3) == 0, flips = k < 3 && pick(4) == 0;
        const int kept = pick(3);  // 0: all dims, 1: random ones, 2: random and few
        if (k < 3) base[k] = 0;
        for (int d = rank - 1; d >= 0; --d) {
          const bool broadcast = k < 3 && kept > 0 && pick(kept + 1) > 0;
          strides[k][d] = broadcast ? 0 : step;
          if (broadcast) continue;
          extent += (dims[d] - 1) * step;
          if (flips && pick(2)) {
            base[k] += (dims[d] - 1) * step;
            strides[k][d] = -step;
          }
          step = step * dims[d] + (gaps ? 3 : 0);
        }
        if (k == 3) {
          values[0].reserve(extent);
          strides[3].push_back(extent);  // remembered past the end
          continue;
        }
        values[k].resize(extent);
        storage[k].resize(extent * elem_bytes(type[k]));
        for (int64_t i = 0; i < extent; ++i) {
          const int v = type[k] == ElemType::kU8 ? pick(256) : pick(2000) - 1000;
          values[k][i] = v;
          const float f = static_cast<float>(v);
          const int32_t i32 = v;
          const uint8_t u8 = static_cast<uint8_t>(v);
          char* at = storage[k].data() + i * elem_bytes(type[k]);
          if (type[k] == ElemType::kF32) std::memcpy(at, &f, 4);
          if (type[k] == ElemType::kI32) std::memcpy(at, &i32, 4);
          if (type[k] == ElemType::kU8) std::memcpy(at, &u8, 1);
        }
      }
      const int64_t extent = strides[3].back();
      const int64_t* all[] = {strides[0].data(), strides[1].data(), strides[2].data(),
                              strides[3].data()};
      PointwiseLayout layout;
      ASSERT_EQ(pointwise_layout(code, rank, dims.data(), all, &layout), nullptr);
      ASSERT_EQ(layout.elems, n);

      std::vector<float> got(extent, -7e7f), want(extent, -7e7f);
      for (int64_t flat = 0; flat < n; ++flat) {
        int64_t at[4] = {base[0], base[1], base[2], 0}, rest = flat;
        for (int d = rank - 1; d >= 0; --d) {
          for (int k = 0; k < 4; ++k) at[k] += rest % dims[d] * strides[k][d];
          rest /= dims[d];
        }
        want[at[3]] = static_cast<float>(values[0][at[0]] * values[1][at[1]] + values[2][at[2]]);
      }
      const void* inputs[3];
      for (int k = 0; k < 3; ++k) inputs[k] = storage[k].data() + base[k] * elem_bytes(type[k]);
      void* outputs[] = {got.data()};
      if (round % 2) {
        pointwise_kernels(isa).run(code, layout, inputs, outputs, 0, n);
      } else {
        for (int64_t begin = 0; begin < n;) {
          const int64_t end = std::min<int64_t>(n, begin + 1 + pick(2000));
          pointwise_kernels(isa).run(code, layout, inputs, outputs, begin, end);
          begin = end;
        }
      }
      for (int64_t i = 0; i < extent; ++i)
        ASSERT_EQ(got[i], want[i]) << isa_name(isa) << " round " << round << " at " << i;
    }
}

TEST(Pointwise, StoresRoundSaturateAndKeepNan) {
  const std::vector<float> x = {0.0f,   1.9f,    -1.9f,   127.5f,  128.0f,  -128.9f,    255.9f,
                                256.0f, -0.5f,   kNan,    kInf,    -kInf,   3e9f,       -3e9f,
                                1e20f,  65519.f, 65520.f, 5.9e-8f, 2.9e-8f, 1.0009765f, -1e-40f};
  const int64_t n = x.size();
  for (Isa isa : supported_isas()) {
    const auto store = [&](ElemType type, void* out) {
      PointwiseProgram p;
      p.output(p.input(ElemType::kF32), type);
      const PointwiseCode code = compiled(p);
      const void* inputs[] = {x.data()};
      void* outputs[] = {out};
      pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
    };
    std::vector<int8_t> i8(n);
    std::vector<uint8_t> u8(n), flags(n);
    std::vector<int32_t> i32(n);
    std::vector<uint32_t> u32(n);
    std::vector<int64_t> i64(n);
    std::vector<uint16_t> half(n), brain(n);
    store(ElemType::kI8, i8.data());
    store(ElemType::kU8, u8.data());
    store(ElemType::kI32, i32.data());
    store(ElemType::kU32, u32.data());
    store(ElemType::kI64, i64.data());
    store(ElemType::kBool, flags.data());
    store(ElemType::kF16, half.data());
    store(ElemType::kBf16, brain.data());
    const auto clamp = [](float v, double low, double high) {
      return std::isnan(v) ? 0.0 : std::trunc(std::min(std::max<double>(v, low), high));
    };
    for (int64_t i = 0; i < n; ++i) {
      EXPECT_EQ(i8[i], clamp(x[i], -128, 127)) << x[i];
      EXPECT_EQ(u8[i], clamp(x[i], 0, 255)) << x[i];
      EXPECT_EQ(i32[i], clamp(x[i], -2147483648.0, 2147483647.0)) << x[i];
      EXPECT_EQ(u32[i], clamp(x[i], 0, 4294967295.0)) << x[i];
      EXPECT_EQ(flags[i], x[i] != 0) << x[i];
      const int64_t want64 = std::isnan(x[i])  ? 0
                             : x[i] >= 0x1p63f ? INT64_MAX
                             : x[i] < -0x1p63f ? INT64_MIN
                                               : static_cast<int64_t>(x[i]);
      EXPECT_EQ(i64[i], want64) << x[i];
    }
    EXPECT_EQ(half[1], 0x3f9a);   // 1.9
    EXPECT_EQ(half[15], 0x7bff);  // 65519 rounds down to 65504
    EXPECT_EQ(half[16], 0x7c00);
    EXPECT_EQ(half[17], 0x0001);  // 2^-24 is 5.96e-8
    EXPECT_EQ(half[18], 0x0000);
    EXPECT_EQ(half[19], 0x3c01);
    EXPECT_EQ(half[20], 0x8000);
    EXPECT_GT(half[9] & 0x7fff, 0x7c00);
    EXPECT_EQ(half[10], 0x7c00);
    EXPECT_EQ(half[11], 0xfc00);
    EXPECT_EQ(brain[1], 0x3ff3);
    EXPECT_EQ(brain[10], 0x7f80);
    EXPECT_GT(brain[9] & 0x7fff, 0x7f80);
  }
}

TEST(Pointwise, EveryHalfAndBfloat16SurvivesAWayThroughFloat) {
  std::vector<uint16_t> all(65536), back(65536);
  for (int i = 0; i < 65536; ++i) all[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(65536);
  for (Isa isa : supported_isas())
    for (ElemType type : {ElemType::kF16, ElemType::kBf16}) {
      const PointwiseKernels& k = pointwise_kernels(isa);
      k.convert(all.data(), type, wide.data(), ElemType::kF32, 65536);
      k.convert(wide.data(), ElemType::kF32, back.data(), type, 65536);
      const int exponent_mask = type == ElemType::kF16 ? 0x7c00 : 0x7f80;
      for (int i = 0; i < 65536; ++i) {
        const bool nan = (i & 0x7fff) > exponent_mask;
        if (nan) {
          ASSERT_TRUE(std::isnan(wide[i])) << i;
          ASSERT_GT(back[i] & 0x7fff, exponent_mask) << i;
        } else {
          ASSERT_EQ(back[i], i);
        }
        if (type == ElemType::kF16 && !nan && (i & 0x7fff) != exponent_mask) {
          const double mantissa = i & 0x3ff, e = i >> 10 & 31;
          const double want = e == 0 ? std::ldexp(mantissa, -24)
                                     : std::ldexp(1024 + mantissa, static_cast<int>(e) - 25);
          ASSERT_EQ(wide[i], i & 0x8000 ? -want : want) << i;
        }
      }
      // The one-by-one path agrees with the vector path.
      for (int i = 0; i < 65536; i += 7) {
        float one;
        k.convert(&all[i], type, &one, ElemType::kF32, 1);
        ASSERT_TRUE(same(one, wide[i])) << i;
        uint16_t narrow;
        k.convert(&wide[i], ElemType::kF32, &narrow, type, 1);
        ASSERT_EQ(narrow & 0x7c00, back[i] & 0x7c00) << i;
      }
    }
}

TEST(Pointwise, ConvertBetweenIntegersKeepsTheLowBits) {
  const std::vector<int64_t> x = {0, 1, -1, 255, 256, -129, (int64_t{1} << 53) + 1, INT64_MAX};
  for (Isa isa : supported_isas()) {
    std::vector<int8_t> y(x.size());
    pointwise_kernels(isa).convert(x.data(), ElemType::kI64, y.data(), ElemType::kI8, x.size());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(y[i], static_cast<int8_t>(x[i]));
    std::vector<uint64_t> wide(x.size());
    pointwise_kernels(isa).convert(x.data(), ElemType::kI64, wide.data(), ElemType::kU64, x.size());
    for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(wide[i], static_cast<uint64_t>(x[i]));
  }
}

TEST(Pointwise, IntegerProgramsAreExactAndDoNotTrap) {
  const std::vector<int64_t> x = {7, -7, 7, -7, INT64_MIN, 5, (int64_t{1} << 53) + 1, 3, -1, 0},
                             y = {3, 3, -3, -3, -1, 0, 2, 70, 63, -2};
  const struct {
    Op op;
    std::vector<int64_t> want;
  } cases[] = {
      {Op::kDiv, {2, -2, -2, 2, INT64_MIN, 0, int64_t{1} << 52, 0, 0, 0}},
      {Op::kMod, {1, 2, -2, -1, 0, 0, 1, 3, 62, 0}},
      {Op::kFmod, {1, -1, 1, -1, 0, 0, 1, 3, -1, 0}},
      {Op::kAdd, {10, -4, 4, -10, INT64_MAX, 5, (int64_t{1} << 53) + 3, 73, 62, -2}},
      {Op::kMax, {7, 3, 7, -3, -1, 5, (int64_t{1} << 53) + 1, 70, 63, 0}},
      {Op::kShiftLeft, {56, -56, 0, 0, 0, 5, (int64_t{1} << 55) + 4, 0, INT64_MIN, 0}},
      {Op::kShiftRight, {0, -1, 0, -1, -1, 5, int64_t{1} << 51, 0, -1, 0}},
      {Op::kLess, {0, 1, 0, 1, 1, 0, 0, 1, 1, 0}},
      {Op::kBitXor, {4, -6, -6, 4, INT64_MAX, 5, (int64_t{1} << 53) + 3, 69, -64, -2}},
  };
  for (Isa isa : supported_isas())
    for (const auto& c : cases) {
      PointwiseProgram p;
      p.registers = PointwiseRegister::kInt;
      const auto a = p.input(ElemType::kI64), b = p.input(ElemType::kI64);
      p.output(p.emit(c.op, a, b), ElemType::kI64);
      const PointwiseCode code = compiled(p);
      std::vector<int64_t> z(x.size());
      const void* inputs[] = {x.data(), y.data()};
      void* outputs[] = {z.data()};
      const int64_t n = x.size();
      pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
      EXPECT_EQ(z, c.want) << pointwise_op_name(c.op);
    }
}

TEST(Pointwise, Int32ResultsWrapAsInt32) {
  for (Isa isa : supported_isas()) {
    PointwiseProgram p;
    p.registers = PointwiseRegister::kInt;
    const auto a = p.input(ElemType::kI32);
    p.output(p.emit(Op::kMul, a, p.constant_int(65537)), ElemType::kI32);
    const PointwiseCode code = compiled(p);
    const int32_t x[] = {65537, -65537, 2147483647};
    int32_t y[3];
    const void* inputs[] = {x};
    void* outputs[] = {y};
    pointwise_kernels(isa).run(code, contiguous_layout(code, 3), inputs, outputs, 0, 3);
    EXPECT_EQ(y[0], 131073);
    EXPECT_EQ(y[1], -131073);
    EXPECT_EQ(y[2], 2147418111);
  }
}

TEST(Pointwise, ConstantPowersAreRewrittenWithoutChangingResults) {
  for (float exponent : {1.0f, 2.0f, 3.0f, -1.0f, 0.5f, 2.2f}) {
    PointwiseProgram p;
    const auto a = p.input(ElemType::kF32);
    p.output(p.emit(Op::kPow, a, p.constant(exponent)), ElemType::kF32);
    const PointwiseCode code = compiled(p);
    for (Isa isa : supported_isas()) {
      const float x[] = {0.0f, -2.0f, 3.5f, 1e-3f, 1e30f, kInf};
      float y[6];
      const void* inputs[] = {x};
      void* outputs[] = {y};
      pointwise_kernels(isa).run(code, contiguous_layout(code, 6), inputs, outputs, 0, 6);
      for (int i = 0; i < 6; ++i) {
        const float want = std::pow(x[i], exponent);
        EXPECT_TRUE(same(y[i], want) || std::fabs(y[i] / want - 1) < 2e-7f)
            << x[i] << " ^ " << exponent << " = " << y[i];
      }
    }
  }
}

// Pairs that run in one loop give what the two instructions give apart; the pair is broken apart by
// making the value between them an output.
TEST(Pointwise, JoinedInstructionsGiveTheSameResults) {
  std::vector<float> x, y, z;
  for (float a : special_values())
    for (float b : special_values()) {
      x.push_back(a);
      y.push_back(b);
      z.push_back(a * 0.5f - 1);
    }
  const int64_t n = static_cast<int64_t>(x.size());
  for (Isa isa : supported_isas())
    for (Op lead : {Op::kAdd, Op::kSub, Op::kMul, Op::kFma})
      for (Op post : {Op::kRelu, Op::kLeakyRelu, Op::kClipConst, Op::kHardSigmoid, Op::kHardSwish,
                      Op::kSigmoid, Op::kSilu}) {
        std::vector<float> joined(n), apart(n), between(n);
        const void* inputs[] = {x.data(), y.data(), z.data()};
        for (const bool join : {true, false}) {
          PointwiseProgram p;
          const auto a = p.input(ElemType::kF32), b = p.input(ElemType::kF32),
                     c = p.input(ElemType::kF32);
          const auto value = p.emit(lead, a, b, c);
          p.output(p.emit(post, value, 0.3f, 0.6f), ElemType::kF32);
          if (!join) p.output(value, ElemType::kF32);
          const PointwiseCode code = compiled(p);
          ASSERT_EQ(code.instrs.size(), join ? 1 : 2);
          void* outputs[] = {join ? joined.data() : apart.data(), between.data()};
          pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
        }
        for (int64_t i = 0; i < n; ++i)
          ASSERT_TRUE(same(joined[i], apart[i]))
              << isa_name(isa) << " " << pointwise_op_name(lead) << " " << pointwise_op_name(post)
              << " at " << x[i] << ", " << y[i] << ": " << joined[i] << ", " << apart[i];
      }
}

// out0 lies in the place of x, which is read again for out1: no result may be written early.
TEST(Pointwise, OutputsMayReplaceInputs) {
  for (Isa isa : supported_isas()) {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kF32), y = p.input(ElemType::kF32);
    const auto sum = p.emit(Op::kAdd, x, y);
    const auto difference = p.emit(Op::kSub, x, y);
    p.output(sum, ElemType::kF32);
    p.output(difference, ElemType::kF32);
    p.output(x, ElemType::kF32);
    const PointwiseCode code = compiled(p);
    const int64_t n = 3000;
    std::vector<float> a(n), b(n), c(n);
    for (int64_t i = 0; i < n; ++i) {
      a[i] = static_cast<float>(3 * i);
      b[i] = static_cast<float>(i);
    }
    const void* inputs[] = {a.data(), b.data()};
    void* outputs[] = {a.data(), b.data(), c.data()};
    pointwise_kernels(isa).run(code, contiguous_layout(code, n), inputs, outputs, 0, n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(a[i], 4 * i);
      ASSERT_EQ(b[i], 2 * i);
      ASSERT_EQ(c[i], 3 * i);
    }
  }
}

TEST(Pointwise, ManyLiveValuesFitOrAreRefused) {
  const auto sum_of = [](int live) {
    PointwiseProgram p;
    const auto x = p.input(ElemType::kF32);
    std::vector<uint16_t> values;
    for (int i = 0; i < live; ++i) values.push_back(p.emit(Op::kSquare, x));
    uint16_t total = values[0];
    for (int i = 1; i < live; ++i) total = p.emit(Op::kAdd, total, values[i]);
    p.output(total, ElemType::kF32);
    return p;
  };
  PointwiseCode code;
  EXPECT_STREQ(pointwise_compile(sum_of(100), &code),
               "pointwise program: more than 64 live values");
  ASSERT_EQ(pointwise_compile(sum_of(60), &code), nullptr);
  for (Isa isa : supported_isas()) {
    std::vector<float> x(500, 2.0f), y(500);
    const void* inputs[] = {x.data()};
    void* outputs[] = {y.data()};
    pointwise_kernels(isa).run(code, contiguous_layout(code, 500), inputs, outputs, 0, 500);
    for (float v : y) ASSERT_EQ(v, 240.0f);
  }
}

TEST(Pointwise, WrongProgramsAreRefused) {
  PointwiseCode code;
  PointwiseProgram none;
  EXPECT_STREQ(pointwise_compile(none, &code), "pointwise program: no output");
  PointwiseProgram forward;
  forward.input(ElemType::kF32);
  forward.output(forward.emit(Op::kAdd, 0, uint16_t{1}), ElemType::kF32);
  EXPECT_STREQ(pointwise_compile(forward, &code),
               "pointwise program: an operand is not an earlier value");
  PointwiseProgram bits;
  bits.output(bits.emit(Op::kBitNot, bits.input(ElemType::kF32)), ElemType::kF32);
  EXPECT_STREQ(pointwise_compile(bits, &code),
               "pointwise program: an integer op in a float program");
  PointwiseProgram mixed;
  mixed.registers = PointwiseRegister::kInt;
  mixed.output(mixed.emit(Op::kAbs, mixed.input(ElemType::kF16)), ElemType::kI32);
  EXPECT_STREQ(pointwise_compile(mixed, &code),
               "pointwise program: a float input of an integer program");
  PointwiseProgram missing;
  missing.input(ElemType::kF32);
  missing.output(9, ElemType::kF32);
  EXPECT_STREQ(pointwise_compile(missing, &code), "pointwise program: an output is not a value");
}

TEST(Pointwise, LayoutsMergeDimsAndRefuseBadOnes) {
  PointwiseProgram p;
  const auto x = p.input(ElemType::kF32), y = p.input(ElemType::kF32);
  p.output(p.emit(Op::kAdd, x, y), ElemType::kF32);
  const PointwiseCode code = compiled(p);
  PointwiseLayout layout;
  {
    // Bias of a channel in NCHW: rows of H*W.
    const int64_t dims[] = {2, 3, 4, 5}, bias[] = {0, 1, 0, 0};
    const int64_t* strides[] = {nullptr, bias, nullptr};
    ASSERT_EQ(pointwise_layout(code, 4, dims, strides, &layout), nullptr);
    EXPECT_EQ(layout.rank, 3);
    EXPECT_EQ(layout.dims[2], 20);
    EXPECT_EQ(layout.modes[0], PointwiseLayout::Mode::kContiguous);
    EXPECT_EQ(layout.modes[1], PointwiseLayout::Mode::kRow);
  }
  {
    const int64_t dims[] = {2, 0, 5};
    const int64_t* strides[] = {nullptr, nullptr, nullptr};
    ASSERT_EQ(pointwise_layout(code, 3, dims, strides, &layout), nullptr);
    EXPECT_EQ(layout.elems, 0);
  }
  {
    const int64_t dims[] = {int64_t{1} << 40, int64_t{1} << 40};
    const int64_t* strides[] = {nullptr, nullptr, nullptr};
    EXPECT_STREQ(pointwise_layout(code, 2, dims, strides, &layout),
                 "pointwise layout: too many elements");
  }
  {
    const int64_t dims[] = {3}, still[] = {0};
    const int64_t* strides[] = {nullptr, nullptr, still};
    EXPECT_STREQ(pointwise_layout(code, 1, dims, strides, &layout),
                 "pointwise layout: an output is broadcast");
  }
  {
    const int64_t dims[] = {4, 1, 3}, operand[] = {5, 3};
    int64_t strides[3];
    EXPECT_FALSE(broadcast_strides(3, dims, 2, operand, strides));
    const int64_t good[] = {1, 3};
    ASSERT_TRUE(broadcast_strides(3, dims, 2, good, strides));
    EXPECT_EQ(strides[0], 0);
    EXPECT_EQ(strides[1], 0);
    EXPECT_EQ(strides[2], 1);
  }
}

TEST(Pointwise, EveryOpOfItsRegisterTypeRuns) {
  for (Isa isa : supported_isas())
    for (int i = 1; i < kNumPointwiseOps; ++i)
      for (PointwiseRegister registers : {PointwiseRegister::kFloat, PointwiseRegister::kInt}) {
        const Op op = static_cast<Op>(i);
        const bool is_int = registers == PointwiseRegister::kInt;
        PointwiseProgram p;
        p.registers = registers;
        const ElemType type = is_int ? ElemType::kI16 : ElemType::kBf16;
        const auto x = p.input(type), y = p.input(type), z = p.input(type);
        p.output(p.emit(op, x, y, z), type);
        PointwiseCode code;
        const bool allowed = is_int ? pointwise_op_in_int(op) : pointwise_op_in_float(op);
        ASSERT_EQ(pointwise_compile(p, &code) == nullptr, allowed) << pointwise_op_name(op);
        if (!allowed) continue;
        const uint16_t in[] = {0, 1, 2, 0x3f80, 0xffff, 0x8000};
        uint16_t out[6];
        const void* inputs[] = {in, in, in};
        void* outputs[] = {out};
        pointwise_kernels(isa).run(code, contiguous_layout(code, 6), inputs, outputs, 0, 6);
      }
}

}  // namespace
}  // namespace redline::kernels
