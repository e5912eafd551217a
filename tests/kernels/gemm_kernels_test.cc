// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"
#include "kernels/cpu/gemm/gemm.h"

namespace redline::kernels {
namespace {

std::vector<float> random_values(int64_t n, int seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  std::vector<float> x(n);
  for (float& v : x) v = value(random);
  return x;
}

struct Case {
  int64_t m, n, k;
};
constexpr Case kCases[] = {{1, 1, 1},     {1, 7, 3},     {2, 16, 40},     {3, 33, 100},
                           {4, 130, 384}, {5, 31, 385},  {12, 32, 17},    {13, 64, 800},
                           {100, 70, 50}, {97, 129, 64}, {193, 40, 1000}, {6, 8, 0}};

// The error of a float sum of k products: half units of the sum of magnitudes, as a random walk.
double slack(int64_t k, double magnitude) {
  return 0x1p-24 * (4 + 2 * std::sqrt(static_cast<double>(k))) * (magnitude + 1e-3);
}

TEST(Gemm, MatchesDoubleForEveryForm) {
  for (Isa isa : supported_isas())
    for (const Case& s : kCases)
      for (int mask = 0; mask < 8; ++mask) {
        const bool transposed = mask & 1, with_bias = mask & 2, accumulate = mask & 4;
        const int64_t lda = s.m == 13 ? 1024 : s.k + 3, ldc = s.n + 2,
                      ldb = (transposed ? s.k : s.n) + 1;
        const auto a = random_values(s.m * lda, 1), bias = random_values(s.n, 2);
        const auto b = random_values((transposed ? s.n : s.k) * ldb, 3);
        const auto before = random_values(s.m * ldc, 4);
        auto c = before;
        const GemmKernels& k = gemm_kernels(isa);
        std::vector<float> packed(k.packed_elems(s.k, s.n));
        k.pack(b.data(), ldb, transposed, s.k, s.n, packed.data());
        const GemmArgs g{.a = a.data(),
                         .packed_b = packed.data(),
                         .bias = with_bias ? bias.data() : nullptr,
                         .c = c.data(),
                         .m = s.m,
                         .n = s.n,
                         .k = s.k,
                         .lda = lda,
                         .ldc = ldc,
                         .accumulate = accumulate};
        const int64_t units = k.units(s.m, s.n), cut = units / 2;
        k.gemm(g, cut, units);
        k.gemm(g, 0, cut);
        for (int64_t i = 0; i < s.m; ++i)
          for (int64_t j = 0; j < ldc; ++j) {
            if (j >= s.n) {
              ASSERT_EQ(c[i * ldc + j], before[i * ldc + j]);
              continue;
            }
            double want = (with_bias ? bias[j] : 0.0) + (accumulate ? before[i * ldc + j] : 0.0);
            double magnitude = std::fabs(want);
            for (int64_t p = 0; p < s.k; ++p) {
              const double product = static_cast<double>(a[i * lda + p]) *
                                     (transposed ? b[j * ldb + p] : b[p * ldb + j]);
              want += product;
              magnitude += std::fabs(product);
            }
            ASSERT_NEAR(c[i * ldc + j], want, slack(s.k, magnitude))
                << isa_name(isa) << " " << s.m << "x" << s.n << "x" << s.k << " mask " << mask;
          }
      }
}

TEST(Gemv, MatchesDouble) {
  for (Isa isa : supported_isas())
    for (int64_t m : {1, 2, 3, 4})
      for (int64_t n : {1, 3, 4, 9, 50})
        for (int64_t k : {0, 1, 15, 16, 33, 500, 1025}) {
          const int64_t lda = k + 1, ldb = k + 5, ldc = n + 1;
          const auto a = random_values(m * lda, 1), b = random_values(n * ldb, 2),
                     bias = random_values(n, 3);
          std::vector<float> c(m * ldc, 9.0f);
          const GemvArgs g{.a = a.data(),
                           .b = b.data(),
                           .bias = n % 2 ? bias.data() : nullptr,
                           .c = c.data(),
                           .m = m,
                           .n = n,
                           .k = k,
                           .lda = lda,
                           .ldb = ldb,
                           .ldc = ldc};
          gemm_kernels(isa).gemv(g, 0, n / 2);
          gemm_kernels(isa).gemv(g, n / 2, n);
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < n; ++j) {
              double want = n % 2 ? bias[j] : 0.0;
              double magnitude = std::fabs(want);
              for (int64_t p = 0; p < k; ++p) {
                const double product = static_cast<double>(a[i * lda + p]) * b[j * ldb + p];
                want += product;
                magnitude += std::fabs(product);
              }
              ASSERT_NEAR(c[i * ldc + j], want, slack(k, magnitude))
                  << isa_name(isa) << " " << m << " " << k;
            }
        }
}

TEST(Gemm, NanStaysInItsRowAndColumn) {
  for (Isa isa : supported_isas()) {
    const GemmKernels& k = gemm_kernels(isa);
    std::vector<float> a(20 * 10, 1.0f), b(10 * 20, 1.0f), c(400), packed(k.packed_elems(10, 20));
    a[3 * 10 + 2] = std::numeric_limits<float>::quiet_NaN();
    k.pack(b.data(), 20, false, 10, 20, packed.data());
    const GemmArgs g{.a = a.data(),
                     .packed_b = packed.data(),
                     .c = c.data(),
                     .m = 20,
                     .n = 20,
                     .k = 10,
                     .lda = 10,
                     .ldc = 20};
    k.gemm(g, 0, k.units(20, 20));
    for (int i = 0; i < 400; ++i) {
      if (i / 20 == 3) {
        ASSERT_TRUE(std::isnan(c[i]));
      } else {
        ASSERT_EQ(c[i], 10.0f);
      }
    }
  }
}

}  // namespace
}  // namespace redline::kernels
