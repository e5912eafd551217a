// SPDX-License-Identifier: Apache-2.0
#include "tune/prior.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace redline {
namespace {

TuningRecord record(const std::string& device, const std::string& config, double us,
                    Verdict verdict = Verdict::kRight) {
  return {"p", device, "t@1", config, us, 0, verdict, ""};
}

TEST(Prior, TheFastestRightOneOfTheArchitecture) {
  std::vector<TuningRecord> kept =
      fastest_of({record("A, sm_90a", "slow", 9), record("B, sm_90a", "good", 4),
                  record("C, sm_80", "elsewhere", 1), record("A, sm_90a", "untimed", 0),
                  record("A, sm_90a", "wrong", 2, Verdict::kWrong)},
                 "sm_90a", "H100, sm_90a");
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].config, "good");
  EXPECT_EQ(kept[0].device, "H100, sm_90a");
}

TEST(Prior, WhatNetworksWereFasterWithComesFirst) {
  TuningRecord whole = record("A, sm_90a", "in the whole", 5);
  whole.best_in_whole = true;
  TuningRecord slower = record("A, sm_90a", "slower in the whole", 6);
  slower.best_in_whole = true;
  TuningRecord wrong = record("A, sm_90a", "wrong in the whole", 1, Verdict::kWrong);
  wrong.best_in_whole = true;
  for (bool first : {false, true}) {
    std::vector<TuningRecord> records = {record("A, sm_90a", "alone", 4), whole, slower, wrong};
    if (first) std::reverse(records.begin(), records.end());
    std::vector<TuningRecord> kept = fastest_of(records, "sm_90a", "here");
    ASSERT_EQ(kept.size(), 1u);
    EXPECT_EQ(kept[0].config, "in the whole");
    Result<TuningRecord> read = record_from_line(record_to_line(kept[0]));
    ASSERT_TRUE(read.ok());
    EXPECT_TRUE(read->best_in_whole);
  }
  EXPECT_EQ(record_to_line(record("A, sm_90a", "", 1)).find("whole"), std::string::npos);
}

TEST(Prior, WhatIsShippedCanBeRead) {
  for (const char* arch : {"sm_80", "sm_90a", "sm_120"}) {
    std::string_view text = prior::source(std::string(arch) + ".jsonl");
    auto lines = static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
    EXPECT_EQ(shipped_records(arch, "here").size(), lines) << arch;
  }
}

TEST(Prior, OwnRecordsComeFirst) {
  TuningDatabase database("", {});
  database.add(record("here", "a", 7));
  database.add_default(record("here", "a", 3));
  database.add_default(record("here", "b", 5));
  EXPECT_EQ(database.find("p", "here", "t@1", "a")->us, 7);
  EXPECT_EQ(database.find("p", "here", "t@1", "b")->us, 5);
}

}  // namespace
}  // namespace redline
