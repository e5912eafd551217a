// SPDX-License-Identifier: Apache-2.0
#include "plan/memory_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
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

double ratio(const std::vector<MemoryItem>& items) {
  MemoryPlan plan = plan_memory(items);
  expect_sound(items, plan);
  return static_cast<double>(plan.peak) / static_cast<double>(plan.lower_bound);
}

// Cuts a rectangle of steps and bytes in two, again and again: the pieces fit without waste.
void cut(std::mt19937& random, int first, int last, size_t blocks, int depth,
         std::vector<MemoryItem>& items) {
  if (depth == 0 || first == last || blocks == 1) {
    items.push_back({blocks * 64, first, last});
  } else if (random() % 2 == 0) {
    int middle = first + static_cast<int>(random() % static_cast<unsigned>(last - first));
    cut(random, first, middle, blocks, depth - 1, items);
    cut(random, middle + 1, last, blocks, depth - 1, items);
  } else {
    size_t below = 1 + random() % (blocks - 1);
    cut(random, first, last, below, depth - 1, items);
    cut(random, first, last, blocks - below, depth - 1, items);
  }
}

double mean_ratio_of_pieces(int depth) {
  std::mt19937 random(3);
  double sum = 0;
  constexpr int kRounds = 40;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<MemoryItem> items;
    cut(random, 0, 99, 1000, depth, items);
    std::shuffle(items.begin(), items.end(), random);
    sum += ratio(items);
  }
  return sum / kRounds;
}

TEST(MemoryPlan, PiecesOfARectangleFitItAgain) {
  EXPECT_EQ(mean_ratio_of_pieces(3), 1);
  EXPECT_LT(mean_ratio_of_pieces(4), 1.01);
  EXPECT_LT(mean_ratio_of_pieces(5), 1.01);
  EXPECT_LT(mean_ratio_of_pieces(6), 1.05);
}

// Each layer reads all that came before and appends to it: what lives long lies at one end, what
// comes next at the other, in turns.
TEST(MemoryPlan, GrowingConcatenationsReachTheBound) {
  for (size_t growth : {16, 32, 48, 77}) {
    std::vector<MemoryItem> items;
    int step = 0;
    for (size_t area : {1024, 256, 64}) {
      size_t channels = 64;
      for (int layer = 0; layer < 12; ++layer) {
        items.push_back({area * channels * 4, step, step + 4});
        items.push_back({area * channels * 4, step + 1, step + 2});
        items.push_back({area * growth * 16, step + 2, step + 3});
        items.push_back({area * growth * 4, step + 3, step + 4});
        channels += growth;
        step += 4;
      }
    }
    EXPECT_EQ(ratio(items), 1) << "growth " << growth;
  }
}

TEST(MemoryPlan, BranchesOfDifferentSizesStayNearTheBound) {
  std::mt19937 random(5);
  auto some_bytes = [&] { return (random() % 32 + 1) * 4096; };
  for (int round = 0; round < 30; ++round) {
    std::vector<MemoryItem> items;
    int step = 0;
    for (int block = 0; block < 10; ++block) {
      int branches = 3 + static_cast<int>(random() % 3);
      int join = step + 3 * branches;
      size_t joined = 0;
      for (; step < join; step += 3) {
        items.push_back({some_bytes(), step, step + 1});
        items.push_back({some_bytes(), step + 1, step + 2});
        items.push_back({some_bytes(), step + 2, join});
        joined += items.back().bytes;
      }
      items.push_back({joined, join, join + 3 * branches + 6});
      step = join + 1;
    }
    EXPECT_LE(ratio(items), 1.05) << "round " << round;
  }
}

TEST(MemoryPlan, SkipsOfAnHourglassReachTheBound) {
  std::vector<MemoryItem> items;
  constexpr int kLevels = 10;
  for (int i = 0; i < kLevels; ++i) {
    size_t bytes = (size_t{1} << (20 - i)) + static_cast<size_t>(i % 3) * 4096;
    int up = 4 * kLevels - 2 * i;
    items.push_back({bytes, 2 * i, up});
    items.push_back({bytes / 2, 2 * i + 1, 2 * i + 2});
    items.push_back({bytes, up, up + 1});
    items.push_back({bytes / 2 + 4096, up + 1, up + 2});
  }
  EXPECT_EQ(ratio(items), 1);
}

TEST(MemoryPlan, EqualItemsGetEqualOffsets) {
  std::mt19937 random(9);
  std::vector<MemoryItem> items;
  for (int i = 0; i < 200; ++i) {
    int last = i + 1 + static_cast<int>(random() % 9);
    items.push_back({(random() % 64 + 1) * 1000, i, last});
  }
  EXPECT_EQ(plan_memory(items).offsets, plan_memory(items).offsets);
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
  EXPECT_LT(worst, 1.12);
}

}  // namespace
}  // namespace redline
