// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "isas.h"
#include "kernels/cpu/resize/resize.h"

namespace redline::kernels {
namespace {

std::vector<float> random_values(int64_t n) {
  std::mt19937 random(4);
  std::uniform_real_distribution<float> value(-2, 2);
  std::vector<float> x(n);
  for (float& v : x) v = value(random);
  return x;
}

struct Shape {
  int64_t height, width, out_height, out_width;
};
constexpr Shape kShapes[] = {{4, 5, 8, 10},  {4, 5, 12, 15},     {3, 7, 5, 23},
                             {20, 33, 7, 9}, {1, 1, 9, 40},      {6, 40, 6, 40},
                             {5, 9, 20, 36}, {3, 2500, 4, 5000}, {17, 33, 34, 66}};

std::vector<int32_t> floor_table(int64_t in, int64_t out) {
  std::vector<int32_t> t(out);
  for (int64_t i = 0; i < out; ++i) t[i] = static_cast<int32_t>(i * in / out);
  return t;
}

TEST(Resize, NearestPicksTheTablesElements) {
  for (Isa isa : supported_isas())
    for (const Shape& s : kShapes) {
      const int64_t planes = 3;
      const auto x = random_values(planes * s.height * s.width);
      const auto rows = floor_table(s.height, s.out_height);
      const auto columns = floor_table(s.width, s.out_width);
      for (const bool hint : {false, true}) {
        std::vector<float> y(planes * s.out_height * s.out_width);
        const NearestArgs a{.x = x.data(),
                            .y = y.data(),
                            .height = s.height,
                            .width = s.width,
                            .out_height = s.out_height,
                            .out_width = s.out_width,
                            .rows = rows.data(),
                            .columns = columns.data(),
                            .repeat = hint ? column_repeat(columns.data(), s.out_width) : 0};
        const int64_t total = planes * s.out_height, cut = total / 2;
        resize_kernels(isa).nearest(a, 0, cut);
        resize_kernels(isa).nearest(a, cut, total);
        for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
          const int64_t row = i / s.out_width, plane = row / s.out_height;
          ASSERT_EQ(
              y[i],
              x[(plane * s.height + rows[row % s.out_height]) * s.width + columns[i % s.out_width]])
              << isa_name(isa) << " " << s.out_width;
        }
      }
    }
}

TEST(Resize, ColumnRepeatFindsWholeFactors) {
  EXPECT_EQ(column_repeat(floor_table(5, 10).data(), 10), 2);
  EXPECT_EQ(column_repeat(floor_table(5, 20).data(), 20), 4);
  EXPECT_EQ(column_repeat(floor_table(5, 5).data(), 5), 1);
  EXPECT_EQ(column_repeat(floor_table(5, 8).data(), 8), 0);
}

TEST(Resize, LinearMatchesDouble) {
  for (Isa isa : supported_isas())
    for (const Shape& s : kShapes) {
      const int64_t planes = 2;
      const auto x = random_values(planes * s.height * s.width);
      const auto table = [](int64_t in, int64_t out, std::vector<int32_t>* low,
                            std::vector<int32_t>* high, std::vector<float>* weight) {
        for (int64_t i = 0; i < out; ++i) {
          // Half-pixel centres.
          const double at =
              (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) -
              0.5;
          const double clipped = std::clamp(at, 0.0, static_cast<double>(in - 1));
          low->push_back(static_cast<int32_t>(clipped));
          high->push_back(std::min<int32_t>(low->back() + 1, static_cast<int32_t>(in - 1)));
          weight->push_back(static_cast<float>(clipped - low->back()));
        }
      };
      std::vector<int32_t> r0, r1, c0, c1;
      std::vector<float> rw, cw;
      table(s.height, s.out_height, &r0, &r1, &rw);
      table(s.width, s.out_width, &c0, &c1, &cw);
      std::vector<float> y(planes * s.out_height * s.out_width);
      const LinearArgs a{.x = x.data(),
                         .y = y.data(),
                         .height = s.height,
                         .width = s.width,
                         .out_height = s.out_height,
                         .out_width = s.out_width,
                         .rows0 = r0.data(),
                         .rows1 = r1.data(),
                         .row_weights = rw.data(),
                         .columns0 = c0.data(),
                         .columns1 = c1.data(),
                         .column_weights = cw.data()};
      const int64_t total = planes * s.out_height, cut = total / 3 + 1;
      resize_kernels(isa).linear(a, 0, cut);
      resize_kernels(isa).linear(a, cut, total);
      for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
        const int64_t row = i / s.out_width, plane = row / s.out_height, oy = row % s.out_height;
        const int64_t ox = i % s.out_width;
        const float* p = x.data() + plane * s.height * s.width;
        const auto at = [&](int64_t r, int64_t c) -> double { return p[r * s.width + c]; };
        const double u = at(r0[oy], c0[ox]) * (1.0 - cw[ox]) + at(r0[oy], c1[ox]) * cw[ox];
        const double l = at(r1[oy], c0[ox]) * (1.0 - cw[ox]) + at(r1[oy], c1[ox]) * cw[ox];
        ASSERT_NEAR(y[i], u * (1.0 - rw[oy]) + l * rw[oy], 1e-6) << isa_name(isa) << " " << i;
      }
    }
}

}  // namespace
}  // namespace redline::kernels
