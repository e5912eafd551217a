// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <utility>

#include "device/driver.h"
#include "device/driver_api.h"

namespace redline::cuda {

// One GPU of the process: its primary context, which it shares with other libraries (PyTorch,
// cudart). Immutable and thread-safe; everything made on it keeps it alive.
class Context {
 public:
  // GPU number `ordinal`, or a message that lists those there are.
  static Result<std::shared_ptr<const Context>> create(int ordinal = 0);
  // The same on another table of driver functions, which must outlive the context.
  static Result<std::shared_ptr<const Context>> create(const DriverApi& api, int ordinal);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const DriverApi& api() const { return api_; }
  const DeviceInfo& info() const { return info_; }
  // Makes it the calling thread's; every function below that needs that does it itself.
  Status make_current() const;
  Status check(CuResult result, std::string_view call) const { return to_status(result, call); }

  struct Memory {
    size_t free_bytes = 0;
    size_t total_bytes = 0;
  };
  Result<Memory> memory() const;
  // Whether these bytes, which others allocated, are memory of this GPU.
  Status check_is_here(DevicePtr ptr, size_t bytes) const;

 private:
  Context(const DriverApi& api, DeviceInfo info, ContextHandle handle)
      : api_(api), info_(std::move(info)), handle_(handle) {}
  Status to_status(CuResult result, std::string_view call) const;

  const DriverApi& api_;
  DeviceInfo info_;
  ContextHandle handle_;
};
using ContextPtr = std::shared_ptr<const Context>;

// A handle and the context that it belongs to; freed by `Destroy`.
template <class Handle, auto Destroy>
class Owned {
 public:
  Owned() = default;
  Owned(ContextPtr context, Handle handle) : context_(std::move(context)), handle_(handle) {}
  Owned(Owned&& other) noexcept { swap(other); }
  Owned& operator=(Owned&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Owned() {
    if (context_ == nullptr || handle_ == Handle()) return;
    // A lost context takes its handles with it: nothing is left to do about an error here.
    if (context_->make_current().ok()) (context_->api().*Destroy)(handle_);
  }
  Handle get() const { return handle_; }
  const ContextPtr& context() const { return context_; }
  explicit operator bool() const { return handle_ != Handle(); }

 private:
  void swap(Owned& other) {
    std::swap(context_, other.context_);
    std::swap(handle_, other.handle_);
  }
  ContextPtr context_;
  Handle handle_ = Handle();
};

// Memory on the GPU, 256-byte aligned.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Contents are undefined. No memory: says how much was asked for and how much is free.
  static Result<DeviceBuffer> create(ContextPtr context, size_t bytes);
  DevicePtr ptr() const { return memory_.get(); }
  void* data() const { return reinterpret_cast<void*>(memory_.get()); }
  size_t bytes() const { return bytes_; }

 private:
  Owned<DevicePtr, &DriverApi::cuMemFree_v2> memory_;
  size_t bytes_ = 0;
};

// Page-locked memory of the host: copies from and to it run beside the host and in graphs.
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  static Result<PinnedBuffer> create(ContextPtr context, size_t bytes);
  void* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  Owned<void*, &DriverApi::cuMemFreeHost> memory_;
  size_t bytes_ = 0;
};

class Event;

// An ordered queue of work. One thread at a time.
class Stream {
 public:
  Stream() = default;
  static Result<Stream> create(ContextPtr context);
  StreamHandle get() const { return stream_.get(); }
  const ContextPtr& context() const { return stream_.context(); }

  Status copy_to_device(DevicePtr dst, const void* src, size_t bytes) const;
  Status copy_to_host(void* dst, DevicePtr src, size_t bytes) const;
  Status copy_on_device(DevicePtr dst, DevicePtr src, size_t bytes) const;
  Status fill(DevicePtr dst, unsigned char value, size_t bytes) const;
  // New memory, which holds zeros for what is queued from now on.
  Result<DeviceBuffer> zeros(size_t bytes) const;
  // What is queued from now on comes after the event.
  Status wait_for(const Event& event) const;
  // Whether that was called since this was asked last.
  bool take_waits() const { return std::exchange(waits_, false); }
  // Returns when all that was queued is done; reports what failed on the way.
  Status synchronize() const;

 private:
  Owned<StreamHandle, &DriverApi::cuStreamDestroy_v2> stream_;
  mutable bool waits_ = false;
};

// A point in a stream.
class Event {
 public:
  Event() = default;
  static Result<Event> create(ContextPtr context, bool timed = true);
  EventHandle get() const { return event_.get(); }
  explicit operator bool() const { return static_cast<bool>(event_); }
  Status record(const Stream& stream) const;
  Status record(StreamHandle stream) const;  // of somebody else
  // While the stream is captured: each launch of the graph records it anew.
  Status record_in_graph(const Stream& stream) const;
  Status synchronize() const;
  // Both recorded and reached.
  static Result<double> microseconds_between(const Event& start, const Event& end);

 private:
  Owned<EventHandle, &DriverApi::cuEventDestroy_v2> event_;
};

}  // namespace redline::cuda
