// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace redline {

// "<what>: <text of error>", with the code that fits errno: not_found, out_of_memory or io_error.
Status errno_status(std::string_view what, int error);

// The whole of a file, pipe or device, or an error naming the path. More than `max_bytes` is
// refused.
Result<std::vector<std::byte>> read_file(const std::string& path, size_t max_bytes = SIZE_MAX);
Result<std::string> read_text_file(const std::string& path, size_t max_bytes = SIZE_MAX);

// Whether a file is on the disk when it appears. Without, the machine's sudden end may leave one of
// the right name and size with other bytes: for what has a checksum and can be made again.
enum class Sync : uint8_t { kYes, kNo };

// A file that appears whole or not at all: written under a temporary name in the target's folder,
// synced and renamed by commit(), removed when destroyed before that. A symbolic link is followed,
// so the file it names is replaced; a device or pipe is written directly. One thread.
class AtomicFile {
 public:
  static Result<AtomicFile> create(const std::string& path);

  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  // A full disk is an io_error that says so. After an error only destruction is of use.
  Status write(std::span<const std::byte> bytes);
  Status write(std::string_view text);
  // Writes zeros up to the next multiple of `alignment`.
  Status align(size_t alignment);
  // Replaces bytes already written, e.g. a header once the sizes are known.
  Status overwrite(uint64_t offset, std::span<const std::byte> bytes);
  // Bytes written so far.
  uint64_t size() const { return size_; }
  Status commit(Sync sync = Sync::kYes);

 private:
  AtomicFile(int fd, std::string path, std::string temporary);

  int fd_ = -1;
  std::string path_;
  std::string temporary_;  // empty: written directly
  uint64_t size_ = 0;
};

// Writes a whole file through AtomicFile.
Status write_file(const std::string& path, std::span<const std::byte> bytes,
                  Sync sync = Sync::kYes);
Status write_file(const std::string& path, std::string_view text);

}  // namespace redline
