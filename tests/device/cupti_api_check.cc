// SPDX-License-Identifier: Apache-2.0
// Compiles only when device/cupti_api.h says what cupti.h says.
#include "device/cupti_api.h"

#include <cupti.h>

#include <type_traits>

namespace redline::cuda::cupti {

#define SAME(ours, theirs) static_assert(static_cast<size_t>(ours) == static_cast<size_t>(theirs))
SAME(kOk, CUPTI_SUCCESS);
SAME(kMaxLimitReached, CUPTI_ERROR_MAX_LIMIT_REACHED);
SAME(kNotInitialized, CUPTI_ERROR_NOT_INITIALIZED);
SAME(kInsufficientPrivileges, CUPTI_ERROR_INSUFFICIENT_PRIVILEGES);
SAME(kMultipleSubscribers, CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED);
SAME(kVirtualizedInsufficientPrivileges, CUPTI_ERROR_VIRTUALIZED_DEVICE_INSUFFICIENT_PRIVILEGES);
SAME(kMemcpy, CUPTI_ACTIVITY_KIND_MEMCPY);
SAME(kMemset, CUPTI_ACTIVITY_KIND_MEMSET);
SAME(kConcurrentKernel, CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
SAME(kFlushForced, CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
SAME(kResourceDomain, CUPTI_CB_DOMAIN_RESOURCE);
SAME(kGraphNodeCloned, CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED);
static_assert(is_known(CUPTI_API_VERSION));

// The records of this version, whose names count on.
#if CUPTI_API_VERSION < 130000
using KernelRecord = CUpti_ActivityKernel9;
using CopyRecord = CUpti_ActivityMemcpy5;
using FillRecord = CUpti_ActivityMemset4;
#elif CUPTI_API_VERSION < 130200
using KernelRecord = CUpti_ActivityKernel10;
using CopyRecord = CUpti_ActivityMemcpy6;
using FillRecord = CUpti_ActivityMemset4;
#elif CUPTI_API_VERSION < 130300
using KernelRecord = CUpti_ActivityKernel11;
using CopyRecord = CUpti_ActivityMemcpy6;
using FillRecord = CUpti_ActivityMemset4;
#elif CUPTI_API_VERSION < 130400
using KernelRecord = CUpti_ActivityKernel12;
using CopyRecord = CUpti_ActivityMemcpy6;
using FillRecord = CUpti_ActivityMemset4;
#else
using KernelRecord = CUpti_ActivityKernel13;
using CopyRecord = CUpti_ActivityMemcpy7;
using FillRecord = CUpti_ActivityMemset5;
#endif

SAME(0, offsetof(KernelRecord, kind));
SAME(kernel_record::kStart, offsetof(KernelRecord, start));
SAME(kernel_record::kEnd, offsetof(KernelRecord, end));
SAME(kernel_record::kName, offsetof(KernelRecord, name));
SAME(kernel_record::kGraphNode, offsetof(KernelRecord, graphNodeId));
SAME(kernel_record::kGraph, offsetof(KernelRecord, graphId));
static_assert(sizeof(KernelRecord) >= kernel_record::kBytes);
template <class Record>
constexpr bool is_copy_record() {
  return offsetof(Record, kind) == 0 && offsetof(Record, start) == copy_record::kStart &&
         offsetof(Record, end) == copy_record::kEnd &&
         offsetof(Record, graphNodeId) == copy_record::kGraphNode &&
         offsetof(Record, graphId) == copy_record::kGraph && sizeof(Record) >= copy_record::kBytes;
}
static_assert(is_copy_record<CopyRecord>() && is_copy_record<FillRecord>());

SAME(offsetof(ResourceData, descriptor), offsetof(CUpti_ResourceData, resourceDescriptor));
SAME(offsetof(GraphData, node), offsetof(CUpti_GraphData, node));
SAME(offsetof(GraphData, original_node), offsetof(CUpti_GraphData, originalNode));

// As many parameters of the same sizes.
template <class Ours, class Theirs>
struct Alike : std::false_type {};
template <class... Ours, class... Theirs>
struct Alike<Code (*)(Ours...), CUptiResult(Theirs...)>
    : std::bool_constant<sizeof...(Ours) == sizeof...(Theirs) &&
                         ((sizeof(Ours) == sizeof(Theirs)) && ...)> {};
#define REDLINE_CUPTI_COMPARE(name, parameters) \
  static_assert(Alike<decltype(Api::name), decltype(::name)>::value);
REDLINE_CUPTI_FUNCTIONS(REDLINE_CUPTI_COMPARE)

}  // namespace redline::cuda::cupti
