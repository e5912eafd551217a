// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace redline {
namespace {

template <class... Dims>
std::optional<int64_t> product(Dims... dims) {
  const std::array<int64_t, sizeof...(Dims)> array{static_cast<int64_t>(dims)...};
  return checked_product(std::span<const int64_t>(array));
}

TEST(Checked, AddAtTheEdge) {
  EXPECT_EQ(checked_add<int64_t>(INT64_MAX - 1, 1), INT64_MAX);
  EXPECT_EQ(checked_add<int64_t>(INT64_MAX, 1), std::nullopt);
  EXPECT_EQ(checked_add<int64_t>(INT64_MIN, -1), std::nullopt);
  EXPECT_EQ(checked_add<size_t>(SIZE_MAX, 1), std::nullopt);
  EXPECT_EQ((checked_add<uint8_t>(200, 100)), std::nullopt);
}

TEST(Checked, SubAtTheEdge) {
  EXPECT_EQ(checked_sub<size_t>(3, 3), 0u);
  EXPECT_EQ(checked_sub<size_t>(3, 4), std::nullopt);
  EXPECT_EQ(checked_sub<int64_t>(INT64_MIN, 1), std::nullopt);
}

TEST(Checked, MulAtTheEdge) {
  EXPECT_EQ(checked_mul<int64_t>(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_EQ(checked_mul<int64_t>(int64_t{1} << 32, int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_mul<int64_t>(INT64_MIN, -1), std::nullopt);
}

TEST(Checked, CastKeepsTheValue) {
  EXPECT_EQ(checked_cast<int32_t>(int64_t{-5}), -5);
  EXPECT_EQ(checked_cast<int32_t>(int64_t{1} << 31), std::nullopt);
  EXPECT_EQ(checked_cast<size_t>(-1), std::nullopt);
}

TEST(Checked, ProductOfDims) {
  EXPECT_EQ(product(), 1);
  EXPECT_EQ(product(2, 3, 5), 30);
  EXPECT_EQ(product(2, 0, 5), 0);
  EXPECT_EQ(product(2, -1), std::nullopt);
  EXPECT_EQ(product(0, -1), std::nullopt);
  EXPECT_EQ(product(int64_t{1} << 40, int64_t{1} << 40), std::nullopt);
  EXPECT_EQ(product(0, int64_t{1} << 40, int64_t{1} << 40), std::nullopt);
}

TEST(Checked, DividesUp) {
  EXPECT_EQ(divide_up(int64_t{7}, 2), 4);
  EXPECT_EQ(divide_up(8, 2), 4);
  EXPECT_EQ(divide_up(0, 3), 0);
}

}  // namespace
}  // namespace redline
