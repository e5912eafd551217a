// SPDX-License-Identifier: Apache-2.0
#include "api/range_sizes.h"

#include <gtest/gtest.h>

namespace redline {
namespace {

using Range = BuildSettings::SizeRange;
using Sizes = std::vector<BuildOptions::SymbolValues>;

Sizes sizes_of(const std::vector<Range>& ranges) {
  Result<Sizes> sizes = range_sizes(ranges);
  EXPECT_TRUE(sizes.ok()) << sizes.status().message();
  return sizes.ok() ? *std::move(sizes) : Sizes();
}

TEST(RangeSizes, EndsComeFirstAndSizesDouble) {
  EXPECT_EQ(sizes_of({{"n", 1, 8, 64}}),
            (Sizes{{{"n", 1}}, {{"n", 64}}, {{"n", 2}}, {{"n", 32}}, {{"n", 4}}, {{"n", 16}}}));
}

TEST(RangeSizes, SymbolsGoTheirWayTogetherInRoundSteps) {
  EXPECT_EQ(sizes_of({{"batch", 1, 4, 16}, {"seq", 16, 128, 512}}),
            (Sizes{{{"batch", 1}, {"seq", 16}},
                   {{"batch", 16}, {"seq", 512}},
                   {{"batch", 1}, {"seq", 24}},
                   {{"batch", 12}, {"seq", 384}},
                   {{"batch", 2}, {"seq", 32}},
                   {{"batch", 8}, {"seq", 256}},
                   {{"batch", 2}, {"seq", 64}},
                   {{"batch", 6}, {"seq", 192}},
                   {{"batch", 3}, {"seq", 96}}}));
}

TEST(RangeSizes, OnlyFiveAreBetweenFarEnds) {
  Sizes sizes = sizes_of({{"n", 1, 1, int64_t{1} << 40}});
  ASSERT_EQ(sizes.size(), 7U);  // the least, which is the likeliest, and six above
  EXPECT_EQ(sizes[1][0].second, int64_t{1} << 40);
  EXPECT_EQ(sizes.back()[0].second, 96);
}

TEST(RangeSizes, NothingIsOutsideItsRange) {
  EXPECT_EQ(sizes_of({{"n", 5, 5, 7}}), (Sizes{{{"n", 5}}, {{"n", 7}}}));
  EXPECT_EQ(sizes_of({{"n", 17, 37, 38}}), (Sizes{{{"n", 17}}, {{"n", 38}}, {{"n", 24}}}));
  EXPECT_EQ(sizes_of({{"n", 0, 0, 3}}), (Sizes{{{"n", 0}}, {{"n", 3}}, {{"n", 2}}}));
  int64_t most = std::numeric_limits<int64_t>::max();
  for (const auto& values : sizes_of({{"n", most, most, most}, {"m", 0, 0, most}})) {
    EXPECT_EQ(values[0].second, most);
    EXPECT_GE(values[1].second, 0);
  }
}

TEST(RangeSizes, RefusesThreeThatFall) {
  for (const Range& range : {Range{"n", 2, 1, 4}, Range{"n", 1, 5, 4}, Range{"n", -1, 1, 4}}) {
    Result<Sizes> sizes = range_sizes(std::vector{range});
    ASSERT_FALSE(sizes.ok());
    EXPECT_EQ(sizes.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(sizes.status().message().find("three that do not fall"), std::string::npos);
  }
}

}  // namespace
}  // namespace redline
