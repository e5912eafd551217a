// SPDX-License-Identifier: Apache-2.0
#include "base/nvtx.h"

#include <dlfcn.h>

#include <array>
#include <cstdlib>
#include <map>
#include <mutex>

namespace redline {
namespace {

using namespace nvtx;  // NOLINT: the types of the interface

// Where tools write their functions. The interface passes no pointer of ours through, so there is
// one of it.
struct Tables {
  std::array<std::array<Function, 16>, kModules> functions = {};
  std::array<std::array<Function*, 16>, kModules> entries = {};
  Tables() {
    for (size_t m = 0; m < kModules; ++m) {
      for (size_t f = 1; f < kTableSizes[m]; ++f) entries[m][f] = &functions[m][f];
    }
  }
};
Tables& tables() {
  static Tables all;
  return all;
}

int get_table(Module module, Function*** table, unsigned int* size) {
  if (module <= 0 || module >= kModules) return 0;
  if (size != nullptr) *size = kTableSizes[module];
  if (table != nullptr) *table = tables().entries[static_cast<size_t>(module)].data();
  return 1;
}

const void* get_export_table(uint32_t table) {
  static const Callbacks callbacks = {sizeof(Callbacks), get_table};
  static const VersionInfo version = {sizeof(VersionInfo), kVersion, 0, [](uint32_t) {}};
  if (table == kCallbacksTable) return &callbacks;
  return table == kVersionTable ? &version : nullptr;
}

template <class Type>
Type function(DomainFunction which) {
  return reinterpret_cast<Type>(tables().functions[kDomains][which]);
}

}  // namespace

const Nvtx* Nvtx::attach() {
  const char* file = std::getenv(kLibraryVariable);
  if (file == nullptr || *file == '\0') return nullptr;
  // Never closed: its functions are called until the process ends.
  void* library = dlopen(file, RTLD_LAZY);
  if (library == nullptr) return nullptr;
  auto attach_to = reinterpret_cast<Attach>(dlsym(library, kAttachFunction));
  if (attach_to == nullptr || attach_to(get_export_table) == 0) return nullptr;
  static Nvtx tool;
  tool.push_ = function<RangePush>(kDomainRangePush);
  tool.pop_ = function<RangePop>(kDomainRangePop);
  tool.register_ = function<RegisterString>(kDomainRegisterString);
  if (tool.push_ == nullptr || tool.pop_ == nullptr) return nullptr;
  if (auto create = function<CreateDomain>(kDomainCreate)) tool.domain_ = create("redline");
  return &tool;
}

const Nvtx* Nvtx::attached() {
  static const Nvtx* const tool = attach();
  return tool;
}

Nvtx::Name Nvtx::name(const std::string& text) const {
  // Tools never forget a string, and many sessions have the same.
  static std::mutex mutex;
  static auto& known = *new std::map<std::string, StringHandle>();
  if (register_ == nullptr) return {nullptr, text.c_str()};
  std::lock_guard lock(mutex);
  auto [entry, fresh] = known.emplace(text, nullptr);
  if (fresh) entry->second = register_(domain_, text.c_str());
  return {entry->second, text.c_str()};
}

void Nvtx::push(const Name& name) const {
  EventAttributes event;
  event.message_type = name.handle != nullptr ? kRegisteredMessage : kTextMessage;
  event.message = name.handle != nullptr ? static_cast<const void*>(name.handle) : name.text;
  push_(domain_, &event);
}

void Nvtx::pop() const { pop_(domain_); }

}  // namespace redline
