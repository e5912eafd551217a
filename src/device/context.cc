// SPDX-License-Identifier: Apache-2.0
#include "device/context.h"

#include <map>
#include <mutex>

#include "device/error.h"

namespace redline::cuda {

// The driver takes a quarter of a second to make a context, and unmakes it with its last user: one
// that was made is kept until the process ends.
Result<ContextPtr> Context::create(int ordinal) {
  REDLINE_ASSIGN(const DriverApi* api, load_driver());
  static std::mutex mutex;
  // Never freed: the driver may be gone before.
  static auto& kept = *new std::map<int, ContextPtr>();
  std::lock_guard lock(mutex);
  ContextPtr& context = kept[ordinal];
  if (context == nullptr) {
    REDLINE_ASSIGN(context, create(*api, ordinal));
  }
  return context;
}

Result<ContextPtr> Context::create(const DriverApi& api, int ordinal) {
  REDLINE_ASSIGN(std::vector<DeviceInfo> devices, list_devices(api));
  if (ordinal < 0 || static_cast<size_t>(ordinal) >= devices.size()) {
    std::string names;
    for (const DeviceInfo& device : devices) {
      names += str_cat(names.empty() ? "" : ", ", device.ordinal, " (", device.name, ")");
    }
    return not_found("no GPU ", ordinal, "; there are: ", names.empty() ? "none" : names);
  }
  DeviceId device = 0;
  REDLINE_TRY(redline::cuda::to_status(api, api.cuDeviceGet(&device, ordinal), "cuDeviceGet"));
  ContextHandle handle = nullptr;
  REDLINE_TRY(redline::cuda::to_status(api, api.cuDevicePrimaryCtxRetain(&handle, device),
                                       "cuDevicePrimaryCtxRetain"));
  return ContextPtr(new Context(api, devices[static_cast<size_t>(ordinal)], handle));
}

Context::~Context() {
  DeviceId device = 0;
  if (api_.cuDeviceGet(&device, info_.ordinal) == kSuccess) {
    api_.cuDevicePrimaryCtxRelease_v2(device);
  }
}

Status Context::to_status(CuResult result, std::string_view call) const {
  return redline::cuda::to_status(api_, result, call);
}

Status Context::make_current() const {
  return check(api_.cuCtxSetCurrent(handle_), "cuCtxSetCurrent");
}

Result<Context::Memory> Context::memory() const {
  REDLINE_TRY(make_current());
  Memory memory;
  REDLINE_TRY(check(api_.cuMemGetInfo_v2(&memory.free_bytes, &memory.total_bytes), "cuMemGetInfo"));
  return memory;
}

Status Context::check_is_here(DevicePtr ptr, size_t bytes) const {
  if (bytes == 0) return {};
  REDLINE_TRY(make_current());
  // What is larger than it says ends in memory that is not there.
  for (DevicePtr at : {ptr, ptr + (bytes - 1)}) {
    auto text = [&] { return str_cat(reinterpret_cast<const void*>(at)); };
    unsigned int type = 0;
    CuResult found = api_.cuPointerGetAttribute(&type, kPointerMemoryType, at);
    if (at < ptr || found == kErrorInvalidValue || (found == kSuccess && type == kMemoryHost)) {
      return invalid_argument("address ", text(), " is not of memory on a GPU");
    }
    REDLINE_TRY(check(found, "cuPointerGetAttribute"));
    int ordinal = -1;
    REDLINE_TRY(check(api_.cuPointerGetAttribute(&ordinal, kPointerDeviceOrdinal, at),
                      "cuPointerGetAttribute"));
    if (ordinal != info_.ordinal) {
      return invalid_argument("address ", text(), " is of memory on GPU ", ordinal, ", not on GPU ",
                              info_.ordinal);
    }
  }
  return {};
}

Result<DeviceBuffer> DeviceBuffer::create(ContextPtr context, size_t bytes) {
  REDLINE_TRY(context->make_current());
  DeviceBuffer buffer;
  buffer.bytes_ = bytes;
  if (bytes == 0) return buffer;
  DevicePtr ptr = 0;
  CuResult result = context->api().cuMemAlloc_v2(&ptr, bytes);
  if (result == kErrorOutOfMemory) {
    Result<Context::Memory> memory = context->memory();
    return out_of_memory(
        "no ", bytes, " bytes of GPU memory",
        memory.ok() ? str_cat("; ", memory->free_bytes, " of ", memory->total_bytes, " are free")
                    : "");
  }
  REDLINE_TRY(context->check(result, str_cat("cuMemAlloc(", bytes, " bytes)")));
  buffer.memory_ = {std::move(context), ptr};
  return buffer;
}

Result<PinnedBuffer> PinnedBuffer::create(ContextPtr context, size_t bytes) {
  REDLINE_TRY(context->make_current());
  PinnedBuffer buffer;
  buffer.bytes_ = bytes;
  if (bytes == 0) return buffer;
  void* ptr = nullptr;
  REDLINE_TRY(context->check(context->api().cuMemHostAlloc(&ptr, bytes, kHostAllocPortable),
                             str_cat("cuMemHostAlloc(", bytes, " bytes)")));
  buffer.memory_ = {std::move(context), ptr};
  return buffer;
}

Result<Stream> Stream::create(ContextPtr context) {
  REDLINE_TRY(context->make_current());
  StreamHandle handle = nullptr;
  REDLINE_TRY(context->check(
      context->api().cuStreamCreateWithPriority(&handle, kStreamNonBlocking, 0), "cuStreamCreate"));
  Stream stream;
  stream.stream_ = {std::move(context), handle};
  return stream;
}

Status Stream::copy_to_device(DevicePtr dst, const void* src, size_t bytes) const {
  if (bytes == 0) return {};
  REDLINE_TRY(context()->make_current());
  return context()->check(context()->api().cuMemcpyHtoDAsync_v2(dst, src, bytes, get()),
                          "cuMemcpyHtoDAsync");
}

Status Stream::copy_to_host(void* dst, DevicePtr src, size_t bytes) const {
  if (bytes == 0) return {};
  REDLINE_TRY(context()->make_current());
  return context()->check(context()->api().cuMemcpyDtoHAsync_v2(dst, src, bytes, get()),
                          "cuMemcpyDtoHAsync");
}

Status Stream::copy_on_device(DevicePtr dst, DevicePtr src, size_t bytes) const {
  if (bytes == 0) return {};
  REDLINE_TRY(context()->make_current());
  return context()->check(context()->api().cuMemcpyDtoDAsync_v2(dst, src, bytes, get()),
                          "cuMemcpyDtoDAsync");
}

Status Stream::fill(DevicePtr dst, unsigned char value, size_t bytes) const {
  if (bytes == 0) return {};
  REDLINE_TRY(context()->make_current());
  return context()->check(context()->api().cuMemsetD8Async(dst, value, bytes, get()),
                          "cuMemsetD8Async");
}

Result<DeviceBuffer> Stream::zeros(size_t bytes) const {
  REDLINE_ASSIGN(DeviceBuffer buffer, DeviceBuffer::create(context(), bytes));
  REDLINE_TRY(fill(buffer.ptr(), 0, bytes));
  return buffer;
}

Status Stream::wait_for(const Event& event) const {
  REDLINE_TRY(context()->make_current());
  waits_ = true;
  return context()->check(context()->api().cuStreamWaitEvent(get(), event.get(), 0),
                          "cuStreamWaitEvent");
}

Status Stream::synchronize() const {
  REDLINE_TRY(context()->make_current());
  return context()->check(context()->api().cuStreamSynchronize(get()), "cuStreamSynchronize");
}

Result<Event> Event::create(ContextPtr context, bool timed) {
  REDLINE_TRY(context->make_current());
  EventHandle handle = nullptr;
  unsigned int flags = timed ? kEventDefault : kEventDisableTiming;
  REDLINE_TRY(context->check(context->api().cuEventCreate(&handle, flags), "cuEventCreate"));
  Event event;
  event.event_ = {std::move(context), handle};
  return event;
}

Status Event::record(const Stream& stream) const {
  const ContextPtr& context = event_.context();
  REDLINE_TRY(context->make_current());
  return context->check(context->api().cuEventRecord(get(), stream.get()), "cuEventRecord");
}

Status Event::record(StreamHandle stream) const {
  const ContextPtr& context = event_.context();
  REDLINE_TRY(context->make_current());
  return context->check(context->api().cuEventRecord(get(), stream), "cuEventRecord");
}

Status Event::record_in_graph(const Stream& stream) const {
  const ContextPtr& context = event_.context();
  REDLINE_TRY(context->make_current());
  return context->check(
      context->api().cuEventRecordWithFlags(get(), stream.get(), kEventRecordExternal),
      "cuEventRecordWithFlags");
}

Status Event::synchronize() const {
  const ContextPtr& context = event_.context();
  REDLINE_TRY(context->make_current());
  return context->check(context->api().cuEventSynchronize(get()), "cuEventSynchronize");
}

Result<double> Event::microseconds_between(const Event& start, const Event& end) {
  const ContextPtr& context = start.event_.context();
  float milliseconds = 0;
  REDLINE_TRY(
      context->check(context->api().cuEventElapsedTime(&milliseconds, start.get(), end.get()),
                     "cuEventElapsedTime"));
  return static_cast<double>(milliseconds) * 1000;
}

}  // namespace redline::cuda
