// SPDX-License-Identifier: Apache-2.0
#include "base/own_path.h"

#include <dlfcn.h>
#include <unistd.h>

namespace redline {

std::string own_path() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&own_path), &info) == 0 || info.dli_fname == nullptr) {
    return {};
  }
  std::string path = info.dli_fname;
  // An executable's dli_fname is its argv[0], which need not be a path.
  if (path.find('/') != std::string::npos && ::access(path.c_str(), R_OK) == 0) return path;
  char target[4096];
  ssize_t length = ::readlink("/proc/self/exe", target, sizeof target);
  if (length <= 0 || length == sizeof target) return {};
  return std::string(target, static_cast<size_t>(length));
}

}  // namespace redline
