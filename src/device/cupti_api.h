// SPDX-License-Identifier: Apache-2.0
#pragma once

// The part of CUPTI's binary interface that we use, declared by us so that a build needs no
// toolkit. tests/device checks it against cupti.h where that is there; the records were compared in
// the headers of CUPTI 12.4, 13.0, 13.3 and 13.5: each version appends to its kernel record.
// Source: CUPTI reference 13.5, Activity API and Callback API.

#include <cstddef>
#include <cstdint>

#include "device/driver_api.h"

namespace redline::cuda::cupti {

using Code = int;  // CUptiResult; 0 is success
enum CodeValue : int {
  kOk = 0,
  kMaxLimitReached = 12,  // no further record
  kNotInitialized = 15,
  kInsufficientPrivileges = 35,
  kMultipleSubscribers = 39,
  kVirtualizedInsufficientPrivileges = 40,
};

// Versions of the interface whose records we know: 22 to 28 of CUDA 12.4 to 12.9, then
// 10000 * major + 100 * minor + update.
constexpr bool is_known(uint32_t version) {
  return (version >= 22 && version <= 28) || (version >= 130000 && version < 130600);
}

enum ActivityKind : uint32_t { kMemcpy = 1, kMemset = 2, kConcurrentKernel = 10 };
enum : uint32_t { kFlushForced = 1 };

// Where a record has its fields; all start with their kind, u32.
namespace kernel_record {
enum : size_t { kStart = 16, kEnd = 24, kName = 104, kGraphNode = 144, kGraph = 156, kBytes = 208 };
}
namespace copy_record {  // of copies, and of fills up to the graph
enum : size_t { kStart = 16, kEnd = 24, kGraphNode = 64, kGraph = 72, kBytes = 88 };
}

enum CallbackDomain : int { kResourceDomain = 3 };
enum ResourceCallback : uint32_t { kGraphNodeCloned = 20 };
struct ResourceData {
  void* context;
  void* handle;
  void* descriptor;  // a GraphData
};
struct GraphData {
  GraphHandle graph;
  GraphHandle original_graph;
  GraphNodeHandle node;
  GraphNodeHandle original_node;  // of a clone
};

using Subscriber = struct CUpti_Subscriber_st*;
using Callback = void (*)(void* user, CallbackDomain domain, uint32_t id, const void* data);
using RequestBuffer = void (*)(uint8_t** buffer, size_t* size, size_t* most_records);
using CompleteBuffer = void (*)(ContextHandle context, uint32_t stream, uint8_t* buffer,
                                size_t size, size_t valid);

// Name, then parameters.
#define REDLINE_CUPTI_FUNCTIONS(X)                                                    \
  X(cuptiGetVersion, (uint32_t * version))                                            \
  X(cuptiGetResultString, (Code code, const char** text))                             \
  X(cuptiSubscribe, (Subscriber * subscriber, Callback callback, void* user))         \
  X(cuptiUnsubscribe, (Subscriber subscriber))                                        \
  X(cuptiEnableCallback,                                                              \
    (uint32_t enable, Subscriber subscriber, CallbackDomain domain, uint32_t id))     \
  X(cuptiGetGraphNodeId, (GraphNodeHandle node, uint64_t * id))                       \
  X(cuptiActivityRegisterCallbacks, (RequestBuffer request, CompleteBuffer complete)) \
  X(cuptiActivityEnable, (ActivityKind kind))                                         \
  X(cuptiActivityDisable, (ActivityKind kind))                                        \
  X(cuptiActivityFlushAll, (uint32_t flag))                                           \
  X(cuptiActivityGetNextRecord, (uint8_t * buffer, size_t valid, uint8_t * *record))  \
  X(cuptiActivityGetNumDroppedRecords, (ContextHandle context, uint32_t stream, size_t * count))

struct Api {
#define REDLINE_CUPTI_DECLARE(name, parameters) Code(*name) parameters = nullptr;
  REDLINE_CUPTI_FUNCTIONS(REDLINE_CUPTI_DECLARE)
#undef REDLINE_CUPTI_DECLARE
};

}  // namespace redline::cuda::cupti
