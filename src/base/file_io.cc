// SPDX-License-Identifier: Apache-2.0
#include "base/file_io.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

namespace redline {
namespace {

// Linux moves at most about 2 GiB a call; asking for less keeps the loop's steps aligned.
constexpr size_t kMaxTransfer = size_t{1} << 30;

Status write_all(int fd, std::span<const std::byte> bytes, int64_t offset, std::string_view path) {
  while (!bytes.empty()) {
    const size_t part = std::min(bytes.size(), kMaxTransfer);
    const ssize_t done =
        offset < 0 ? ::write(fd, bytes.data(), part) : ::pwrite(fd, bytes.data(), part, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return errno_status(str_cat("cannot write '", path, "'"), errno);
    bytes = bytes.subspan(static_cast<size_t>(done));
    if (offset >= 0) offset += done;
  }
  return {};
}

template <class Container>
Status read_into(const std::string& path, size_t max_bytes, Container& out) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_status(str_cat("cannot open '", path, "'"), errno);
  struct stat info {};
  size_t expected = 0;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode))
    expected = static_cast<size_t>(info.st_size);
  Status status;
  size_t size = 0;
  // One byte more than expected, so that the end is seen without growing.
  if (expected <= max_bytes) out.resize(expected + 1);
  while (true) {
    if (expected > max_bytes || size > max_bytes) {
      status = io_error("cannot read '", path, "': it is larger than ", max_bytes, " bytes");
      break;
    }
    if (size == out.size()) out.resize(size + std::max<size_t>(size / 2, 4096));
    const ssize_t done = ::read(fd, out.data() + size, std::min(out.size() - size, kMaxTransfer));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      status = errno_status(str_cat("cannot read '", path, "'"), errno);
      break;
    }
    if (done == 0) break;
    size += static_cast<size_t>(done);
  }
  ::close(fd);
  out.resize(status.ok() ? size : 0);
  return status;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

Status errno_status(std::string_view what, int error) {
  const std::string text = std::generic_category().message(error);
  switch (error) {
    case ENOENT:
      return not_found(what, ": ", text);
    case ENOMEM:
      return out_of_memory(what, ": ", text);
    case ENOSPC:
    case EDQUOT:
      return io_error(what, ": the disk is full (", text, ")");
    default:
      return io_error(what, ": ", text);
  }
}

Result<std::vector<std::byte>> read_file(const std::string& path, size_t max_bytes) {
  std::vector<std::byte> out;
  REDLINE_TRY(read_into(path, max_bytes, out));
  return out;
}

Result<std::string> read_text_file(const std::string& path, size_t max_bytes) {
  std::string out;
  REDLINE_TRY(read_into(path, max_bytes, out));
  return out;
}

AtomicFile::AtomicFile(int fd, std::string path, std::string temporary)
    : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      path_(std::move(other.path_)),
      temporary_(std::exchange(other.temporary_, {})),
      size_(other.size_) {}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<AtomicFile> AtomicFile::create(const std::string& path) {
  const std::string what = str_cat("cannot write '", path, "'");
  std::string target = path;
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return io_error(what, ": it is a directory");
    if (!S_ISREG(info.st_mode)) {
      const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
      if (fd < 0) return errno_status(what, errno);
      return AtomicFile(fd, path, "");
    }
    if (char* resolved = ::realpath(path.c_str(), nullptr)) {
      target = resolved;
      std::free(resolved);
    }
    // A rename would replace a file that the user made read-only.
    if (::access(target.c_str(), W_OK) != 0) return errno_status(what, errno);
  } else if (errno != ENOENT) {
    return errno_status(what, errno);
  }
  // Not mkstemp: that makes the file private whatever the umask says.
  for (int attempt = 0; attempt < 16; ++attempt) {
    uint64_t token = 0;
    if (::getrandom(&token, sizeof token, 0) != sizeof token) return errno_status(what, errno);
    std::array<char, 40> name{};
    std::snprintf(name.data(), name.size(), "/.redline-%016llx.tmp",
                  static_cast<unsigned long long>(token));
    const std::string temporary = folder_of(target) + name.data();
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) return AtomicFile(fd, target, temporary);
    if (errno != EEXIST) return errno_status(what, errno);
  }
  return io_error(what, ": no free temporary name in its folder");
}

Status AtomicFile::write(std::span<const std::byte> bytes) {
  REDLINE_TRY(write_all(fd_, bytes, -1, path_));
  size_ += bytes.size();
  return {};
}

Status AtomicFile::write(std::string_view text) { return write(std::as_bytes(std::span(text))); }

Status AtomicFile::align(size_t alignment) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  REDLINE_ASSERT(alignment > 0 && alignment <= kZeros.size());
  const size_t excess = size_ % alignment;
  return excess == 0 ? Status() : write(std::span(kZeros).first(alignment - excess));
}

Status AtomicFile::overwrite(uint64_t offset, std::span<const std::byte> bytes) {
  REDLINE_ASSERT(offset <= size_ && bytes.size() <= size_ - offset);
  return write_all(fd_, bytes, static_cast<int64_t>(offset), path_);
}

Status AtomicFile::commit(Sync sync) {
  REDLINE_ASSERT(fd_ >= 0);
  const std::string what = str_cat("cannot write '", path_, "'");
  const bool direct = temporary_.empty();
  const bool synced = !direct && sync == Sync::kYes;
  const int sync_error = !synced || ::fsync(fd_) == 0 ? 0 : errno;
  const int close_error = ::close(std::exchange(fd_, -1)) == 0 ? 0 : errno;
  if (sync_error != 0) return errno_status(what, sync_error);
  if (close_error != 0) return errno_status(what, close_error);
  if (direct) return {};
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return errno_status(what, errno);
  temporary_.clear();
  if (!synced) return {};
  // Makes the rename itself durable. The content is whole either way, so a file system that cannot
  // sync a folder is no error.
  if (const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
      folder >= 0) {
    (void)::fsync(folder);
    ::close(folder);
  }
  return {};
}

Status write_file(const std::string& path, std::span<const std::byte> bytes, Sync sync) {
  REDLINE_ASSIGN(AtomicFile file, AtomicFile::create(path));
  REDLINE_TRY(file.write(bytes));
  return file.commit(sync);
}

Status write_file(const std::string& path, std::string_view text) {
  return write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace redline
