// SPDX-License-Identifier: Apache-2.0
#include "spills.h"

#include <algorithm>
#include <charconv>
#include <fstream>

namespace redline {
namespace {

constexpr std::string_view kCompilerLine = "# NVRTC ";
constexpr std::string_view kSerialised = "serialised";

int parse_bytes(std::string_view word) {
  if (word == kSerialised) return Spill::kSerialised;
  int bytes = 0;
  std::from_chars(word.data(), word.data() + word.size(), bytes);
  return bytes;
}

std::string in_words(int bytes) {
  return bytes == Spill::kSerialised ? std::string(kSerialised) : str_cat("spills ", bytes);
}

}  // namespace

Result<SpillList> SpillList::read(const std::string& path) {
  SpillList list;
  list.path_ = path;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kCompilerLine)) list.compiler_ = line.substr(kCompilerLine.size());
    if (line.empty() || line[0] == '#') continue;
    size_t space = line.find(' ');
    size_t second = line.find(' ', space + 1);
    int bytes = 0;
    if (second != std::string::npos) {
      bytes = parse_bytes(std::string_view(line).substr(space + 1, second - space - 1));
    }
    if (bytes == 0 || bytes < Spill::kSerialised)
      return invalid_argument(path, ": not 'ARCH BYTES KERNEL': ", line);
    list.arches_[line.substr(0, space)][line.substr(second + 1)] = bytes;
  }
  if (!file.eof()) return not_found(path, " cannot be read");
  return list;
}

SpillList::Kernels SpillList::by_kernel(const std::vector<Spill>& found) {
  Kernels kernels;
  for (const Spill& spill : found) {
    int& bytes = kernels[spill.kernel];
    if (bytes != Spill::kSerialised) {
      bytes = spill.bytes < 0 ? spill.bytes : std::max(bytes, spill.bytes);
    }
  }
  return kernels;
}

std::string SpillList::difference(const std::string& arch, const std::vector<Spill>& found) const {
  std::string text;
  Kernels kernels = by_kernel(found);
  auto at = arches_.find(arch);
  Kernels listed = at != arches_.end() ? at->second : Kernels();
  for (const auto& [kernel, bytes] : kernels) {
    auto known = listed.find(kernel);
    if (known == listed.end()) {
      text += str_cat(arch, ": ", in_words(bytes), ", and is not listed: ", kernel, "\n");
    } else if (known->second != bytes) {
      text += str_cat(arch, ": ", in_words(bytes), ", but is listed as ", in_words(known->second),
                      ": ", kernel, "\n");
    }
  }
  for (const auto& [kernel, bytes] : listed) {
    if (kernels.contains(kernel)) continue;
    text += str_cat(arch, ": is listed as ", in_words(bytes), ", and is not: ", kernel, "\n");
  }
  return text;
}

Status SpillList::replace(const std::string& arch, const std::string& compiler,
                          const std::vector<Spill>& found) {
  compiler_ = compiler;
  arches_[arch] = by_kernel(found);
  std::ofstream file(path_);
  file << "# Kernels that keep registers in memory, and may: see tests/ops/spills.h.\n"
       << kCompilerLine << compiler_ << "\n";
  for (const auto& [name, kernels] : arches_) {
    for (const auto& [kernel, bytes] : kernels) {
      bool serialised = bytes == Spill::kSerialised;
      file << name << " " << (serialised ? std::string(kSerialised) : std::to_string(bytes)) << " "
           << kernel << "\n";
    }
  }
  return file.flush() ? Status() : io_error(path_, " cannot be written");
}

}  // namespace redline
