// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"
#include "kernels/cpu/reduce/reduce.h"

namespace redline::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

double reference(ReduceOp op, const float* x, int64_t n, int64_t step) {
  double sum = 0, max = -kInf, min = kInf, prod = 1, l1 = 0, squares = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double v = x[i * step];
    if (std::isnan(v)) return v;
    sum += v;
    max = std::max(max, v);
    min = std::min(min, v);
    prod *= v;
    l1 += std::fabs(v);
    squares += v * v;
  }
  double exps = 0;
  for (int64_t i = 0; i < n; ++i) exps += std::exp(x[i * step] - max);
  switch (op) {
    case ReduceOp::kSum:
      return sum;
    case ReduceOp::kMean:
      return sum / static_cast<double>(n);
    case ReduceOp::kMax:
      return max;
    case ReduceOp::kMin:
      return min;
    case ReduceOp::kProd:
      return prod;
    case ReduceOp::kL1:
      return l1;
    case ReduceOp::kL2:
      return std::sqrt(squares);
    case ReduceOp::kSumSquare:
      return squares;
    case ReduceOp::kLogSum:
      return std::log(sum);
    case ReduceOp::kLogSumExp:
      return std::isinf(max) ? max : max + std::log(exps);
  }
  return 0;
}

void expect_close(float got, double want, double slack, const std::string& what) {
  if (std::isnan(want)) {
    ASSERT_TRUE(std::isnan(got)) << what;
  } else if (std::isinf(want)) {
    ASSERT_EQ(got, want) << what;
  } else {
    ASSERT_NEAR(got, want, slack) << what;
  }
}

TEST(Reduce, EveryOpMatchesDoubleForEveryLayout) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> value(0.5f, 1.6f);
  for (Isa isa : supported_isas())
    for (int64_t n : {0, 1, 2, 5, 16, 33, 64, 100, 1000, 4099})
      for (int64_t inner : {1, 2, 15, 16, 70, 600}) {
        if (n * inner > 80000) continue;
        const int64_t outer = 2, outputs = outer * inner;
        std::vector<float> x(outer * n * inner), y(outputs);
        for (float& v : x) v = value(random);
        for (int op = 0; op < kNumReduceOps; ++op) {
          const ReduceOp reduce_op = static_cast<ReduceOp>(op);
          const int64_t cut = outputs / 3;
          reduce_kernels(isa).reduce(reduce_op, x.data(), y.data(), n, inner, 0, cut);
          reduce_kernels(isa).reduce(reduce_op, x.data(), y.data(), n, inner, cut, outputs);
          for (int64_t c = 0; c < outputs; ++c) {
            const double want =
                reference(reduce_op, x.data() + c / inner * n * inner + c % inner, n, inner);
            // A product of n rounded factors is off by up to n half units.
            const double relative =
                op == static_cast<int>(ReduceOp::kProd) ? 6e-8 * static_cast<double>(n + 1) : 2e-6;
            // A logarithm near 0 has the absolute error of its argument near 1.
            const double floor = reduce_op == ReduceOp::kLogSum ? 1.0 : 1e-3;
            const double slack = relative * std::max(floor, std::fabs(want));
            if (std::fabs(want) > 1e38 && std::isfinite(want)) continue;
            expect_close(y[c], want, slack,
                         std::string(isa_name(isa)) + " op " + std::to_string(op) + " n " +
                             std::to_string(n) + " inner " + std::to_string(inner));
            if (HasFatalFailure()) return;
          }
        }
      }
}

TEST(Reduce, LongSumsStayAccurate) {
  for (Isa isa : supported_isas()) {
    const int64_t n = 3000001;
    std::vector<float> x(n, 0.1f);
    float y = 0;
    reduce_kernels(isa).reduce(ReduceOp::kSum, x.data(), &y, n, 1, 0, 1);
    // An ulp of the result is 0.031; equal elements round the same way in each block.
    EXPECT_NEAR(y, 0.1f * static_cast<double>(n), 0.1);
    std::vector<float> z(2);
    reduce_kernels(isa).reduce(ReduceOp::kMean, x.data(), z.data(), n / 2, 2, 0, 2);
    EXPECT_NEAR(z[0], 0.1, 2e-6);
    EXPECT_NEAR(z[1], 0.1, 2e-6);
  }
}

TEST(Reduce, NanAndInfinityDecide) {
  for (Isa isa : supported_isas())
    for (int64_t inner : {1, 2, 20})
      for (int64_t where : {0, 3, 16, 39, 49}) {
        const int64_t n = 50;
        for (float special : {kNan, kInf, -kInf}) {
          std::vector<float> x(n * inner, 1.5f), y(inner);
          x[where * inner] = special;
          for (int op = 0; op < kNumReduceOps; ++op) {
            reduce_kernels(isa).reduce(static_cast<ReduceOp>(op), x.data(), y.data(), n, inner, 0,
                                       inner);
            expect_close(y[0], reference(static_cast<ReduceOp>(op), x.data(), n, inner), 1e-6,
                         std::string(isa_name(isa)) + " op " + std::to_string(op) + " inner " +
                             std::to_string(inner) + " " + std::to_string(special));
            if (HasFatalFailure()) return;
          }
        }
      }
}

TEST(Reduce, LogSumExpOfNothingButMinusInfinityIsMinusInfinity) {
  for (Isa isa : supported_isas())
    for (int64_t inner : {1, 3}) {
      std::vector<float> x(20 * inner, -kInf), y(inner);
      reduce_kernels(isa).reduce(ReduceOp::kLogSumExp, x.data(), y.data(), 20, inner, 0, inner);
      for (float v : y) EXPECT_EQ(v, -kInf);
    }
}

int64_t reference_arg(const float* x, int64_t n, int64_t step, bool max, bool last) {
  int64_t best = 0;
  for (int64_t i = 1; i < n; ++i) {
    const float v = x[i * step], b = x[best * step];
    if (std::isnan(b)) break;
    if (std::isnan(v) || (max ? v > b : v < b) || (last && v == b)) best = i;
  }
  return best;
}

TEST(ArgExtreme, FindsTheFirstOrTheLastAndNanFirst) {
  std::mt19937 random(5);
  for (Isa isa : supported_isas())
    for (int64_t n : {1, 2, 15, 16, 17, 97, 1000})
      for (int64_t inner : {1, 3, 40})
        for (int round = 0; round < 8; ++round) {
          std::vector<float> x(2 * n * inner);
          for (float& v : x) v = static_cast<float>(random() % 7) - 3;
          if (round & 1) x[random() % x.size()] = kNan;
          if (round & 4) x[random() % x.size()] = -kInf;
          const bool last = round & 2;
          std::vector<int64_t> high(2 * inner), low(2 * inner);
          reduce_kernels(isa).argmax(x.data(), high.data(), n, inner, last, 0, 2 * inner);
          reduce_kernels(isa).argmin(x.data(), low.data(), n, inner, last, 0, 2 * inner);
          for (int64_t c = 0; c < 2 * inner; ++c) {
            const float* in = x.data() + c / inner * n * inner + c % inner;
            ASSERT_EQ(high[c], reference_arg(in, n, inner, true, last))
                << isa_name(isa) << " n " << n << " inner " << inner << " round " << round;
            ASSERT_EQ(low[c], reference_arg(in, n, inner, false, last));
          }
        }
}

}  // namespace
}  // namespace redline::kernels
