// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <tuple>

#include "base/file_io.h"
#include "tune/prior.h"
#include "tune/trial.h"
#include "verb.h"

namespace redline::cli {
namespace {

struct Options {
  std::string database;  // empty: the default one
  std::string output;
  std::vector<std::string> inputs;
  std::string key;
  std::string arch;
  std::string shipped;  // an architecture; else the database
  bool json = false;
};

Result<std::unique_ptr<TuningDatabase>> open_database(const std::string& path) {
  if (!std::filesystem::exists(path)) return not_found(path, ": no such tuning database");
  auto database = std::make_unique<TuningDatabase>(path, Logger());
  REDLINE_TRY(database->read_status());
  bool is_empty = database->records().empty() && database->notes().empty();
  if (size_t skipped = database->skipped_lines(); skipped > 0 && is_empty) {
    return invalid_argument(path, ": no tuning database, none of its ", skipped,
                            " lines is a record");
  } else if (skipped > 0) {
    std::fprintf(stderr, "warning: %s: %zu lines skipped that are no records\n", path.c_str(),
                 skipped);
  }
  return database;
}

Result<std::vector<TuningRecord>> read_records(const std::string& path) {
  REDLINE_ASSIGN(std::unique_ptr<TuningDatabase> database, open_database(path));
  return database->records();
}

Result<std::vector<TuningRecord>> records_to_show(const Options& options) {
  if (options.shipped.empty()) {
    std::string path = options.database.empty() ? default_tuning_database() : options.database;
    return read_records(path);
  }
  REDLINE_ASSIGN(cuda::DeviceInfo gpu, cuda::DeviceInfo::of_arch(options.shipped));
  PrepareArgs elsewhere;
  elsewhere.gpu = &gpu;
  std::vector<TuningRecord> records = shipped_records(gpu.arch(), machine_name(elsewhere));
  if (records.empty()) return not_found("nothing is shipped for ", gpu.arch());
  return records;
}

std::string show_us(const TuningRecord& record) {
  return record.us > 0 ? format_number(record.us, 1) : "";
}

std::string show_way(const TuningRecord& record) {
  return record.config.empty() ? record.tactic : record.tactic + " " + record.config;
}

std::string show_verdict(const TuningRecord& record) {
  std::string text(verdict_name(record.verdict));
  if (!record.reason.empty()) return text + ": " + record.reason;
  if (record.verdict != Verdict::kRight) return text;
  char error[32];
  std::snprintf(error, sizeof error, "%.1e", record.error);
  text += str_cat(", error ", error);
  return record.best_in_whole ? text + ", best in a whole" : text;
}

Status list(const Options& options) {
  REDLINE_ASSIGN(std::vector<TuningRecord> records, records_to_show(options));
  if (options.json) {
    Json array = Json::array();
    for (const TuningRecord& record : records) {
      array.push_back(Json::parse(record_to_line(record)));
    }
    print_json(array);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"us", "tactic", "verdict", "machine", "problem"}};
  for (const TuningRecord& record : records) {
    rows.push_back(
        {show_us(record), show_way(record), show_verdict(record), record.device, record.problem});
  }
  std::printf("%s", format_table(rows).c_str());
  return {};
}

Status write_records(const Options& options, const std::vector<TuningRecord>& records,
                     const std::map<std::string, std::string>& notes = {}) {
  std::string text;
  for (const TuningRecord& record : records) text += record_to_line(record) + "\n";
  for (const auto& [key, note] : notes) text += note_to_line(key, note) + "\n";
  REDLINE_TRY(write_file(options.output, text));
  if (options.json) {
    print_json({{"output", options.output}, {"records", records.size()}});
  } else {
    std::printf("%s: %zu records\n", options.output.c_str(), records.size());
  }
  return {};
}

// Of records with the same key the one in the last file counts.
Status merge(const Options& options) {
  TuningDatabase merged("", {});
  for (const std::string& input : options.inputs) {
    REDLINE_ASSIGN(std::unique_ptr<TuningDatabase> database, open_database(input));
    for (const TuningRecord& record : database->records()) merged.add(record);
    for (const auto& [key, text] : database->notes()) merged.add_note(key, text);
  }
  return write_records(options, merged.records(), merged.notes());
}

// What a build for an architecture that is not there needs of it all.
Status prior(const Options& options) {
  REDLINE_ASSIGN(cuda::DeviceInfo gpu, cuda::DeviceInfo::of_arch(options.arch));
  std::vector<TuningRecord> all;
  for (const std::string& input : options.inputs) {
    REDLINE_ASSIGN(std::vector<TuningRecord> records, read_records(input));
    all.insert(all.end(), records.begin(), records.end());
  }
  PrepareArgs elsewhere;
  elsewhere.gpu = &gpu;
  std::vector<TuningRecord> fastest = fastest_of(all, gpu.arch(), machine_name(elsewhere));
  if (fastest.empty()) {
    return not_found("no record of ", gpu.arch(), " among the ", all.size(), " that were read");
  }
  return write_records(options, fastest);
}

// All that is known about the problems whose text holds the key, fastest first.
Status explain(const Options& options) {
  REDLINE_ASSIGN(std::vector<TuningRecord> records, records_to_show(options));
  std::erase_if(records, [&](const TuningRecord& record) {
    return record.problem.find(options.key) == std::string::npos;
  });
  if (records.empty()) return not_found("no problem holds '", options.key, "'");
  std::stable_sort(records.begin(), records.end(), [](const auto& a, const auto& b) {
    auto rank = [](const TuningRecord& r) {
      return std::tuple(std::string_view(r.problem), std::string_view(r.device), r.us == 0, r.us);
    };
    return rank(a) < rank(b);
  });
  if (options.json) {
    Json array = Json::array();
    for (const TuningRecord& record : records) {
      array.push_back(Json::parse(record_to_line(record)));
    }
    print_json(array);
    return {};
  }
  for (size_t i = 0; i < records.size();) {
    std::printf("%s\non %s\n", records[i].problem.c_str(), records[i].device.c_str());
    std::vector<std::vector<std::string>> rows;
    size_t first = i;
    for (; i < records.size() && records[i].problem == records[first].problem &&
           records[i].device == records[first].device;
         ++i) {
      rows.push_back({"  " + show_us(records[i]), show_way(records[i]), show_verdict(records[i])});
    }
    std::printf("%s", format_table(rows).c_str());
  }
  return {};
}

Run setup(CLI::App& app) {
  auto options = std::make_shared<Options>();
  auto what = std::make_shared<Status (*)(const Options&)>(nullptr);
  app.require_subcommand(1);
  auto add = [&](const std::string& name, const std::string& summary,
                 Status (*run)(const Options&)) {
    CLI::App* sub = app.add_subcommand(name, summary);
    sub->add_flag("--json", options->json, "Print JSON");
    sub->callback([what, run] { *what = run; });
    return sub;
  };
  CLI::App* list_app = add("list", "Every measurement", list);
  CLI::App* merge_app = add("merge", "One database of several; the last file wins", merge);
  CLI::App* prior_app =
      add("prior", "Of several databases the fastest way to do each problem on a GPU", prior);
  CLI::App* explain_app = add("explain", "Why a problem is carried out as it is", explain);
  for (CLI::App* sub : {list_app, explain_app}) {
    sub->add_option("--tuning-db", options->database,
                    "File of measured times; tuning.jsonl in ~/.cache/redline");
    sub->add_option("--shipped", options->shipped,
                    "Instead, what builds for GPUs elsewhere take: of an architecture, sm_90a")
        ->excludes("--tuning-db");
  }
  for (CLI::App* sub : {merge_app, prior_app}) {
    sub->add_option("output", options->output, "File to write")->required();
    sub->add_option("inputs", options->inputs, "Files to read")->required();
  }
  prior_app->add_option("--arch", options->arch, "The GPUs' architecture: sm_90a")->required();
  explain_app->add_option("key", options->key, "Part of the printed problem")->required();
  return [options, what] { return (*what)(*options); };
}

}  // namespace

void register_verb_tune(VerbTable& table) {
  table.add({"tune", "Look at and merge tuning databases",
             "redline tune explain 'conv(f32[1,56,56,64]'", setup});
}

}  // namespace redline::cli
