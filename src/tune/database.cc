// SPDX-License-Identifier: Apache-2.0
#include "tune/database.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file_io.h"
#include "base/user_cache.h"

namespace redline {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = size_t{256} << 20;
constexpr size_t kMaxLineBytes = 1 << 20;
constexpr std::string_view kNoteBegins = "{\"note\":";

std::string key_of(const std::string& problem, const std::string& device, const std::string& tactic,
                   const std::string& config) {
  return problem + "\n" + device + "\n" + tactic + "\n" + config;
}

// Reading from a pipe that nobody writes to would not end.
Result<std::string> read_regular_file(const std::string& path) {
  struct stat info = {};
  bool is_there = stat(path.c_str(), &info) == 0;
  if (is_there && !S_ISREG(info.st_mode)) return io_error(path, ": not a file");
  return read_text_file(path, kMaxFileBytes);
}

bool read_text(const json& object, const char* name, std::string& text) {
  auto it = object.find(name);
  if (it == object.end() || !it->is_string()) return false;
  text = it->get<std::string>();
  return true;
}

bool read_number(const json& object, const char* name, double& number) {
  auto it = object.find(name);
  if (it == object.end()) return true;
  if (!it->is_number()) return false;
  number = it->get<double>();
  return std::isfinite(number) && number >= 0;
}

}  // namespace

std::string config_to_string(const Config& config) {
  std::string text;
  for (const NamedAttr& knob : config) {
    text += str_cat(text.empty() ? "" : ", ", knob.name, "=", attr_to_string(knob.value));
  }
  return text;
}

std::string record_to_line(const TuningRecord& record) {
  nlohmann::ordered_json object = {
      {"problem", record.problem}, {"device", record.device},
      {"tactic", record.tactic},   {"config", record.config},
      {"us", record.us},           {"verdict", verdict_name(record.verdict)}};
  if (std::isfinite(record.error)) object["error"] = record.error;
  if (!record.reason.empty()) object["reason"] = record.reason;
  if (record.best_in_whole) object["best_in_whole"] = true;
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<TuningRecord> record_from_line(std::string_view line) {
  if (line.size() > kMaxLineBytes) return invalid_argument("a line of ", line.size(), " bytes");
  json object = json::parse(line.begin(), line.end(), nullptr, false);
  if (!object.is_object()) return invalid_argument("no JSON object");
  TuningRecord record;
  std::string verdict;
  for (auto [name, field] : {std::pair("problem", &record.problem),
                             {"device", &record.device},
                             {"tactic", &record.tactic},
                             {"config", &record.config},
                             {"verdict", &verdict}}) {
    if (!read_text(object, name, *field)) return invalid_argument("no text '", name, "'");
  }
  if (!read_number(object, "us", record.us) || !read_number(object, "error", record.error)) {
    return invalid_argument("a time or error that is no number");
  }
  std::optional<Verdict> parsed = parse_verdict(verdict);
  if (!parsed) return invalid_argument("an unknown verdict");
  record.verdict = *parsed;
  read_text(object, "reason", record.reason);
  auto whole = object.find("best_in_whole");
  record.best_in_whole = whole != object.end() && *whole == true;
  return record;
}

std::string note_to_line(const std::string& key, const std::string& text) {
  nlohmann::ordered_json object = {{"note", key}, {"text", text}};
  return object.dump(-1, ' ', false, json::error_handler_t::replace);
}

TuningDatabase::TuningDatabase(std::string path, Logger logger)
    : path_(std::move(path)), logger_(std::move(logger)) {
  if (!path_.empty()) read();
}

TuningDatabase::~TuningDatabase() {
  if (fd_ >= 0) close(fd_);
}

void TuningDatabase::read() {
  Result<std::string> text = read_regular_file(path_);
  if (!text.ok()) {
    if (text.status().code() != StatusCode::kNotFound) {
      read_status_ = text.status();
      logger_.warning("tuning database is not read: ", text.status().message());
    }
    return;
  }
  std::string first_problem;
  size_t number = 0;
  for (size_t at = 0; at < text->size();) {
    size_t end = std::min(text->find('\n', at), text->size());
    std::string_view line(text->data() + at, end - at);
    at = end + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (line.starts_with(kNoteBegins) && read_note(line)) continue;
    Result<TuningRecord> record = record_from_line(line);
    if (record.ok()) {
      remember(*std::move(record));
      continue;
    }
    if (skipped_++ == 0) first_problem = str_cat("line ", number, ": ", record.status().message());
  }
  if (skipped_ > 0) {
    logger_.warning("tuning database ", path_, ": ", skipped_, " lines skipped, the first is ",
                    first_problem);
  }
}

void TuningDatabase::add_default(const TuningRecord& record) {
  remember(record, /*replace=*/false);
}

void TuningDatabase::remember(TuningRecord record, bool replace) {
  std::string key = key_of(record.problem, record.device, record.tactic, record.config);
  auto [it, inserted] = index_.emplace(std::move(key), records_.size());
  if (inserted) {
    records_.push_back(std::move(record));
  } else if (replace) {
    TuningRecord& known = records_[it->second];
    record.best_in_whole |= known.best_in_whole;  // timing it again does not tell
    known = std::move(record);
  }
}

const TuningRecord* TuningDatabase::find(const std::string& problem, const std::string& device,
                                         const std::string& tactic,
                                         const std::string& config) const {
  auto it = index_.find(key_of(problem, device, tactic, config));
  return it == index_.end() ? nullptr : &records_[it->second];
}

Status TuningDatabase::open_for_append() {
  std::error_code ignored;  // open() tells
  std::filesystem::path folder = std::filesystem::path(path_).parent_path();
  if (!folder.empty()) std::filesystem::create_directories(folder, ignored);
  fd_ = open(path_.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) return errno_status(path_, errno);
  struct stat info = {};
  if (fstat(fd_, &info) != 0 || !S_ISREG(info.st_mode)) return io_error(path_, ": not a file");
  return {};
}

const std::string* TuningDatabase::find_note(const std::string& key) const {
  auto it = notes_.find(key);
  return it == notes_.end() ? nullptr : &it->second;
}

bool TuningDatabase::read_note(std::string_view line) {
  if (line.size() > kMaxLineBytes) return false;
  json object = json::parse(line.begin(), line.end(), nullptr, false);
  std::string key;
  std::string text;
  if (!object.is_object() || !read_text(object, "note", key) || !read_text(object, "text", text)) {
    return false;
  }
  notes_[std::move(key)] = std::move(text);
  return true;
}

void TuningDatabase::add(const TuningRecord& record) {
  remember(record);
  append(record_to_line(record));
}

void TuningDatabase::add_note(const std::string& key, const std::string& text) {
  std::string line = note_to_line(key, text);
  if (line.size() > kMaxLineBytes) return;
  notes_[key] = text;
  append(std::move(line));
}

void TuningDatabase::append(std::string line) {
  if (path_.empty() || broken_) return;
  Status status = fd_ >= 0 ? Status() : open_for_append();
  if (status.ok()) {
    line += "\n";
    // A writer that died may have left a line without its end.
    char last = '\n';
    struct stat info = {};
    bool cut = fstat(fd_, &info) == 0 && info.st_size > 0 &&
               pread(fd_, &last, 1, info.st_size - 1) == 1 && last != '\n';
    if (cut) line.insert(line.begin(), '\n');
    ssize_t written = write(fd_, line.data(), line.size());
    if (written < 0) status = errno_status(path_, errno);
    if (written >= 0 && written < static_cast<ssize_t>(line.size())) {
      status = io_error(path_, ": the disk is full");
    }
  }
  if (status.ok()) return;
  broken_ = true;
  logger_.warning("tuning results are not kept: ", status.message());
}

std::string default_tuning_database() {
  std::string cache = user_cache_folder();
  return cache.empty() ? "" : cache + "/tuning.jsonl";
}

}  // namespace redline
