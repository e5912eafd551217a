// SPDX-License-Identifier: Apache-2.0
#include "device/find_library.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <filesystem>

#include "base/own_path.h"

namespace redline::cuda {
namespace {

std::string own_directory() {
  std::error_code error;
  std::filesystem::path path = std::filesystem::canonical(own_path(), error);
  return error ? "." : path.parent_path().string();
}

}  // namespace

std::vector<std::string> places_of(const ToolkitLibrary& library) {
  if (const char* file = std::getenv(library.variable); file && *file) return {file};
  const std::string own = own_directory();
  std::vector<std::string> files;
  auto add = [&](const std::string& folder) {
    for (const char* name : library.names) files.push_back(folder + "/" + name);
  };
  for (const std::string& folder : {own, own + "/../lib"}) add(folder);
  for (const char* name : library.names) files.emplace_back(name);  // the loader's own search
  auto add_toolkit = [&](const std::string& home) {
    for (const char* folder : library.in_toolkit) add(home + "/" + folder);
  };
  if (const char* home = std::getenv("CUDA_HOME"); home && *home) add_toolkit(home);
  add_toolkit("/usr/local/cuda");
  for (const char* wheel : library.in_wheels) add(own + "/../" + wheel);
  return files;
}

Result<void*> open_library(const ToolkitLibrary& library, std::string_view missing) {
  std::string tried;
  for (const std::string& file : places_of(library)) {
    if (void* opened = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) return opened;
    tried += (tried.empty() ? "" : ", ") + file;
  }
  return not_found(missing, " (tried ", tried, ")");
}

std::string file_of(void* library) {
  link_map* map = nullptr;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 ? map->l_name : "the library";
}

}  // namespace redline::cuda
