// SPDX-License-Identifier: Apache-2.0
#pragma once

// The part of NVTX 3's binary interface between programs and profilers that we use, declared by us
// so that a build needs no toolkit. tests/base checks it against nvtx3's headers where they are.

#include <cstddef>
#include <cstdint>

namespace redline::nvtx {

inline constexpr const char* kLibraryVariable = "NVTX_INJECTION64_PATH";
inline constexpr const char* kAttachFunction = "InitializeInjectionNvtx2";
inline constexpr uint32_t kVersion = 3;

enum ExportTable : uint32_t { kCallbacksTable = 1, kVersionTable = 3 };

// Function tables of a tool, by module. We have functions of kDomains only.
enum Module : int { kDomains = 5, kModules = 7 };
enum DomainFunction : unsigned int {
  kDomainRangePush = 4,
  kDomainRangePop = 5,
  kDomainRegisterString = 10,
  kDomainCreate = 12,
};
// Entries of the tables of all modules; entry 0 is none.
inline constexpr unsigned int kTableSizes[kModules] = {0, 16, 9, 15, 7, 16, 7};

using DomainHandle = struct nvtxDomainRegistration_st*;
using StringHandle = struct nvtxStringRegistration_st*;

enum MessageType : int32_t { kTextMessage = 1, kRegisteredMessage = 3 };
struct EventAttributes {
  uint16_t version = kVersion;
  uint16_t size = sizeof(EventAttributes);
  uint32_t category = 0;
  int32_t color_type = 0;
  uint32_t color = 0;
  int32_t payload_type = 0;
  int32_t reserved = 0;
  uint64_t payload = 0;
  int32_t message_type = 0;
  const void* message = nullptr;
};

using Function = void (*)();
struct Callbacks {
  size_t struct_size;
  // The tool writes its functions to where the table's entries point.
  int (*get_module_function_table)(Module module, Function*** table, unsigned int* size);
};
struct VersionInfo {
  size_t struct_size;
  uint32_t version;
  uint32_t reserved;
  void (*set_injection_version)(uint32_t version);
};
using GetExportTable = const void* (*)(uint32_t table);
using Attach = int (*)(GetExportTable);  // not 0: done

using RangePush = int (*)(DomainHandle, const EventAttributes*);
using RangePop = int (*)(DomainHandle);
using RegisterString = StringHandle (*)(DomainHandle, const char*);
using CreateDomain = DomainHandle (*)(const char* name);

}  // namespace redline::nvtx
