// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "device/driver_api.h"

namespace redline::cuda {

// Something that the GPU did for a node of a graph.
struct Activity {
  enum class Kind : uint8_t { kKernel, kCopy, kFill };
  Kind kind = Kind::kKernel;
  uint64_t begin_ns = 0;
  uint64_t end_ns = 0;
  uint64_t node = 0;  // 0: not known, or of no graph
  std::string name;   // of a kernel
};

// A record of when the GPU did what, for profiles. One thread.
class GpuTrace {
 public:
  virtual ~GpuTrace() = default;
  virtual std::string name() const = 0;  // "CUPTI 13.0"
  // Graphs that are made from here on until `stop` are seen by their nodes.
  virtual Status start() = 0;
  virtual void stop() = 0;
  // By which activities name a node of a graph that is captured and not yet made ready to launch;
  // 0: not known.
  virtual uint64_t node_id(GraphNodeHandle node) = 0;
  // What graphs did since this was called last, in the order of their beginnings. All that was
  // queued must be done. Fails when something was lost.
  virtual Result<std::vector<Activity>> take() = 0;
};

}  // namespace redline::cuda
