// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/onednn_module.h"

#include <dlfcn.h>
#include <unistd.h>

#include <map>
#include <mutex>

#include "base/own_path.h"

namespace redline::kernels::onednn {
namespace {

constexpr const char* kFileName = "libredline_onednn.so";

bool readable(const std::string& path) { return ::access(path.c_str(), R_OK) == 0; }

Result<std::string> find_module(const std::string& directory) {
  if (!directory.empty()) {
    std::string path = directory + "/" + kFileName;
    if (readable(path)) return path;
    return not_found("no oneDNN module at ", path);
  }
  const std::string file = own_path();
  const std::string own = file.empty() ? "." : file.substr(0, file.rfind('/'));
  for (const char* place : {"/", "/../lib/"}) {
    std::string path = own + place + kFileName;
    if (readable(path)) return path;
  }
  return not_found("no oneDNN module ", kFileName, " in ", own, " nor in ", own,
                   "/../lib: it is built when libdnnl-dev is installed, and is part of the larger "
                   "bundle");
}

Result<const Api*> open_module(const std::string& path) {
  // Never closed: libgomp's threads outlive any use of the module.
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (module == nullptr) {
    const char* why = dlerror();
    return not_found("cannot load the oneDNN module: ", why ? why : path.c_str(),
                     "; it needs libdnnl2 and libgomp1");
  }
  using Entry = const Api* (*)(int32_t);
  auto entry = reinterpret_cast<Entry>(dlsym(module, "redline_onednn_api"));
  if (entry == nullptr) {
    return incompatible(path, " is not an oneDNN module of Redline: it has no redline_onednn_api");
  }
  const Api* api = entry(kApiVersion);
  if (api == nullptr || api->api_version != kApiVersion ||
      api->struct_bytes != static_cast<int32_t>(sizeof(Api))) {
    return incompatible(path, " speaks another version of the module interface than ", kApiVersion,
                        "; install the one that was built with this library");
  }
  return api;
}

}  // namespace

Result<const Api*> load(const std::string& directory) {
  static std::mutex mutex;
  static std::map<std::string, const Api*> loaded;
  std::lock_guard lock(mutex);
  if (auto found = loaded.find(directory); found != loaded.end()) return found->second;

  REDLINE_ASSIGN(std::string path, find_module(directory));
  REDLINE_ASSIGN(const Api* api, open_module(path));
  loaded.emplace(directory, api);
  return api;
}

Status to_status(Code code, const Error& error) {
  switch (code) {
    case Code::kOk:
      return {};
    case Code::kInvalidArgument:
      return {StatusCode::kInvalidArgument, error.text};
    case Code::kUnsupported:
      return {StatusCode::kUnsupported, error.text};
    case Code::kOutOfMemory:
      return {StatusCode::kOutOfMemory, error.text};
    case Code::kInternal:
      break;
  }
  return {StatusCode::kInternal, error.text};
}

}  // namespace redline::kernels::onednn
