// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <mutex>
#include <string>

// Runs the blocks of an emulated kernel, one cluster after another, or together where they wait for
// each other: 132 blocks at most. A thread runs until it ends or waits for others, on a stack of
// its own; then the next one does. Threads that never wait share one stack. With programmatic
// dependent launch a grid may begin before the kernel in front of it runs (RunningGrid).
namespace redline::emulator {

struct Extent3 {
  unsigned int x, y, z;
};

// What a kernel calls while it runs.
struct HostFunctions {
  // Gives `bytes` to the lanes of `mask` and returns when all of them have given theirs: lane i's
  // are at the result + i * kExchangeBytes, until the caller's next exchange.
  const char* (*exchange)(unsigned int mask, const void* given, unsigned int bytes);
  // Returns when `threads` of the block (0: all that have not ended) are at this barrier.
  void (*barrier)(unsigned int id, unsigned int threads);
  // Lets all others run: for loops that wait for memory to change.
  void (*yield)();
  // Returns when all threads of the cluster have come here.
  void (*cluster_barrier)();
  // Where a place in dynamic shared memory is in block `rank` of the cluster, as it was at the last
  // such barrier; to read.
  const void* (*in_block)(const void* place, int rank);
  // Returns when the kernel in front has ended.
  void (*wait_for_former)();
  // What lets the next kernel start: wrong before the thread has waited for the former one.
  void (*release_next)();
  // Where a copy that begins now and lands later reads: of memory that the kernel in front may
  // still change, what it holds now.
  const void* (*source)(const void* from, unsigned long long bytes);
  // At least so many bytes of the thread, zeros at first; valid until the next call.
  void* (*own)(unsigned long long bytes);
};

// Declared in the same way in the text in front of each kernel (shim.cc).
inline constexpr unsigned int kExchangeBytes = 256;
inline constexpr unsigned int kDynamicSharedBytes = 232448;
inline constexpr unsigned int kSharedGuardBytes = 256;

// What a kernel's library tells of itself.
struct KernelTable {
  void (*run)(void** parameters);     // one thread, from its start to its end
  void** (*copy)(void** parameters);  // their values too; freed by free()
  Extent3 *block_idx, *thread_idx, *block_dim, *grid_dim;
  char *shared_begin, *shared_end;  // of __shared__ variables; may be null
  char* dynamic_shared;             // of kDynamicSharedBytes + kSharedGuardBytes
  HostFunctions* host;
};

// In which order threads run between barriers. A kernel whose result depends on it lacks a barrier.
enum class ThreadOrder { kForward, kBackward };

struct GridLaunch {
  const KernelTable* kernel = nullptr;
  void** parameters = nullptr;
  Extent3 grid, block, cluster;
  unsigned int shared_bytes = 0;
  bool together = false;  // blocks may wait for others of the grid
  bool early = false;     // may begin before the kernel in front has ended: each block must wait
};

// Held while a grid runs, and by graphs from their first to their last.
std::recursive_mutex& one_grid();

// A grid on its way. What a function returns is empty, or what was wrong: threads that wait for
// ever or not at all, a write behind the shared memory.
class RunningGrid {
 public:
  RunningGrid(const GridLaunch& launch, ThreadOrder order);
  RunningGrid(const RunningGrid&) = delete;
  RunningGrid& operator=(const RunningGrid&) = delete;
  ~RunningGrid();
  // Runs the first clusters as far as they come while the kernel in front has not ended.
  std::string begin();
  // All the rest, once that has ended.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace redline::emulator
