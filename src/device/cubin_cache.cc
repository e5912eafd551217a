// SPDX-License-Identifier: Apache-2.0
#include "device/cubin_cache.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/file_io.h"
#include "base/hash.h"
#include "base/user_cache.h"

namespace redline::cuda {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[8] = {'R', 'L', 'C', 'U', 'B', 'I', 'N', '1'};

struct Header {
  char magic[8];
  uint64_t checksum;  // of what follows the checksum
  int32_t registers;
  int32_t static_shared_bytes;
  int32_t stack_bytes;
  int32_t spill_bytes;
};

uint64_t checksum_of(std::span<const std::byte> file) {
  return hash64(file.subspan(offsetof(Header, registers)));
}

}  // namespace

std::string CubinCache::default_folder() {
  std::string cache = user_cache_folder();
  return cache.empty() ? "" : cache + "/cubins";
}

std::string CubinCache::key(const KernelSource& source, const std::string& compiler_version) {
  // Kernels cached before the option have no statistics.
  std::string text =
      str_cat("nvrtc --no-cache ", compiler_version, "\n", source.arch, "\n", source.entry);
  for (const std::string& option : source.options) text += "\n" + option;
  return hash128(text + "\n\n" + source.text).to_hex();
}

std::string CubinCache::path_of(const std::string& key) const {
  return folder_ + "/" + key.substr(0, 2) + "/" + key + ".cubin";
}

std::optional<CompiledKernel> CubinCache::find(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  std::string path = path_of(key);
  Result<std::vector<std::byte>> file = read_file(path, 256u << 20);
  if (!file.ok()) return std::nullopt;
  Header header;
  bool good = file->size() > sizeof header;
  if (good) {
    std::memcpy(&header, file->data(), sizeof header);
    good = std::memcmp(header.magic, kMagic, sizeof kMagic) == 0 &&
           header.checksum == checksum_of(*file);
  }
  std::error_code error;
  if (!good) {
    logger_.warning("the cached kernel ", path, " is damaged; compiling it again");
    fs::remove(path, error);
    return std::nullopt;
  }
  fs::last_write_time(path, fs::file_time_type::clock::now(), error);  // for prune()
  CompiledKernel kernel;
  kernel.registers = header.registers;
  kernel.static_shared_bytes = header.static_shared_bytes;
  kernel.stack_bytes = header.stack_bytes;
  kernel.spill_bytes = header.spill_bytes;
  kernel.cubin.assign(file->begin() + sizeof header, file->end());
  return kernel;
}

void CubinCache::put(const std::string& key, const CompiledKernel& kernel) const {
  if (folder_.empty()) return;
  Header header = {
      {}, 0, kernel.registers, kernel.static_shared_bytes, kernel.stack_bytes, kernel.spill_bytes};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  std::vector<std::byte> file(sizeof header + kernel.cubin.size());
  std::memcpy(file.data(), &header, sizeof header);
  std::copy(kernel.cubin.begin(), kernel.cubin.end(), file.begin() + sizeof header);
  header.checksum = checksum_of(file);
  std::memcpy(file.data(), &header, sizeof header);
  std::string path = path_of(key);
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  Status written = write_file(path, file, Sync::kNo);
  if (written.ok()) {
    done_->has_kept = true;
  } else if (!done_->has_failed.exchange(true)) {
    logger_.warning("kernels are not cached, every build compiles them again: ", written.message());
  }
}

Result<CompiledKernel> CubinCache::get(const Nvrtc& nvrtc, const KernelSource& source) const {
  std::string name = key(source, nvrtc.version());
  if (std::optional<CompiledKernel> kept = find(name)) return *std::move(kept);
  REDLINE_ASSIGN(CompiledKernel kernel, nvrtc.compile(source));
  put(name, kernel);
  return kernel;
}

CubinCache::~CubinCache() {
  // Null: it was moved from.
  if (done_ != nullptr && done_.use_count() == 1 && done_->has_kept) prune();
}

size_t CubinCache::prune() const {
  struct File {
    fs::path path;
    fs::file_time_type used;
    uint64_t bytes;
  };
  std::vector<File> files;
  uint64_t total = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder_, error), end; !error && it != end;
       it.increment(error)) {
    std::error_code ignored;
    if (!it->is_regular_file(ignored)) continue;
    files.push_back({it->path(), it->last_write_time(ignored), it->file_size(ignored)});
    total += files.back().bytes;
  }
  std::sort(files.begin(), files.end(),
            [](const File& a, const File& b) { return a.used < b.used; });
  size_t removed = 0;
  for (const File& file : files) {
    if (total <= max_bytes_) break;
    if (fs::remove(file.path, error)) ++removed;
    total -= file.bytes;
  }
  return removed;
}

}  // namespace redline::cuda
