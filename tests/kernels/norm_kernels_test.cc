// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/norm/norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"

namespace redline::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_values(int64_t n, float low, float high, int seed = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(low, high);
  std::vector<float> x(n);
  for (float& v : x) v = value(random);
  return x;
}

// Softmax and its logarithm along the middle dim, in double.
void reference_softmax(const float* x, int64_t n, int64_t inner, int64_t column,
                       std::vector<double>* y, std::vector<double>* log_y) {
  const float* in = x + column / inner * n * inner + column % inner;
  double max = -kInf, sum = 0;
  for (int64_t k = 0; k < n; ++k) max = std::max<double>(max, in[k * inner]);
  for (int64_t k = 0; k < n; ++k) sum += std::exp(in[k * inner] - max);
  y->resize(n);
  log_y->resize(n);
  for (int64_t k = 0; k < n; ++k) {
    (*y)[k] = std::exp(in[k * inner] - max) / sum;
    (*log_y)[k] = in[k * inner] - max - std::log(sum);
  }
}

TEST(Softmax, MatchesDoubleForEveryLengthAndStride) {
  for (Isa isa : supported_isas())
    for (int64_t n : {1, 2, 3, 7, 16, 31, 100, 1000, 5003})
      for (int64_t inner : {1, 3, 16, 37, 300}) {
        if (n * inner > 60000) continue;
        const int64_t outer = 3, columns = outer * inner;
        const auto x = random_values(outer * n * inner, -30, 30);
        std::vector<float> y(x.size()), z(x.size());
        const NormKernels& k = norm_kernels(isa);
        if (inner == 1) {
          k.softmax_rows(x.data(), y.data(), n, 0, 1);
          k.softmax_rows(x.data(), y.data(), n, 1, outer);
          k.log_softmax_rows(x.data(), z.data(), n, 0, outer);
        } else {
          const int64_t cut = columns / 2 + 1;
          k.softmax_axis(x.data(), y.data(), n, inner, 0, cut);
          k.softmax_axis(x.data(), y.data(), n, inner, cut, columns);
          k.log_softmax_axis(x.data(), z.data(), n, inner, 0, columns);
        }
        std::vector<double> want, want_log;
        for (int64_t c = 0; c < columns; ++c) {
          reference_softmax(x.data(), n, inner, c, &want, &want_log);
          double max = -kInf;
          for (int64_t i = 0; i < n; ++i)
            max = std::max<double>(max, x[(c / inner * n + i) * inner + c % inner]);
          for (int64_t i = 0; i < n; ++i) {
            const int64_t at = (c / inner * n + i) * inner + c % inner;
            // The exponent x - max is rounded to float.
            const double relative = 6e-7 + 6e-8 * (max - x[at]);
            ASSERT_NEAR(y[at], want[i], relative * want[i] + 1e-38)
                << isa_name(isa) << " n " << n << " inner " << inner;
            ASSERT_NEAR(z[at], want_log[i], 5e-7 * (1 + std::fabs(want_log[i])))
                << isa_name(isa) << " n " << n << " inner " << inner;
          }
        }
      }
}

TEST(Softmax, HandlesInfinitiesAndNan) {
  for (Isa isa : supported_isas())
    for (int64_t n : {5, 40}) {
      std::vector<float> x(3 * n, 1.0f);
      x[2] = -kInf;                                      // masked
      for (int64_t i = 0; i < n; ++i) x[n + i] = -kInf;  // all masked: NaN
      x[2 * n + 4] = kNan;
      const auto check = [&](const std::vector<float>& y) {
        EXPECT_EQ(y[2], 0.0f);
        EXPECT_NEAR(y[0], 1.0 / static_cast<double>(n - 1), 1e-7);
        for (int64_t i = 0; i < n; ++i) {
          EXPECT_TRUE(std::isnan(y[n + i])) << i;
          EXPECT_TRUE(std::isnan(y[2 * n + i])) << i;
        }
      };
      std::vector<float> y(x.size());
      norm_kernels(isa).softmax_rows(x.data(), y.data(), n, 0, 3);
      check(y);
      y = x;
      norm_kernels(isa).softmax_rows(y.data(), y.data(), n, 0, 3);  // in place
      check(y);
      std::vector<float> columns(x.size()), out(x.size()), back(x.size());
      for (int64_t r = 0; r < 3; ++r)
        for (int64_t i = 0; i < n; ++i) columns[i * 3 + r] = x[r * n + i];
      norm_kernels(isa).softmax_axis(columns.data(), out.data(), n, 3, 0, 3);
      for (int64_t r = 0; r < 3; ++r)
        for (int64_t i = 0; i < n; ++i) back[r * n + i] = out[i * 3 + r];
      check(back);
      // A row of huge values does not overflow.
      const std::vector<float> huge = {3e38f, 3e38f, -3e38f};
      std::vector<float> p(3);
      norm_kernels(isa).softmax_rows(huge.data(), p.data(), 3, 0, 1);
      EXPECT_EQ(p, (std::vector<float>{0.5f, 0.5f, 0.0f}));
    }
}

TEST(Softmax, ZeroLengthDoesNothing) {
  for (Isa isa : supported_isas()) {
    norm_kernels(isa).softmax_rows(nullptr, nullptr, 0, 0, 4);
    norm_kernels(isa).softmax_axis(nullptr, nullptr, 0, 5, 0, 10);
    norm_kernels(isa).layer_norm({.n = 0}, 0, 3);
    norm_kernels(isa).group_norm({.channels = 4, .spatial = 0}, 0, 4);
  }
}

TEST(LayerNorm, MatchesDoubleWithEveryCombinationOfOperands) {
  for (Isa isa : supported_isas())
    for (int64_t n : {1, 3, 8, 33, 384, 768, 5000})
      for (int mask = 0; mask < 32; ++mask) {
        const int64_t rows = 3;
        const auto x = random_values(rows * n, 90, 110, 1), r = random_values(rows * n, -1, 1, 2),
                   ib = random_values(n, -1, 1, 3), scale = random_values(n, 0.5, 2, 4),
                   bias = random_values(n, -1, 1, 5);
        std::vector<float> y(rows * n), sum(rows * n), mean(rows), inv_std(rows);
        LayerNormArgs a{.x = x.data(), .y = y.data(), .n = n, .epsilon = 1e-3f};
        if (mask & 1) a.residual = r.data();
        if (mask & 2) a.input_bias = ib.data();
        if (mask & 4) a.scale = scale.data();
        if (mask & 8) a.bias = bias.data();
        if (mask & 16) a.sum = sum.data();
        a.mean = mean.data();
        a.inv_std = inv_std.data();
        std::vector<float> rms(rows * n);
        norm_kernels(isa).layer_norm(a, 0, 2);
        norm_kernels(isa).layer_norm(a, 2, rows);
        LayerNormArgs b = a;
        b.y = rms.data();
        b.mean = b.inv_std = nullptr;
        norm_kernels(isa).rms_norm(b, 0, rows);
        for (int64_t row = 0; row < rows; ++row) {
          std::vector<double> v(n);
          double m = 0, variance = 0, square = 0;
          for (int64_t i = 0; i < n; ++i) {
            float f = x[row * n + i];
            if (mask & 1) f += r[row * n + i];
            if (mask & 2) f += ib[i];
            v[i] = f;
            m += v[i] / static_cast<double>(n);
            square += v[i] * v[i] / static_cast<double>(n);
          }
          for (double f : v) variance += (f - m) * (f - m) / static_cast<double>(n);
          ASSERT_NEAR(mean[row], m, 1e-5);
          const double factor = 1 / std::sqrt(variance + static_cast<double>(a.epsilon));
          ASSERT_NEAR(inv_std[row], factor, 1e-5 * factor);
          for (int64_t i = 0; i < n; ++i) {
            const double s = mask & 4 ? scale[i] : 1, o = mask & 8 ? bias[i] : 0;
            const double normal = (v[i] - m) * factor;
            ASSERT_NEAR(y[row * n + i], normal * s + o, 1e-6 * (1 + std::fabs(normal * s)))
                << isa_name(isa) << " n " << n << " mask " << mask;
            ASSERT_NEAR(rms[row * n + i],
                        v[i] / std::sqrt(square + static_cast<double>(a.epsilon)) * s, 1e-6 * s);
            if (mask & 16) {
              ASSERT_EQ(sum[row * n + i], static_cast<float>(v[i]));
            }
          }
        }
      }
}

TEST(LayerNorm, WorksInPlaceAndKeepsNanInItsRow) {
  for (Isa isa : supported_isas()) {
    auto x = random_values(2 * 50, -1, 1);
    x[7] = kNan;
    auto y = x;
    norm_kernels(isa).layer_norm({.x = y.data(), .y = y.data(), .n = 50}, 0, 2);
    std::vector<float> apart(100);
    norm_kernels(isa).layer_norm({.x = x.data(), .y = apart.data(), .n = 50}, 0, 2);
    for (int i = 0; i < 50; ++i) {
      EXPECT_TRUE(std::isnan(y[i]));
      EXPECT_EQ(y[50 + i], apart[50 + i]);
    }
  }
}

TEST(LayerNorm, AConstantRowIsZeroWhateverTheRoundingOfItsMean) {
  for (Isa isa : supported_isas()) {
    std::vector<float> x(777, 0.1f), y(777);
    norm_kernels(isa).layer_norm({.x = x.data(), .y = y.data(), .n = 777, .epsilon = 1e-12f}, 0, 1);
    for (float v : y) EXPECT_NEAR(v, 0.0f, 1e-6f);
  }
}

TEST(GroupNorm, MatchesDouble) {
  for (Isa isa : supported_isas())
    for (int64_t spatial : {1, 7, 64, 1000})
      for (int64_t groups : {1, 2, 6}) {
        const int64_t batch = 2, channels = 6, n = channels / groups * spatial;
        const auto x = random_values(batch * channels * spatial, -2, 5, 1),
                   scale = random_values(channels, 0.5, 2, 2),
                   bias = random_values(channels, -1, 1);
        std::vector<float> y(x.size());
        norm_kernels(isa).group_norm({.x = x.data(),
                                      .scale = scale.data(),
                                      .bias = bias.data(),
                                      .y = y.data(),
                                      .channels = channels,
                                      .spatial = spatial,
                                      .groups = groups,
                                      .epsilon = 1e-4f},
                                     0, batch * groups);
        for (int64_t g = 0; g < batch * groups; ++g) {
          double m = 0, variance = 0;
          for (int64_t i = 0; i < n; ++i) m += x[g * n + i] / static_cast<double>(n);
          for (int64_t i = 0; i < n; ++i)
            variance += std::pow(x[g * n + i] - m, 2) / static_cast<double>(n);
          for (int64_t i = 0; i < n; ++i) {
            const int64_t c = (g * n + i) / spatial % channels;
            const double want =
                (x[g * n + i] - m) / std::sqrt(variance + 1e-4) * scale[c] + bias[c];
            ASSERT_NEAR(y[g * n + i], want, 3e-6 * (1 + std::fabs(want)))
                << isa_name(isa) << " spatial " << spatial << " groups " << groups;
          }
        }
      }
}

}  // namespace
}  // namespace redline::kernels
