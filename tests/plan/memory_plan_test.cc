// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plan.h"

#include <gtest/gtest.h>

#include <random>

namespace redline {
namespace {

void expect_sound(const std::vector<MemoryItem>& items, const MemoryPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), items.size());
  EXPECT_GE(plan.peak, plan.lower_bound);
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(plan.offsets[i] % 64, 0u);
    EXPECT_LE(plan.offsets[i] + items[i].bytes, plan.peak);
    for (size_t j = 0; j < i; ++j) {
      bool together = items[i].first <= items[j].last && items[j].first <= items[i].last;
      bool overlap = plan.offsets[i] < plan.offsets[j] + items[j].bytes &&
                     plan.offsets[j] < plan.offsets[i] + items[i].bytes;
      EXPECT_FALSE(together && overlap && items[i].bytes > 0 && items[j].bytes > 0)
          << i << " and " << j;
    }
  }
}

TEST(MemoryPlan, NothingNeedsNothing) {
  MemoryPlan plan = plan_memory({});
  EXPECT_EQ(plan.peak, 0u);
  EXPECT_EQ(plan.lower_bound, 0u);
}

TEST(MemoryPlan, AChainNeedsTwoBuffers) {
  std::vector<MemoryItem> items;
  for (int i = 0; i < 10; ++i) items.push_back({1000, i, i + 1});
  MemoryPlan plan = plan_memory(items);
  expect_sound(items, plan);
  EXPECT_EQ(plan.peak, 2u * 1024);
  EXPECT_EQ(plan.lower_bound, 2u * 1024);
}

TEST(MemoryPlan, ZeroBytesAreFine) {
  std::vector<MemoryItem> items = {{0, 0, 5}, {64, 1, 2}, {0, 2, 2}};
  MemoryPlan plan = plan_memory(items);
  expect_sound(items, plan);
  EXPECT_EQ(plan.peak, 64u);
}

TEST(MemoryPlan, RandomGraphsStayNearTheBound) {
  std::mt19937 random(7);
  double worst = 0;
  for (int round = 0; round < 50; ++round) {
    std::vector<MemoryItem> items;
    for (int i = 0; i < 120; ++i) {
      int last = i + 1 + static_cast<int>(random() % (random() % 10 == 0 ? 60 : 3));
      items.push_back({(random() % 64 + 1) * 1024, i, last});
    }
    MemoryPlan plan = plan_memory(items);
    expect_sound(items, plan);
    worst = std::max(worst, static_cast<double>(plan.peak) / static_cast<double>(plan.lower_bound));
  }
  EXPECT_LT(worst, 1.15);
}

}  // namespace
}  // namespace redline
