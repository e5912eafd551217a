// SPDX-License-Identifier: Apache-2.0
#include "tune/database.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "base/file_io.h"

namespace redline {
namespace {

class DatabaseTest : public testing::Test {
 protected:
  DatabaseTest()
      : folder_(std::filesystem::path(testing::TempDir()) /
                ("redline_db_" + std::to_string(getpid()))) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  ~DatabaseTest() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }
  Logger logger() {
    return Logger([this](Severity, std::string_view message) { messages_.emplace_back(message); });
  }
  static Status append_to(const std::string& file, const std::string& text) {
    REDLINE_ASSIGN(std::string old, read_text_file(file));
    return write_file(file, old + text);
  }
  static TuningRecord record(const std::string& problem, double us) {
    return {problem, "cpu test", "a@1", "k=\"v\"", us, 1e-7, Verdict::kRight, ""};
  }

  std::filesystem::path folder_;
  std::vector<std::string> messages_;
};

TEST_F(DatabaseTest, KeepsRecordsAndTheLastOfAKeyWins) {
  {
    TuningDatabase database(path("new/folder/t.jsonl"), logger());
    database.add(record("relu(f32[2]) -> f32[2]", 3));
    database.add(record("relu(f32[3]) -> f32[3]", 4));
    database.add(record("relu(f32[2]) -> f32[2]", 5));
  }
  TuningDatabase database(path("new/folder/t.jsonl"), logger());
  ASSERT_EQ(database.records().size(), 2u);
  const TuningRecord* found = database.find("relu(f32[2]) -> f32[2]", "cpu test", "a@1", "k=\"v\"");
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->us, 5);
  EXPECT_EQ(found->error, 1e-7);
  EXPECT_EQ(found->verdict, Verdict::kRight);
  EXPECT_EQ(database.find("relu(f32[2]) -> f32[2]", "cpu test", "a@2", "k=\"v\""), nullptr);
  EXPECT_TRUE(messages_.empty());
}

TEST_F(DatabaseTest, WhatWasBestInAWholeStaysSo) {
  {
    TuningDatabase database(path("t.jsonl"), logger());
    TuningRecord whole = record("p", 3);
    whole.best_in_whole = true;
    database.add(whole);
    database.add(record("p", 4));
  }
  TuningDatabase database(path("t.jsonl"), logger());
  ASSERT_EQ(database.records().size(), 1u);
  EXPECT_EQ(database.records()[0].us, 4);
  EXPECT_TRUE(database.records()[0].best_in_whole);
}

TEST_F(DatabaseTest, KeepsNotesBesideRecords) {
  {
    TuningDatabase database(path("t.jsonl"), logger());
    database.add_note("range 1", "old");
    database.add(record("p", 3));
    database.add_note("range 1", "first line\n7 \"9\"\n");
    database.add_note("range 2", std::string(2 << 20, 'x'));  // no line is that long
  }
  ASSERT_TRUE(
      append_to(path("t.jsonl"), "{\"note\":\"range 3\"}\n{\"note\":1,\"text\":\"\"}\n").ok());
  TuningDatabase database(path("t.jsonl"), logger());
  ASSERT_NE(database.find_note("range 1"), nullptr);
  EXPECT_EQ(*database.find_note("range 1"), "first line\n7 \"9\"\n");
  EXPECT_EQ(database.notes().size(), 1u);
  EXPECT_EQ(database.records().size(), 1u);
  EXPECT_EQ(database.skipped_lines(), 2u);
}

TEST_F(DatabaseTest, SkipsWhatItCannotRead) {
  std::string good = record_to_line(record("p", 7));
  std::string text =
      "garbage\n" + good.substr(0, 20) + "\n[1]\n" + good + "\n\n" +
      R"({"problem": 1, "device": "", "tactic": "", "config": "", "verdict": ""})" +
      "\n{\"format\": \"another program\"}\n" + std::string(1000, '[') + "\n" +
      R"({"problem":"q","device":"","tactic":"","config":"","verdict":"right","us":-1})" +
      "\n\xff\xfe\n" + record_to_line(record("cut off", 1)).substr(0, 30);
  ASSERT_TRUE(write_file(path("t.jsonl"), text).ok());
  TuningDatabase database(path("t.jsonl"), logger());
  ASSERT_EQ(database.records().size(), 1u);
  EXPECT_EQ(database.records()[0].problem, "p");
  EXPECT_EQ(database.skipped_lines(), 9u);
  ASSERT_EQ(messages_.size(), 1u);
  EXPECT_NE(messages_[0].find("line 1"), std::string::npos);
  // What is added after a line that was cut off is not swallowed by it.
  database.add(record("later", 2));
  TuningDatabase again(path("t.jsonl"), {});
  EXPECT_EQ(again.records().size(), 2u);
}

TEST_F(DatabaseTest, TakesWritersFromSeveralProcesses) {
  constexpr int kProcesses = 6;
  constexpr int kRecords = 200;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      TuningDatabase database(path("t.jsonl"), {});
      for (int i = 0; i < kRecords; ++i) {
        database.add(record(str_cat("process ", p, " record ", i, std::string(2000, '.')), i + 1));
      }
      _exit(0);
    }
    children.push_back(child);
  }
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  TuningDatabase database(path("t.jsonl"), logger());
  EXPECT_EQ(database.records().size(), static_cast<size_t>(kProcesses * kRecords));
  EXPECT_EQ(database.skipped_lines(), 0u);
}

TEST_F(DatabaseTest, MergesByConcatenation) {
  for (auto [name, us] : {std::pair("a", 1.0), {"b", 2.0}}) {
    TuningDatabase database(path(name), {});
    database.add(record("same", us));
    database.add(record(str_cat("only ", name), us));
  }
  ASSERT_TRUE(write_file(path("ab"), *read_text_file(path("a")) + *read_text_file(path("b"))).ok());
  TuningDatabase merged(path("ab"), logger());
  ASSERT_EQ(merged.records().size(), 3u);
  EXPECT_EQ(merged.find("same", "cpu test", "a@1", "k=\"v\"")->us, 2);
}

TEST_F(DatabaseTest, WorksWithoutAFileItCanWriteAndSaysSoOnce) {
  TuningDatabase database("/dev/null/nowhere/t.jsonl", logger());
  messages_.clear();
  database.add(record("p", 1));
  database.add(record("q", 2));
  EXPECT_EQ(messages_.size(), 1u);
  EXPECT_NE(database.find("q", "cpu test", "a@1", "k=\"v\""), nullptr);
}

}  // namespace
}  // namespace redline
