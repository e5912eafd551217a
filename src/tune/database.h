// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "tune/check.h"

namespace redline {

// One measurement: what was asked, where, how it was done, and what came of it.
struct TuningRecord {
  std::string problem;  // Problem::to_string() with the sizes that were timed
  std::string device;   // machine_name()
  std::string tactic;   // Tactic::versioned_name()
  std::string config;   // config_to_string(), "" for the only way
  double us = 0;        // the least of the runs; 0: not timed
  double error = 0;     // see CheckResult; of a verdict "right" or "wrong"
  Verdict verdict = Verdict::kUnchecked;
  std::string reason;
  bool best_in_whole = false;  // a network was faster with it than with what is faster alone

  // Of two that were timed.
  bool is_better_than(const TuningRecord& other) const {
    return best_in_whole != other.best_in_whole ? best_in_whole : us < other.us;
  }
};

std::string config_to_string(const Config& config);
std::string record_to_line(const TuningRecord& record);  // JSON without a line end
Result<TuningRecord> record_from_line(std::string_view line);
std::string note_to_line(const std::string& key, const std::string& text);

// Measured tactics in a text file of one JSON object a line. Of several records with the same key
// the last counts, but for `best_in_whole`, which stays; so files merge by concatenation. Lines are
// appended with one write each: several processes may share a file. What cannot be read is skipped
// and logged; a file that cannot be written costs one message. One thread.
class TuningDatabase {
 public:
  // Reads the file when it is there. An empty path: in memory only.
  TuningDatabase(std::string path, Logger logger);
  ~TuningDatabase();
  TuningDatabase(const TuningDatabase&) = delete;
  TuningDatabase& operator=(const TuningDatabase&) = delete;

  const TuningRecord* find(const std::string& problem, const std::string& device,
                           const std::string& tactic, const std::string& config) const;
  void add(const TuningRecord& record);
  // Counts where there is no record with its key, and is not written.
  void add_default(const TuningRecord& record);
  // Other things that builds found out, as texts; each is a line with the keys "note" and "text".
  const std::string* find_note(const std::string& key) const;
  void add_note(const std::string& key, const std::string& text);
  const std::map<std::string, std::string>& notes() const { return notes_; }
  // In the order in which their keys appeared first.
  const std::vector<TuningRecord>& records() const { return records_; }
  size_t skipped_lines() const { return skipped_; }
  // Why the file was not read although it is there.
  const Status& read_status() const { return read_status_; }

 private:
  void read();
  void remember(TuningRecord record, bool replace = true);
  bool read_note(std::string_view line);
  void append(std::string line);
  Status open_for_append();

  std::string path_;
  Logger logger_;
  std::vector<TuningRecord> records_;
  std::map<std::string, size_t> index_;  // key to place in records_
  std::map<std::string, std::string> notes_;
  size_t skipped_ = 0;
  Status read_status_;
  int fd_ = -1;
  bool broken_ = false;  // writing failed before
};

// tuning.jsonl in user_cache_folder(); "" where there is none.
std::string default_tuning_database();

}  // namespace redline
