// SPDX-License-Identifier: Apache-2.0
#include "base/mmap_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "base/file_io.h"

namespace redline {

MmapFile::MmapFile(std::span<const std::byte> bytes, std::string path)
    : bytes_(bytes), path_(std::move(path)) {}

MmapFile::~MmapFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

Result<std::shared_ptr<const MmapFile>> MmapFile::open(const std::string& path) {
  // O_NONBLOCK so that a pipe without a writer is refused below instead of waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return errno_status("cannot open '" + path + "'", errno);
  auto file = map_descriptor(fd, path);
  ::close(fd);
  return file;
}

Result<std::shared_ptr<const MmapFile>> MmapFile::map_descriptor(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return errno_status("cannot stat '" + path + "'", errno);
  if (S_ISDIR(info.st_mode)) return io_error("cannot read '", path, "': it is a directory");
  if (!S_ISREG(info.st_mode)) return io_error("cannot map '", path, "': it is not a regular file");
  if (info.st_size < 0 || static_cast<uint64_t>(info.st_size) > SIZE_MAX / 2) {
    return io_error("cannot map '", path, "': ", info.st_size, " bytes do not fit memory");
  }
  std::span<const std::byte> bytes;
  if (const auto size = static_cast<size_t>(info.st_size); size > 0) {
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return errno_status("cannot map '" + path + "'", errno);
    bytes = {static_cast<const std::byte*>(data), size};
  }
  return std::shared_ptr<const MmapFile>(new MmapFile(bytes, path));
}

}  // namespace redline
