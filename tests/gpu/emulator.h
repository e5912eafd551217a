// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "block.h"
#include "capture.h"
#include "device/context.h"
#include "device/nvrtc.h"

// A GPU for tests on machines without one: the driver's functions over host memory, and kernels
// compiled by the host's compiler, whose threads take turns at barriers, shuffles and exchanges of
// their warp. It finds wrong indices, wrong values and writes out of bounds; it says nothing of
// speed. Graphs run in an order of the tests' choice where their edges leave one. PTX wants an
// emulated body (#ifdef REDLINE_EMULATED), written with emulated_exchange(), emulated_barrier(),
// emulated_cluster_barrier(), emulated_yield() and their like of shim.cc. Clusters run one after
// another; one that waits for others of its grid, with emulated_yield(), lets the next begin where
// the launch says that they run together.
namespace redline::emulator {

// One GPU of this architecture. The table lives for ever.
const cuda::DriverApi& driver();

// What NVRTC would do, but late: the "cubin" names a shared library, in a folder that is removed at
// exit, which is made when a function of it is wanted; then what the compiler says goes to stderr.
Result<cuda::CompiledKernel> compile(const cuda::KernelSource& source);

// While one lives the host can touch the GPU's memory. Without, who takes its address for one of
// the host ends, as with a real GPU.
class HostAccess {
 public:
  HostAccess();
  ~HostAccess();
  HostAccess(const HostAccess&) = delete;
  HostAccess& operator=(const HostAccess&) = delete;
};

// For the launches from now on.
void set_thread_order(ThreadOrder order);

// What is told of graphs from now on, to who records it: that a node of one that is ready to launch
// was made from another, and that it ran.
struct GraphEvents {
  std::function<void(cuda::GraphNodeHandle clone, cuda::GraphNodeHandle original)> cloned;
  GraphRan ran;
};
void watch_graphs(GraphEvents events);

// For the graphs that are launched from now on.
void set_graph_order(GraphOrder order);

// What lies between any two events; 1000 us at first.
void set_span(float us);

// Fails the n-th driver call from now on that could fail, once or with all that come after it; 0:
// none. Returns how many such calls there were since the last call of this function.
int fail_call(int n, bool for_good = false);

}  // namespace redline::emulator
