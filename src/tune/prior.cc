// SPDX-License-Identifier: Apache-2.0
#include "tune/prior.h"

#include <map>

namespace redline {

std::vector<TuningRecord> fastest_of(const std::vector<TuningRecord>& records,
                                     const std::string& arch, const std::string& device) {
  std::map<std::string, TuningRecord> fastest;
  for (const TuningRecord& record : records) {
    bool right = record.verdict == Verdict::kRight || record.verdict == Verdict::kNotCheckable;
    if (!record.device.ends_with(", " + arch) || !right || record.us <= 0) continue;
    auto [it, inserted] = fastest.emplace(record.problem, record);
    if (!inserted && record.is_better_than(it->second)) it->second = record;
  }
  std::vector<TuningRecord> result;
  for (auto& [problem, record] : fastest) {
    record.device = device;
    result.push_back(std::move(record));
  }
  return result;
}

std::vector<TuningRecord> shipped_records(const std::string& arch, const std::string& device) {
  std::string_view text = prior::source(arch + ".jsonl");
  std::vector<TuningRecord> records;
  while (!text.empty()) {
    size_t end = std::min(text.find('\n'), text.size());
    Result<TuningRecord> record = record_from_line(text.substr(0, end));
    if (record.ok()) records.push_back(*std::move(record));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return fastest_of(records, arch, device);
}

}  // namespace redline
