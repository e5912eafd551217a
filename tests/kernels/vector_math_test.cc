// SPDX-License-Identifier: Apache-2.0
// The elementary functions against double, over all exponents, and at the special values.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>

#include "isas.h"
#include "kernels/cpu/pointwise/program.h"

namespace redline::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

float float_of(uint32_t bits) {
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

// Distance in units of the last place of the float nearest to `want`; subnormals have a fixed unit.
double ulps(float got, double want) {
  if (std::isnan(want)) return std::isnan(got) ? 0 : 1e30;
  const float nearest = static_cast<float>(want);
  if (std::isinf(nearest) || std::isinf(got)) {
    if (nearest == got) return 0;
    // One step below infinity is within an ulp of it.
    if (std::isinf(nearest) != std::isinf(got) &&
        std::fabs(std::isinf(got) ? want : got) > 3.4028e38)
      return 1;
    return 1e30;
  }
  if (std::isnan(got)) return 1e30;
  int exponent = 0;
  std::frexp(nearest, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
  return std::fabs(got - want) / unit;
}

std::vector<float> run_unary(Isa isa, PointwiseOp op, const std::vector<float>& x, float alpha = 0,
                             float beta = 0) {
  PointwiseProgram p;
  const auto in = p.input(ElemType::kF32);
  p.output(p.emit(op, in, alpha, beta), ElemType::kF32);
  PointwiseCode code;
  EXPECT_EQ(pointwise_compile(p, &code), nullptr);
  const int64_t n = static_cast<int64_t>(x.size());
  const int64_t* strides[2] = {};
  PointwiseLayout layout;
  EXPECT_EQ(pointwise_layout(code, 1, &n, strides, &layout), nullptr);
  std::vector<float> y(x.size());
  const void* inputs[] = {x.data()};
  void* outputs[] = {y.data()};
  pointwise_kernels(isa).run(code, layout, inputs, outputs, 0, n);
  return y;
}

// About half a million floats: every 8191st bit pattern, which is coprime to the lanes, all signs,
// subnormals, infinities and NaN, and a dense sweep of [-20, 20].
std::vector<float> sweep() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 16381)
    x.push_back(float_of(static_cast<uint32_t>(bits)));
  for (int i = -100000; i <= 100000; ++i) x.push_back(static_cast<float>(i) * 2e-4f);
  for (float special :
       {0.0f,          -0.0f,   kInf,      -kInf,     kNan,       1.0f,           -1.0f,
        1e-45f,        -1e-45f, 88.72283f, 88.72284f, -87.33655f, -103.97f,       -104.0f,
        3.4028235e38f, 0.5f,    -0.5f,     89.4f,     89.42f,     1.17549435e-38f})
    x.push_back(special);
  return x;
}

struct Case {
  const char* name;
  PointwiseOp op;
  double (*want)(double);
  double max_ulps;
  double max_ulps_without_fma;
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }
double mish(double x) { return x * std::tanh(softplus(x)); }
double silu(double x) { return x * sigmoid(x); }
double rsqrt(double x) { return 1 / std::sqrt(x); }

const Case kCases[] = {
    {"exp", PointwiseOp::kExp, std::exp, 2, 2},
    {"expm1", PointwiseOp::kExpm1, std::expm1, 2, 2},
    {"log", PointwiseOp::kLog, std::log, 2, 2},
    {"log1p", PointwiseOp::kLog1p, std::log1p, 2, 2},
    {"sqrt", PointwiseOp::kSqrt, std::sqrt, 0.5, 0.5},
    {"rsqrt", PointwiseOp::kRsqrt, rsqrt, 2, 2},
    {"sigmoid", PointwiseOp::kSigmoid, sigmoid, 2, 3},
    {"tanh", PointwiseOp::kTanh, std::tanh, 2.5, 2.5},
    {"erf", PointwiseOp::kErf, std::erf, 2, 2},
    {"softplus", PointwiseOp::kSoftplus, softplus, 3, 3},
    {"sin", PointwiseOp::kSin, std::sin, 2, 2},
    {"cos", PointwiseOp::kCos, std::cos, 2, 2},
    {"tan", PointwiseOp::kTan, std::tan, 3, 3},
    {"asin", PointwiseOp::kAsin, std::asin, 3, 3},
    {"acos", PointwiseOp::kAcos, std::acos, 3, 3},
    {"atan", PointwiseOp::kAtan, std::atan, 2, 2},
    {"sinh", PointwiseOp::kSinh, std::sinh, 3, 3},
    {"cosh", PointwiseOp::kCosh, std::cosh, 3, 3},
    {"asinh", PointwiseOp::kAsinh, std::asinh, 4, 4},
    {"acosh", PointwiseOp::kAcosh, std::acosh, 4, 4},
    {"atanh", PointwiseOp::kAtanh, std::atanh, 4, 4},
};

TEST(VectorMath, IsWithinItsBoundOfTheExactResult) {
  const std::vector<float> x = sweep();
  for (Isa isa : supported_isas()) {
    for (const Case& c : kCases) {
      const std::vector<float> y = run_unary(isa, c.op, x);
      double worst = 0;
      size_t where = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double error = ulps(y[i], c.want(x[i]));
        if (error > worst) {
          worst = error;
          where = i;
        }
      }
      std::printf("%-7s %-9s %.3f ulp at %.9g\n", isa_name(isa), c.name, worst, x[where]);
      EXPECT_LE(worst, isa == Isa::kSse4 ? c.max_ulps_without_fma : c.max_ulps)
          << c.name << "(" << x[where] << ") = " << y[where] << ", want " << c.want(x[where])
          << " on " << isa_name(isa);
    }
  }
}

TEST(VectorMath, GatedUnitsAreWithinFourUlpsOfTheirGate) {
  std::vector<float> x;
  for (int i = -40000; i <= 40000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
  for (Isa isa : supported_isas()) {
    const auto s = run_unary(isa, PointwiseOp::kSilu, x, 1.0f);
    const auto m = run_unary(isa, PointwiseOp::kMish, x);
    const auto g = run_unary(isa, PointwiseOp::kGeluErf, x);
    const auto t = run_unary(isa, PointwiseOp::kGeluTanh, x);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = x[i];
      ASSERT_LE(ulps(s[i], silu(v)), 4) << v;
      ASSERT_LE(ulps(m[i], mish(v)), 6) << v;
      // 1 + erf cancels below zero: the bound is relative to x there.
      ASSERT_NEAR(g[i], v / 2 * (1 + std::erf(v / std::sqrt(2.0))), 2.5e-7 * std::fabs(v)) << v;
      const double u = std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v);
      ASSERT_NEAR(t[i], v / 2 * (1 + std::tanh(u)), 2.5e-7 * std::fabs(v)) << v;
    }
  }
}

TEST(VectorMath, SignedZerosAreKept) {
  using Op = PointwiseOp;
  for (Isa isa : supported_isas())
    for (Op op : {Op::kSin, Op::kTan, Op::kAsin, Op::kAtan, Op::kSinh, Op::kAsinh, Op::kAtanh,
                  Op::kTanh, Op::kErf, Op::kExpm1, Op::kLog1p, Op::kSqrt, Op::kRound}) {
      const auto y = run_unary(isa, op, {-0.0f, 0.0f});
      EXPECT_TRUE(y[0] == 0 && std::signbit(y[0])) << pointwise_op_name(op) << isa_name(isa);
      EXPECT_TRUE(y[1] == 0 && !std::signbit(y[1])) << pointwise_op_name(op) << isa_name(isa);
    }
}

std::vector<float> run_pow(Isa isa, const std::vector<float>& x, const std::vector<float>& e) {
  PointwiseProgram p;
  const auto a = p.input(ElemType::kF32), b = p.input(ElemType::kF32);
  p.output(p.emit(PointwiseOp::kPow, a, b), ElemType::kF32);
  PointwiseCode code;
  EXPECT_EQ(pointwise_compile(p, &code), nullptr);
  const int64_t n = static_cast<int64_t>(x.size());
  const int64_t* strides[3] = {};
  PointwiseLayout layout;
  EXPECT_EQ(pointwise_layout(code, 1, &n, strides, &layout), nullptr);
  std::vector<float> y(x.size());
  const void* inputs[] = {x.data(), e.data()};
  void* outputs[] = {y.data()};
  pointwise_kernels(isa).run(code, layout, inputs, outputs, 0, n);
  return y;
}

TEST(VectorMath, PowIsRightAtEverySpecialValueAndWithinAnUlpElsewhere) {
  std::vector<float> values = {
      0.0f,        -0.0f, 1.0f,  -1.0f,      2.0f,        -2.0f,   3.0f,    -3.0f,    0.5f,
      -0.5f,       kInf,  -kInf, kNan,       1e-45f,      -1e-45f, 3.4e38f, -3.4e38f, 16777217.0f,
      16777215.0f, 2.5f,  -2.5f, 1.0000001f, 0.99999994f, 1e30f,   -31.0f};
  std::vector<float> x, e;
  for (float a : values)
    for (float b : values) {
      x.push_back(a);
      e.push_back(b);
    }
  for (int i = 1; i < 1000; ++i)
    for (int j = -100; j <= 100; ++j) {
      x.push_back(static_cast<float>(i) * 0.0137f);
      e.push_back(static_cast<float>(j) * 0.37f);
    }
  for (Isa isa : supported_isas()) {
    const auto y = run_pow(isa, x, e);
    double worst = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = std::pow(static_cast<double>(x[i]), static_cast<double>(e[i]));
      const double error = ulps(y[i], want);
      ASSERT_LE(error, 1.0) << x[i] << " ^ " << e[i] << " = " << y[i] << ", want " << want << " on "
                            << isa_name(isa);
      if (want == 0) {
        ASSERT_EQ(std::signbit(y[i]), std::signbit(want)) << x[i] << " ^ " << e[i];
      }
      worst = std::max(worst, error);
    }
    std::printf("%-7s pow       %.3f ulp\n", isa_name(isa), worst);
  }
}

}  // namespace
}  // namespace redline::kernels
