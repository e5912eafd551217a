// SPDX-License-Identifier: Apache-2.0
// A profiler that NVTX attaches: it writes down the ranges of our domain, one event a line: "+name"
// and "-". Handles of its strings are the addresses of copies.
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "base/nvtx_api.h"

namespace {

using namespace redline::nvtx;  // NOLINT: the types of the interface

struct State {
  std::mutex mutex;
  std::string domain;
  std::set<std::string> strings;
  std::string events;
  std::string taken;
};
State& state() {
  static State all;
  return all;
}

DomainHandle create_domain(const char* name) {
  state().domain = name;
  return reinterpret_cast<DomainHandle>(&state().domain);
}

StringHandle register_string(DomainHandle, const char* text) {
  std::lock_guard lock(state().mutex);
  const std::string& kept = *state().strings.emplace(text).first;
  return reinterpret_cast<StringHandle>(const_cast<char*>(kept.c_str()));
}

int push(DomainHandle domain, const EventAttributes* event) {
  std::lock_guard lock(state().mutex);
  bool whole = event->version == kVersion && event->size == 48;
  bool ours = domain == reinterpret_cast<DomainHandle>(&state().domain);
  bool registered = event->message_type == kRegisteredMessage;
  if (!whole || !ours || !registered) return -1;
  state().events += "+" + std::string(static_cast<const char*>(event->message)) + "\n";
  return 0;
}

int pop(DomainHandle) {
  std::lock_guard lock(state().mutex);
  state().events += "-\n";
  return 0;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(
    GetExportTable get_table) {
  const auto* callbacks = static_cast<const Callbacks*>(get_table(kCallbacksTable));
  const auto* version = static_cast<const VersionInfo*>(get_table(kVersionTable));
  if (callbacks == nullptr || version == nullptr || version->version != kVersion) return 0;
  // As tools do, each module's table is asked for.
  for (int module = 1; module < kModules; ++module) {
    Function** table = nullptr;
    unsigned int size = 0;
    if (callbacks->get_module_function_table(static_cast<Module>(module), &table, &size) == 0) {
      return 0;
    }
    for (unsigned int f = 1; f < size; ++f) *table[f] = nullptr;
    if (module != kDomains) continue;
    *table[kDomainCreate] = reinterpret_cast<Function>(create_domain);
    *table[kDomainRegisterString] = reinterpret_cast<Function>(register_string);
    *table[kDomainRangePush] = reinterpret_cast<Function>(push);
    *table[kDomainRangePop] = reinterpret_cast<Function>(pop);
  }
  return 1;
}

// The events since this was called last.
extern "C" __attribute__((visibility("default"))) const char* take_events() {
  std::lock_guard lock(state().mutex);
  state().taken = std::exchange(state().events, {});
  return state().taken.c_str();
}
