// SPDX-License-Identifier: Apache-2.0
#include "ops/window.h"

#include <gtest/gtest.h>

#include <set>

namespace redline {
namespace {

struct Axis1 {
  std::vector<int64_t> kernel, strides, dilations, pads;
  AutoPad auto_pad = AutoPad::kNotSet;
  bool ceil_mode = false;
  Window window() const { return {kernel, strides, dilations, pads, auto_pad, ceil_mode}; }
};

std::string text(const Axis1& a, const Dim& in) {
  Result<Dim> out = window_output(a.window(), 0, in);
  return out.ok() ? out->to_string() : std::string(out.status().message());
}

// Counts the window starts one by one.
int64_t count_windows(const Axis1& a, int64_t in) {
  Window w = a.window();
  int64_t padded = in + w.pad_begin(0) + w.pad_end(0);
  int64_t count = 0;
  for (int64_t start = 0;; start += w.stride(0)) {
    bool fits = start + w.extent(0) <= padded;
    // In ceil mode one more window may hang over, but must begin inside the input or before it.
    bool hangs = a.ceil_mode && !fits && start + w.extent(0) - w.stride(0) < padded &&
                 start < in + w.pad_begin(0);
    if (!fits && !hangs) return count;
    ++count;
  }
}

TEST(Window, OutputSizeIsSymbolic) {
  Dim h = Dim::symbol("h");
  EXPECT_EQ(text({.kernel = {3}, .pads = {1, 1}}, h), "h");
  EXPECT_EQ(text({.kernel = {3}, .strides = {2}, .pads = {1, 1}}, h), "floordiv(h + 1, 2)");
  EXPECT_EQ(text({.kernel = {7}}, h), "h - 6");
  EXPECT_EQ(text({.kernel = {3}, .strides = {2}, .auto_pad = AutoPad::kSameUpper}, h * Dim(2)),
            "h");
}

TEST(Window, OutputSizeCountsWindows) {
  Dim h = Dim::symbol("h");
  for (int64_t in = 1; in < 12; ++in) {
    for (int64_t kernel = 1; kernel < 5; ++kernel) {
      for (int64_t stride = 1; stride < 4; ++stride) {
        for (int64_t pad = 0; pad < kernel; ++pad) {
          for (bool ceil_mode : {false, true}) {
            Axis1 a{.kernel = {kernel},
                    .strides = {stride},
                    .dilations = {2},
                    .pads = {pad, pad / 2},
                    .ceil_mode = ceil_mode};
            if (a.window().extent(0) > in + pad + pad / 2) continue;
            int64_t expected = count_windows(a, in);
            ASSERT_EQ(window_output(a.window(), 0, Dim(in)).value(), Dim(expected))
                << in << " " << kernel << " " << stride << " " << pad << " " << ceil_mode;
            Dim symbolic = window_output(a.window(), 0, h).value();
            ASSERT_EQ(symbolic.substitute({{"h", Dim(in)}}), Dim(expected));
          }
        }
      }
    }
  }
}

// window_taps and tap_pairs name the same pairs.
TEST(Window, TapsAndPairsAgree) {
  std::vector<WindowAxis> axes = {{7, 5, 3, 2, 2, 3, 2}, {4, 3, 2, 1, 1, 0, 0}};
  std::set<std::pair<int64_t, int64_t>> from_pairs;
  for (int64_t i = 0; i < 3; ++i) {
    for (int64_t j = 0; j < 2; ++j) {
      for (TapPair p : tap_pairs(axes, std::vector<int64_t>{i, j}))
        from_pairs.insert({p.out, p.in});
    }
  }
  std::set<std::pair<int64_t, int64_t>> from_taps;
  std::vector<int64_t> taps;
  int64_t covered = 0;
  for (int64_t o = 0; o < 15; ++o) {
    window_taps(axes, std::vector<int64_t>{o / 3, o % 3}, taps, covered);
    for (int64_t tap : taps) from_taps.insert({o, tap});
  }
  EXPECT_EQ(from_pairs, from_taps);
  EXPECT_FALSE(from_pairs.empty());
}

TEST(Window, RefusesHostileAttributes) {
  EXPECT_FALSE(check_window(Axis1{.kernel = {0}}.window()).ok());
  EXPECT_FALSE(check_window(Axis1{.kernel = {3}, .strides = {0}}.window()).ok());
  EXPECT_FALSE(check_window(Axis1{.kernel = {3}, .strides = {1, 1}}.window()).ok());
  EXPECT_FALSE(check_window(Axis1{.kernel = {3}, .pads = {1}}.window()).ok());
  EXPECT_FALSE(check_window(Axis1{.kernel = {1 << 20}, .dilations = {1 << 20}}.window()).ok());
  EXPECT_FALSE(check_window(Axis1{.kernel = {INT64_MAX}, .dilations = {INT64_MAX}}.window()).ok());
  EXPECT_TRUE(check_window(Axis1{.kernel = {3}, .strides = {2}, .pads = {1, 1}}.window()).ok());
}

}  // namespace
}  // namespace redline
