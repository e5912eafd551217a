// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/file_io.h"
#include "onnx/tensor_reader.h"

namespace redline {
namespace {

Result<std::string> resolve(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr),
                                                             &std::free);
  if (resolved == nullptr) return errno_status(str_cat("cannot open '", path, "'"), errno);
  return std::string(resolved.get());
}

// `folder` is resolved; "/" is the only one that ends in a slash.
bool is_inside(std::string_view path, std::string_view folder) {
  if (!path.starts_with(folder) || path.size() == folder.size()) return false;
  return folder.ends_with('/') || path[folder.size()] == '/';
}

Status check_location(std::string_view location) {
  const auto refuse = [&](std::string_view reason) {
    return invalid_argument("external data '", location, "' ", reason,
                            "; expected a path inside the model's folder");
  };
  if (location.empty()) return invalid_argument("external data without a location");
  if (location.find('\0') != std::string_view::npos) return refuse("has a zero byte in its name");
  if (location.front() == '/') return refuse("is an absolute path");
  for (size_t begin = 0; begin <= location.size();) {
    const size_t end = std::min(location.find('/', begin), location.size());
    if (location.substr(begin, end - begin) == "..") return refuse("has '..' in its path");
    begin = end + 1;
  }
  return {};
}

}  // namespace

Result<OnnxExternalData> OnnxExternalData::beside(const std::string& model_path) {
  const size_t slash = model_path.rfind('/');
  OnnxExternalData data;
  REDLINE_ASSIGN(data.folder_, resolve(slash == std::string::npos ? "."
                                       : slash == 0               ? "/"
                                                                  : model_path.substr(0, slash)));
  return data;
}

Result<std::shared_ptr<const MmapFile>> OnnxExternalData::open(std::string_view location) {
  if (const auto known = files_.find(location); known != files_.end()) return known->second;
  REDLINE_TRY(check_location(location));
  if (folder_.empty()) {
    return invalid_argument("external data '", location,
                            "', but the model was not read from a file in a folder");
  }
  REDLINE_ASSIGN(const std::string path, resolve(str_cat(folder_, "/", location)));
  const auto left = [&] {
    return invalid_argument("external data '", location, "' leads out of the model's folder to '",
                            path, "'; expected a file inside '", folder_, "'");
  };
  if (!is_inside(path, folder_)) return left();
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return errno_status(str_cat("cannot open '", path, "'"), errno);
  // The path may have been swapped for a link since it was resolved; the descriptor tells.
  std::array<char, PATH_MAX> opened;
  const ssize_t size =
      ::readlink(str_cat("/proc/self/fd/", fd).c_str(), opened.data(), opened.size());
  auto file = size > 0 && !is_inside({opened.data(), static_cast<size_t>(size)}, folder_)
                  ? Result<std::shared_ptr<const MmapFile>>(left())
                  : MmapFile::map_descriptor(fd, path);
  ::close(fd);
  if (file.ok()) files_.emplace(location, *file);
  return file;
}

}  // namespace redline
