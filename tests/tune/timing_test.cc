// SPDX-License-Identifier: Apache-2.0
#include "tune/timing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace redline {
namespace {

// Takes the times of a list, then the last one for ever; counts its runs.
class FakeTrial final : public Trial {
 public:
  explicit FakeTrial(std::vector<double> us) : us_(std::move(us)) {}
  Result<double> run() override { return us_[std::min(count_++, us_.size() - 1)]; }
  Status run_poisoned() override { return {}; }
  std::span<const TensorView> outputs() const override { return {}; }
  size_t count() const { return count_; }

 private:
  std::vector<double> us_;
  size_t count_ = 0;
};

bool never() { return false; }

std::vector<Timing> race(std::vector<FakeTrial>& trials) {
  std::vector<Trial*> pointers;
  for (FakeTrial& trial : trials) pointers.push_back(&trial);
  return time_in_turn(pointers, {.min_rounds = 3, .max_rounds = 30, .enough_us = 1e9}, never);
}

TEST(TimeInTurn, RunsLosersLessOften) {
  std::vector<FakeTrial> trials = {FakeTrial({2100}), FakeTrial({160}), FakeTrial({100}),
                                   FakeTrial({140})};
  std::vector<Timing> timings = race(trials);
  EXPECT_EQ(trials[0].count(), 1u) << "far behind";
  EXPECT_EQ(trials[1].count(), 4u) << "behind in all rounds that are trusted";
  EXPECT_EQ(trials[2].count(), 31u);
  EXPECT_EQ(trials[3].count(), 31u);
  EXPECT_EQ(timings[0].us, 2100);
  EXPECT_EQ(timings[1].us, 160);
  EXPECT_EQ(timings[2].us, 100);
  EXPECT_EQ(timings[3].us, 140);
}

TEST(TimeInTurn, FindsTheBestAmongDisturbedRuns) {
  std::mt19937 random(5);
  std::exponential_distribution<double> disturbance(3);
  std::vector<FakeTrial> trials;
  for (double us : {115.0, 108.0, 100.0, 112.0}) {
    std::vector<double> runs = {8 * us};  // the first is cold
    while (runs.size() < 31) runs.push_back(us * (1 + disturbance(random)));
    trials.emplace_back(runs);
  }
  std::vector<Timing> timings = race(trials);
  auto best = std::min_element(timings.begin(), timings.end(),
                               [](const Timing& a, const Timing& b) { return a.us < b.us; });
  EXPECT_EQ(best - timings.begin(), 2);
  EXPECT_LT(best->us, 105);
  for (const FakeTrial& trial : trials) EXPECT_EQ(trial.count(), 31u);
}

TEST(TimeInTurn, OneDisturbedRunRulesNothingOut) {
  std::vector<FakeTrial> trials = {FakeTrial({120}), FakeTrial({1000, 900, 800, 100})};
  std::vector<Timing> timings = race(trials);
  EXPECT_EQ(timings[1].us, 100);
  EXPECT_EQ(trials[1].count(), 31u);
}

TEST(TimeInTurn, EnoughIsEnough) {
  FakeTrial slow({1000}), quick({900});
  Trial* trials[] = {&slow, &quick};
  time_in_turn(trials, {.min_rounds = 3, .max_rounds = 30, .enough_us = 7500}, never);
  EXPECT_EQ(slow.count(), 8u);
  EXPECT_EQ(quick.count(), 9u);
}

TEST(TimeInTurn, HalfARaceTellsNothing) {
  FakeTrial first({100}), second({100});
  Trial* trials[] = {&first, &second};
  int asked = 0;
  std::vector<Timing> timings = time_in_turn(trials, {}, [&] { return ++asked > 5; });
  EXPECT_EQ(first.count() + second.count(), 5u);
  EXPECT_EQ(timings[0].us, 0);
  EXPECT_EQ(timings[1].us, 0);
}

}  // namespace
}  // namespace redline
