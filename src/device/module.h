// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "device/context.h"

namespace redline::cuda {

// A loaded cubin. Immutable and thread-safe.
class Module {
 public:
  // The cubin must be made for this GPU's architecture; it is copied by the driver.
  static Result<std::shared_ptr<const Module>> create(ContextPtr context,
                                                      std::span<const std::byte> cubin);
  ModuleHandle get() const { return module_.get(); }
  // A variable of the kernels; no bytes when there is none of that name.
  struct Variable {
    DevicePtr ptr = 0;
    size_t bytes = 0;
  };
  Result<Variable> variable(const std::string& name) const;
  const ContextPtr& context() const { return module_.context(); }

 private:
  Owned<ModuleHandle, &DriverApi::cuModuleUnload> module_;
};

// A kernel of a module, ready to launch.
class Function {
 public:
  Function() = default;
  // `dynamic_shared_bytes` is the most that a launch will ask for.
  static Result<Function> create(std::shared_ptr<const Module> module, const std::string& name,
                                 int dynamic_shared_bytes = 0);
  FunctionHandle get() const { return handle_; }
  const ContextPtr& context() const { return module_->context(); }

  // For clusters of more than 8 blocks, which some GPUs have.
  Status allow_large_clusters() const;

  struct Resources {
    int registers = 0;
    int static_shared_bytes = 0;
    int local_bytes = 0;  // stack and spills of a thread
    int max_threads = 0;
  };
  Result<Resources> resources() const;
  // Blocks that fit on a multiprocessor at once.
  Result<int> occupancy(int block_threads, size_t dynamic_shared_bytes) const;

 private:
  std::shared_ptr<const Module> module_;
  FunctionHandle handle_ = nullptr;
};

struct Extent {
  unsigned int x = 1, y = 1, z = 1;
};

struct LaunchShape {
  Extent grid;
  Extent block;
  Extent cluster;  // {1, 1, 1}: none
  unsigned int shared_bytes = 0;
  // Programmatic dependent launch: the kernel may start before the one in front of it in the stream
  // has ended. It must execute griddepcontrol.wait before it reads what that one wrote or writes
  // what that one reads. The first kernel after Stream::wait_for() starts when all before it has
  // ended: griddepcontrol.wait is for one kernel in front.
  bool programmatic = false;
  // All blocks are on the GPU at once, so that they may wait for each other; a grid that is too
  // large for that fails.
  bool together = false;
};

// Queues one kernel; the only place that does. `parameters` point to the values, in the kernel's
// order. Errors name the kernel through `what`. Does not allocate unless it fails.
Status launch(const Stream& stream, const Function& function, const LaunchShape& shape,
              std::span<void* const> parameters, std::string_view what);

// What a stream was asked to do while it was captured, as one launch. Immutable once made.
class Graph {
 public:
  Graph() = default;
  // Calls `record`, which queues work on the stream (and on streams that wait for it and that it
  // waits for in the end), and makes a graph of that instead of running it.
  template <class Record>
  static Result<Graph> capture(const Stream& stream, Record&& record) {
    REDLINE_TRY(begin_capture(stream));
    Status recorded = record();
    Result<Graph> graph = end_capture(stream);
    if (!recorded.ok()) return recorded;
    return graph;
  }
  Status launch(const Stream& stream) const;
  size_t num_nodes() const { return num_nodes_; }
  explicit operator bool() const { return static_cast<bool>(exec_); }

 private:
  static Status begin_capture(const Stream& stream);
  static Result<Graph> end_capture(const Stream& stream);
  Owned<GraphExecHandle, &DriverApi::cuGraphExecDestroy> exec_;
  size_t num_nodes_ = 0;
};

// Of a stream that is being captured: the graph's nodes so far, in no order, and those that what is
// queued next comes behind.
struct CapturedNodes {
  std::vector<GraphNodeHandle> all;
  std::vector<GraphNodeHandle> last;
};
Result<CapturedNodes> captured_nodes(const Stream& stream);

struct NodeWork {
  GraphNodeType type = kKernelNode;
  std::string kernel;  // its name
};
Result<NodeWork> work_of(const Context& context, GraphNodeHandle node);

}  // namespace redline::cuda
