// SPDX-License-Identifier: Apache-2.0
#include "fake_cupti.h"

#include <cstring>
#include <set>
#include <utility>

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

using namespace redline;               // NOLINT
using namespace redline::cuda::cupti;  // NOLINT: the types of the interface
using emulator::FakeCupti;

struct State {
  FakeCupti fake;
  RequestBuffer request = nullptr;
  CompleteBuffer complete = nullptr;
  Callback callback = nullptr;
  bool hears_clones = false;
  std::set<std::string> names;  // of kernels, for ever
};
State& state() {
  static State all;
  return all;
}

Code code_of(const char* function) {
  auto found = state().fake.fails.find(function);
  return found == state().fake.fails.end() ? +kOk : found->second;
}

template <class Value>
void put(uint8_t* record, size_t offset, Value value) {
  std::memcpy(record + offset, &value, sizeof value);
}

size_t bytes_of(const FakeCupti::Record& record) {
  // As of CUPTI 13.0: longer than what we read.
  return record.kind == kConcurrentKernel ? 216 : 96;
}

void write(const FakeCupti::Record& record, uint8_t* to) {
  std::memset(to, 0xa5, bytes_of(record));
  put<uint32_t>(to, 0, record.kind);
  uint64_t node = state().fake.has_graph_nodes ? record.node : 0;
  if (record.kind == kConcurrentKernel) {
    put(to, kernel_record::kStart, record.begin_ns);
    put(to, kernel_record::kEnd, record.end_ns);
    put(to, kernel_record::kName, state().names.insert(record.name).first->c_str());
    put(to, kernel_record::kGraphNode, node);
    put(to, kernel_record::kGraph, record.graph);
  } else {
    put(to, copy_record::kStart, record.begin_ns);
    put(to, copy_record::kEnd, record.end_ns);
    put(to, copy_record::kGraphNode, node);
    put(to, copy_record::kGraph, record.graph);
  }
}

}  // namespace

EXPORTED FakeCupti* fake_cupti() { return &state().fake; }

EXPORTED void fake_cupti_clone(cuda::GraphNodeHandle clone, cuda::GraphNodeHandle original) {
  if (!state().hears_clones || !state().fake.tells_clones) return;
  GraphData nodes = {nullptr, nullptr, clone, original};
  ResourceData data = {nullptr, nullptr, &nodes};
  state().callback(nullptr, kResourceDomain, kGraphNodeCloned, &data);
}

EXPORTED Code cuptiGetVersion(uint32_t* version) {
  *version = state().fake.version;
  return code_of("cuptiGetVersion");
}
EXPORTED Code cuptiGetResultString(Code, const char** text) {
  return *text = "CUPTI_ERROR_OF_A_TEST", kOk;
}
EXPORTED Code cuptiSubscribe(Subscriber* subscriber, Callback callback, void*) {
  if (Code code = code_of("cuptiSubscribe"); code != kOk) return code;
  state().callback = callback;
  *subscriber = reinterpret_cast<Subscriber>(&state());
  ++state().fake.subscribers;
  return kOk;
}
EXPORTED Code cuptiUnsubscribe(Subscriber) {
  --state().fake.subscribers;
  state().hears_clones = false;
  return kOk;
}
EXPORTED Code cuptiEnableCallback(uint32_t enable, Subscriber, CallbackDomain domain, uint32_t id) {
  if (Code code = code_of("cuptiEnableCallback"); code != kOk) return code;
  state().hears_clones = enable != 0 && domain == kResourceDomain && id == kGraphNodeCloned;
  return kOk;
}
EXPORTED Code cuptiGetGraphNodeId(cuda::GraphNodeHandle node, uint64_t* id) {
  *id = reinterpret_cast<uintptr_t>(node);
  return code_of("cuptiGetGraphNodeId");
}
EXPORTED Code cuptiActivityRegisterCallbacks(RequestBuffer request, CompleteBuffer complete) {
  state().request = request;
  state().complete = complete;
  return code_of("cuptiActivityRegisterCallbacks");
}
EXPORTED Code cuptiActivityEnable(ActivityKind kind) {
  if (Code code = code_of("cuptiActivityEnable"); code != kOk) return code;
  state().fake.enabled[kind] = true;
  return kOk;
}
EXPORTED Code cuptiActivityDisable(ActivityKind kind) {
  state().fake.enabled[kind] = false;
  return kOk;
}
// Several records in each buffer, and several buffers.
EXPORTED Code cuptiActivityFlushAll(uint32_t) {
  if (Code code = code_of("cuptiActivityFlushAll"); code != kOk) return code;
  FakeCupti& fake = state().fake;
  std::vector<FakeCupti::Record> records = std::exchange(fake.records, {});
  for (size_t at = 0; at < records.size();) {
    uint8_t* buffer = nullptr;
    size_t size = 0;
    size_t most = 0;
    state().request(&buffer, &size, &most);
    size_t valid = 0;
    for (int n = 0; n < 3 && at < records.size() && valid + 256 <= size; ++n, ++at) {
      if (!fake.enabled[records[at].kind]) continue;
      write(records[at], buffer + valid);
      valid += bytes_of(records[at]);
    }
    state().complete(nullptr, 0, buffer, size, valid);
  }
  return kOk;
}
EXPORTED Code cuptiActivityGetNextRecord(uint8_t* buffer, size_t valid, uint8_t** record) {
  if (Code code = code_of("cuptiActivityGetNextRecord"); code != kOk) return code;
  size_t at = 0;
  if (*record != nullptr) {
    uint32_t kind = 0;
    std::memcpy(&kind, *record, sizeof kind);
    at = static_cast<size_t>(*record - buffer) + (kind == kConcurrentKernel ? 216 : 96);
  }
  if (at >= valid) return kMaxLimitReached;
  *record = buffer + at;
  return kOk;
}
EXPORTED Code cuptiActivityGetNumDroppedRecords(cuda::ContextHandle, uint32_t, size_t* count) {
  *count = std::exchange(state().fake.drops, 0);
  return kOk;
}
