// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"

namespace redline {

// A file mapped read-only, unmapped when the last owner goes. Owned by shared_ptr because tensors
// and engines point into it. Immutable and thread-safe. As with any mapping, a file that another
// process truncates while it is mapped kills the reader; replace files by rename (AtomicFile does).
class MmapFile {
 public:
  // io_error (not_found when there is no such file) naming the path; a directory, pipe or device is
  // refused. An empty file gives an empty span.
  static Result<std::shared_ptr<const MmapFile>> open(const std::string& path);
  // Maps an open descriptor, which stays the caller's; `path` is for messages only.
  static Result<std::shared_ptr<const MmapFile>> map_descriptor(int fd, const std::string& path);

  ~MmapFile();
  MmapFile(const MmapFile&) = delete;
  MmapFile& operator=(const MmapFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  MmapFile(std::span<const std::byte> bytes, std::string path);

  std::span<const std::byte> bytes_;
  std::string path_;
};

}  // namespace redline
