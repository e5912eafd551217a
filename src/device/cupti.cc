// SPDX-License-Identifier: Apache-2.0
#include "device/cupti.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "device/cupti_api.h"
#include "device/find_library.h"

namespace redline::cuda {
namespace {

using namespace cupti;  // NOLINT: the types of the interface

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr ActivityKind kKinds[] = {kConcurrentKernel, kMemcpy, kMemset};

// CUPTI hands buffers over, on a thread of its own, without a word for whom.
struct Inbox {
  std::mutex mutex;
  const Api* api = nullptr;  // of the trace that was started
  std::vector<Activity> activities;
  std::map<uint64_t, uint64_t> original_of;  // nodes' ids, by those of their clones
  size_t dropped = 0;
  bool damaged = false;
};
Inbox& inbox() {
  // For ever: a buffer may come at exit.
  static auto& all = *new Inbox;
  return all;
}

template <class Type>
Type field(const uint8_t* record, size_t offset) {
  Type value;
  std::memcpy(&value, record + offset, sizeof value);
  return value;
}

// What is of no graph is not ours.
void read_record(const uint8_t* record, std::vector<Activity>& activities) {
  Activity activity;
  auto kind = field<uint32_t>(record, 0);
  uint32_t graph = 0;
  if (kind == kConcurrentKernel) {
    using namespace kernel_record;  // NOLINT: its offsets
    activity = {Activity::Kind::kKernel,
                field<uint64_t>(record, kStart),
                field<uint64_t>(record, kEnd),
                field<uint64_t>(record, kGraphNode),
                {}};
    graph = field<uint32_t>(record, kGraph);
    if (const auto* name = field<const char*>(record, kName)) activity.name = name;
  } else if (kind == kMemcpy || kind == kMemset) {
    using namespace copy_record;  // NOLINT: its offsets
    activity = {kind == kMemcpy ? Activity::Kind::kCopy : Activity::Kind::kFill,
                field<uint64_t>(record, kStart),
                field<uint64_t>(record, kEnd),
                field<uint64_t>(record, kGraphNode),
                {}};
    graph = field<uint32_t>(record, kGraph);
  }
  if (graph != 0 || activity.node != 0) activities.push_back(std::move(activity));
}

void request_buffer(uint8_t** buffer, size_t* size, size_t* most_records) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(64, kBufferBytes));
  *size = *buffer != nullptr ? kBufferBytes : 0;
  *most_records = 0;
}

void complete_buffer(ContextHandle context, uint32_t stream, uint8_t* buffer, size_t,
                     size_t valid) {
  Inbox& box = inbox();
  std::lock_guard lock(box.mutex);
  if (box.api != nullptr && buffer != nullptr) {
    uint8_t* record = nullptr;
    Code code = kOk;
    while ((code = box.api->cuptiActivityGetNextRecord(buffer, valid, &record)) == kOk) {
      read_record(record, box.activities);
    }
    box.damaged |= code != kMaxLimitReached;
    size_t dropped = 0;
    if (box.api->cuptiActivityGetNumDroppedRecords(context, stream, &dropped) == kOk) {
      box.dropped += dropped;
    }
  }
  std::free(buffer);
}

void note_clone(void*, CallbackDomain domain, uint32_t id, const void* data) {
  if (domain != kResourceDomain || id != kGraphNodeCloned) return;
  const auto* nodes =
      static_cast<const GraphData*>(static_cast<const ResourceData*>(data)->descriptor);
  Inbox& box = inbox();
  std::lock_guard lock(box.mutex);
  uint64_t clone = 0;
  uint64_t original = 0;
  if (box.api == nullptr || nodes == nullptr || nodes->original_node == nullptr ||
      box.api->cuptiGetGraphNodeId(nodes->node, &clone) != kOk ||
      box.api->cuptiGetGraphNodeId(nodes->original_node, &original) != kOk) {
    return;
  }
  box.original_of[clone] = original;
}

class CuptiTrace final : public GpuTrace {
 public:
  CuptiTrace(const Api& api, std::string name) : api_(api), name_(std::move(name)) {}
  CuptiTrace(const CuptiTrace&) = delete;
  CuptiTrace& operator=(const CuptiTrace&) = delete;
  ~CuptiTrace() override { end(); }

  std::string name() const override { return name_; }
  Status start() override;
  void stop() override { end(); }
  uint64_t node_id(GraphNodeHandle node) override;
  Result<std::vector<Activity>> take() override;

 private:
  Status begin();
  void end();
  Status check(Code code, const char* call) const;

  const Api api_;
  const std::string name_;
  Subscriber subscriber_ = nullptr;
  bool started_ = false;
};

Status CuptiTrace::check(Code code, const char* call) const {
  if (code == kOk) return {};
  const char* text = nullptr;
  if (api_.cuptiGetResultString(code, &text) != kOk || text == nullptr) text = "unknown error";
  std::string what = str_cat(name_, ": ", call, ": ", text, " (", code, ")");
  switch (code) {
    case kInsufficientPrivileges:
    case kVirtualizedInsufficientPrivileges:
      what +=
          "; this machine lets administrators alone trace its GPUs: run as one, or set the "
          "driver's "
          "NVreg_RestrictProfilingToAdminUsers=0";
      break;
    case kMultipleSubscribers:
      what += "; another profiler is attached to the process, and there can be one";
      break;
    case kNotInitialized:
      what += "; it may be newer than the driver: name another in REDLINE_CUPTI";
      break;
    default:
      break;
  }
  return {StatusCode::kDeviceError, what};
}

Status CuptiTrace::start() {
  Inbox& box = inbox();
  {
    std::lock_guard lock(box.mutex);
    if (box.api != nullptr) return invalid_argument("the process traces its GPU already");
    box.api = &api_;
    box.activities.clear();
    box.original_of.clear();
    box.dropped = 0;
    box.damaged = false;
  }
  started_ = true;
  Status begun = begin();
  if (!begun.ok()) end();
  return begun;
}

Status CuptiTrace::begin() {
  // First, for it tells whether somebody else is there.
  REDLINE_TRY(check(api_.cuptiSubscribe(&subscriber_, note_clone, nullptr), "cuptiSubscribe"));
  // Without it nodes are told by their order.
  static_cast<void>(api_.cuptiEnableCallback(1, subscriber_, kResourceDomain, kGraphNodeCloned));
  REDLINE_TRY(check(api_.cuptiActivityRegisterCallbacks(request_buffer, complete_buffer),
                    "cuptiActivityRegisterCallbacks"));
  for (ActivityKind kind : kKinds) {
    REDLINE_TRY(check(api_.cuptiActivityEnable(kind), "cuptiActivityEnable"));
  }
  return {};
}

void CuptiTrace::end() {
  if (!std::exchange(started_, false)) return;
  // Nobody is left to tell of errors here, and what was not enabled may be disabled.
  for (ActivityKind kind : kKinds) static_cast<void>(api_.cuptiActivityDisable(kind));
  static_cast<void>(api_.cuptiActivityFlushAll(kFlushForced));
  if (subscriber_ != nullptr) static_cast<void>(api_.cuptiUnsubscribe(subscriber_));
  subscriber_ = nullptr;
  std::lock_guard lock(inbox().mutex);
  inbox().api = nullptr;
}

uint64_t CuptiTrace::node_id(GraphNodeHandle node) {
  uint64_t id = 0;
  return api_.cuptiGetGraphNodeId(node, &id) == kOk ? id : 0;
}

Result<std::vector<Activity>> CuptiTrace::take() {
  REDLINE_TRY(check(api_.cuptiActivityFlushAll(kFlushForced), "cuptiActivityFlushAll"));
  Inbox& box = inbox();
  std::lock_guard lock(box.mutex);
  std::vector<Activity> activities = std::exchange(box.activities, {});
  size_t dropped = std::exchange(box.dropped, 0);
  if (dropped > 0 || std::exchange(box.damaged, false)) {
    return internal_error(name_, " lost ", dropped, " records of what the GPU did");
  }
  for (Activity& activity : activities) {
    if (activity.begin_ns == 0 || activity.end_ns < activity.begin_ns) {
      return internal_error(name_, " has no time for ",
                            activity.name.empty() ? "a copy" : activity.name);
    }
    // A graph that is made ready may be a clone of a clone.
    size_t steps = 0;
    for (auto at = box.original_of.find(activity.node);
         at != box.original_of.end() && steps <= box.original_of.size();
         at = box.original_of.find(activity.node), ++steps) {
      activity.node = at->second;
    }
  }
  std::stable_sort(activities.begin(), activities.end(),
                   [](const Activity& a, const Activity& b) { return a.begin_ns < b.begin_ns; });
  return activities;
}

}  // namespace

Result<std::shared_ptr<GpuTrace>> open_cupti() {
  static const ToolkitLibrary kLibrary = {"REDLINE_CUPTI",
                                          {"libcupti.so.13", "libcupti.so.12", "libcupti.so"},
                                          {"lib64", "extras/CUPTI/lib64"},
                                          {"nvidia/cu13/lib", "nvidia/cuda_cupti/lib"}};
  REDLINE_ASSIGN(
      void* library,
      open_library(kLibrary,
                   "cannot load CUPTI, which sees what runs in a graph; pip install "
                   "nvidia-cuda-cupti, install a CUDA toolkit, or name the file in REDLINE_CUPTI"));
  Api api;
#define REDLINE_CUPTI_FIND(name, parameters)                                                       \
  api.name = reinterpret_cast<decltype(api.name)>(dlsym(library, #name));                          \
  if (api.name == nullptr) {                                                                       \
    return incompatible(file_of(library), " is no CUPTI that Redline can use: it has no ", #name); \
  }
  REDLINE_CUPTI_FUNCTIONS(REDLINE_CUPTI_FIND)
#undef REDLINE_CUPTI_FIND
  uint32_t version = 0;
  if (Code code = api.cuptiGetVersion(&version); code != kOk) {
    return incompatible("this libcupti does not tell its version (", code,
                        "); it may be newer than the driver: name another in REDLINE_CUPTI");
  }
  if (!is_known(version)) {
    return incompatible("the records of CUPTI version ", version,
                        " are not known; known are those of CUDA 12.4 to 13.5: name such a "
                        "libcupti in REDLINE_CUPTI");
  }
  std::string name = version < 1000 ? str_cat("CUPTI version ", version)
                                    : str_cat("CUPTI ", version / 10000, ".", version / 100 % 100);
  return std::shared_ptr<GpuTrace>(std::make_shared<CuptiTrace>(api, std::move(name)));
}

}  // namespace redline::cuda
