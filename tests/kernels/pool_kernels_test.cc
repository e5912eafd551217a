// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "isas.h"
#include "kernels/cpu/pool/pool.h"

namespace redline::kernels {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_values(int64_t n, int seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> value(-2, 2);
  std::vector<float> x(n);
  for (float& v : x) v = value(random);
  return x;
}

// Calls visit(output index, oy, ox) and, inside, for_each(input index, kernel index) over what lies
// in the plane.
template <class Visit>
void for_elements(const Window2d& w, int64_t oy, int64_t ox, Visit visit) {
  for (int64_t i = 0; i < w.kernel_y; ++i)
    for (int64_t j = 0; j < w.kernel_x; ++j) {
      const int64_t y = oy * w.stride_y - w.pad_top + i * w.dilation_y;
      const int64_t x = ox * w.stride_x - w.pad_left + j * w.dilation_x;
      visit(y, x, i * w.kernel_x + j);
    }
}

std::vector<Window2d> windows() {
  std::vector<Window2d> list;
  std::mt19937 random(9);
  const auto pick = [&](int n) { return static_cast<int64_t>(random() % n); };
  const int64_t sizes[] = {1, 2, 5, 7, 14, 17, 33, 64, 81, 150};
  while (list.size() < 120) {
    Window2d w{.height = sizes[pick(8)],
               .width = sizes[pick(10)],
               .kernel_y = 1 + pick(5),
               .kernel_x = 1 + pick(5),
               .stride_y = 1 + pick(3),
               .stride_x = 1 + pick(4),
               .pad_top = pick(3),
               .pad_left = pick(3),
               .pad_bottom = pick(3),
               .pad_right = pick(3),
               .dilation_y = 1 + pick(2),
               .dilation_x = 1 + pick(3)};
    const int64_t span_y = (w.kernel_y - 1) * w.dilation_y + 1;
    const int64_t span_x = (w.kernel_x - 1) * w.dilation_x + 1;
    const int64_t rest_y = w.height + w.pad_top + w.pad_bottom - span_y;
    const int64_t rest_x = w.width + w.pad_left + w.pad_right - span_x;
    if (rest_y < 0 || rest_x < 0) continue;
    const bool up = pick(3) == 0;  // ceil mode
    w.out_height = (rest_y + (up ? w.stride_y - 1 : 0)) / w.stride_y + 1;
    w.out_width = (rest_x + (up ? w.stride_x - 1 : 0)) / w.stride_x + 1;
    list.push_back(w);
  }
  // So wide that it is cut into strips.
  list.push_back({.height = 7,
                  .width = 9000,
                  .out_height = 7,
                  .out_width = 9000,
                  .kernel_y = 5,
                  .kernel_x = 5,
                  .pad_top = 2,
                  .pad_left = 2,
                  .pad_bottom = 2,
                  .pad_right = 2});
  return list;
}

TEST(Pool, MatchesPlainLoopsForRandomWindows) {
  const int64_t planes = 3;
  for (const Window2d& w : windows()) {
    ASSERT_EQ(window2d_error(w), nullptr);
    const int64_t n = w.out_height * w.out_width, plane = w.height * w.width;
    const auto x = random_values(planes * plane, 1);
    const auto weights = random_values(2 * w.kernel_y * w.kernel_x, 2), bias = random_values(2, 3);
    for (Isa isa : supported_isas()) {
      std::vector<float> max(planes * n), mean(planes * n), padded(planes * n), conv(planes * n),
          clipped(planes * n);
      const PoolKernels& k = pool_kernels(isa);
      k.max_pool(w, x.data(), max.data(), 0, 1);
      k.max_pool(w, x.data(), max.data(), 1, planes);
      k.average_pool(w, false, x.data(), mean.data(), 0, planes);
      k.average_pool(w, true, x.data(), padded.data(), 0, planes);
      Depthwise2dArgs args{.window = w,
                           .x = x.data(),
                           .weights = weights.data(),
                           .bias = bias.data(),
                           .y = conv.data(),
                           .channels = 2};
      k.depthwise_conv(args, 0, planes);
      args.bias = nullptr;
      args.y = clipped.data();
      args.low = 0;
      args.high = 1;
      k.depthwise_conv(args, 0, planes);
      for (int64_t p = 0; p < planes; ++p)
        for (int64_t o = 0; o < n; ++o) {
          double largest = -kInf, sum = 0, product = 0, inside = 0, inside_pad = 0;
          for_elements(w, o / w.out_width, o % w.out_width, [&](int64_t iy, int64_t ix, int64_t e) {
            inside_pad += iy < w.height + w.pad_bottom && ix < w.width + w.pad_right;
            if (iy < 0 || iy >= w.height || ix < 0 || ix >= w.width) return;
            const double v = x[p * plane + iy * w.width + ix];
            largest = std::max(largest, v);
            sum += v;
            inside += 1;
            product += v * weights[p % 2 * w.kernel_y * w.kernel_x + e];
          });
          const int64_t at = p * n + o;
          ASSERT_EQ(max[at], largest) << isa_name(isa);
          if (inside > 0) {
            ASSERT_NEAR(mean[at], sum / inside, 1e-6) << isa_name(isa);
          } else {
            ASSERT_TRUE(std::isnan(mean[at]));
          }
          if (inside_pad > 0) {
            ASSERT_NEAR(padded[at], sum / inside_pad, 1e-6) << isa_name(isa);
          }
          ASSERT_NEAR(conv[at], product + bias[p % 2], 1e-5) << isa_name(isa);
          ASSERT_NEAR(clipped[at], std::min(std::max(product, 0.0), 1.0), 1e-5) << isa_name(isa);
        }
    }
  }
}

TEST(Pool, NanStaysInItsWindows) {
  const Window2d w{.height = 5,
                   .width = 40,
                   .out_height = 5,
                   .out_width = 40,
                   .kernel_y = 3,
                   .kernel_x = 3,
                   .pad_top = 1,
                   .pad_left = 1};
  std::vector<float> x(200, 1.0f), y(200);
  x[2 * 40 + 20] = kNan;
  for (Isa isa : supported_isas()) {
    pool_kernels(isa).max_pool(w, x.data(), y.data(), 0, 1);
    for (int i = 0; i < 200; ++i) {
      const bool near = std::abs(i / 40 - 2) <= 1 && std::abs(i % 40 - 20) <= 1;
      ASSERT_EQ(std::isnan(y[i]), near) << i;
    }
  }
}

TEST(Pool, WindowsThatDoNotFitAreRefused) {
  Window2d w{
      .height = 10, .width = 10, .out_height = 1, .out_width = 1, .kernel_y = 10, .kernel_x = 10};
  EXPECT_EQ(window2d_error(w), nullptr);
  w.stride_x = 0;
  EXPECT_STREQ(window2d_error(w), "window: a size, stride or dilation is not in 1..2^31");
  w.stride_x = 1;
  w.pad_left = -1;
  EXPECT_STREQ(window2d_error(w), "window: a pad is not in 0..2^31");
  w.pad_left = 0;
  w.kernel_x = 3000;
  EXPECT_STREQ(window2d_error(w), "window: a kernel dim is above 1024");
  w.kernel_x = 1000;
  w.kernel_y = 100;
  EXPECT_STREQ(window2d_error(w),
               "window: the rows that 64 output columns need do not fit in 64 KB");
}

}  // namespace
}  // namespace redline::kernels
