// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/rotary/rotary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "isas.h"

namespace redline::kernels {
namespace {

// Three heads, 5 elements apart, of `size` elements, of which 2 * half are turned.
void check(Isa isa, bool pairs, int64_t half, int64_t size) {
  const int64_t pitch = size + 5, count = 3;
  std::vector<float> x, cos, sin;
  for (int64_t i = 0; i < count * pitch; ++i) x.push_back(std::sin(static_cast<float>(7 * i)));
  for (int64_t i = 0; i < half; ++i) {
    cos.push_back(std::cos(static_cast<float>(i)));
    sin.push_back(std::sin(static_cast<float>(i)));
  }
  std::vector<float> y(x.size(), 9.0f), in_place = x;
  auto turn = pairs ? rotary_kernels(isa).pairs : rotary_kernels(isa).halves;
  turn(x.data(), cos.data(), sin.data(), half, size, count, pitch, y.data());
  turn(in_place.data(), cos.data(), sin.data(), half, size, count, pitch, in_place.data());
  for (int64_t h = 0; h < count; ++h) {
    std::vector<float> want(x.begin() + h * pitch, x.begin() + h * pitch + size);
    for (int64_t i = 0; i < half; ++i) {
      const auto a = static_cast<size_t>(pairs ? 2 * i : i);
      const auto b = static_cast<size_t>(pairs ? 2 * i + 1 : i + half);
      const auto at = static_cast<size_t>(i);
      const float first = want[a], second = want[b];
      want[a] = cos[at] * first - sin[at] * second;
      want[b] = sin[at] * first + cos[at] * second;
    }
    for (int64_t i = 0; i < size; ++i) {
      const auto at = static_cast<size_t>(h * pitch + i);
      ASSERT_NEAR(y[at], want[static_cast<size_t>(i)], 1e-6) << isa_name(isa) << " half " << half;
      ASSERT_EQ(in_place[at], y[at]) << isa_name(isa) << " half " << half;
    }
    for (int64_t i = size; i < pitch; ++i) ASSERT_EQ(y[static_cast<size_t>(h * pitch + i)], 9.0f);
  }
}

TEST(Rotary, TurnsHalvesAndPairsOfAnySize) {
  for (Isa isa : supported_isas())
    for (int64_t half : {0, 1, 3, 4, 8, 15, 16, 33, 64})
      for (int64_t rest : {0, 1, 6})
        for (bool pairs : {false, true}) check(isa, pairs, half, 2 * half + rest);
}

TEST(Rotary, KeepsNanAndInfinityInTheirPairs) {
  const float inf = std::numeric_limits<float>::infinity();
  for (Isa isa : supported_isas()) {
    const std::vector<float> x = {NAN, inf, 1, 2, 3, 4}, cos = {1, 0.5f, 1}, sin = {0, 0.5f, 0};
    std::vector<float> y(6);
    rotary_kernels(isa).halves(x.data(), cos.data(), sin.data(), 3, 6, 1, 6, y.data());
    EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[3]));
    EXPECT_TRUE(y[1] == inf && y[4] == inf);
    EXPECT_EQ(y[2], 1.0f);
    EXPECT_EQ(y[5], 4.0f);
  }
}

}  // namespace
}  // namespace redline::kernels
