// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "base/function_ref.h"
#include "base/status.h"

namespace redline {

// The physical cores that this process may use: those of its affinity mask, hyper-threads counted
// once, and no more than the container's CPU quota allows. At least 1.
int usable_core_count();

// Threads that share loops, one pool for all sessions. Thread-safe: several threads may call
// parallel_for at once, each works on its own loop and idle workers join whichever is open.
// A call does not allocate, and nobody holds a lock while working.
class ThreadPool {
 public:
  // `num_threads` counts the calling thread, so 1 starts none; 0 means usable_core_count().
  static Result<std::unique_ptr<ThreadPool>> create(int num_threads = 0);
  // No parallel_for may be running.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Another library's threads: runs body(context, i, n) for each i in [0, n), n <= threads, at once
  // and returns when all are done.
  using Team = void (*)(int32_t threads, void (*body)(void* context, int32_t i, int32_t n),
                        void* context);
  // Loops that begin after this run on `team` instead of the pool's own workers, which sleep. For a
  // library whose threads spin between its calls and would take the cores from ours: two teams that
  // alternate need 1.5 times as long as one, and stall for milliseconds. Thread-safe.
  void use_team(Team team) { team_.store(team, std::memory_order_relaxed); }

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls fn(begin, end) on ranges that cover [0, count) once; each begins at a multiple of
  // `grain`, the least number of items worth a hand-over (≥ 1), and has a multiple of it unless it
  // is the last. Returns when all are done; what fn wrote is then visible. The caller takes part.
  // Inside another parallel_for it is one plain call fn(0, count). fn must not throw.
  void parallel_for(int64_t count, int64_t grain, FunctionRef<void(int64_t, int64_t)> fn);

  // The same with fn(begin, end, worker), where `worker` < num_threads() is unique among the
  // threads that work on this call at one time: an index into per-thread scratch memory.
  void parallel_for_worker(int64_t count, int64_t grain,
                           FunctionRef<void(int64_t, int64_t, int)> fn);

 private:
  // A place for one open loop. A slot is written only by the caller that claimed it; a worker first
  // counts itself in `users`, then reads the rest only if `state` is still kOpen.
  enum State : int { kFree, kClaimed, kOpen, kClosed };
  struct alignas(64) Slot {
    std::atomic<int> state{kFree};
    std::atomic<int> users{0};
    int64_t count = 0;
    int64_t chunk = 0;
    const FunctionRef<void(int64_t, int64_t, int)>* fn = nullptr;
    alignas(64) std::atomic<int64_t> next{0};  // the first chunk nobody took
  };

  ThreadPool() = default;
  void worker_loop(int worker);
  bool help(int worker);
  static void work(Slot& slot, int worker);
  Slot* claim_slot();
  void wake(int64_t wanted);

  // More callers than slots run their loops alone.
  std::array<Slot, 16> slots_;
  alignas(64) std::atomic<int> epoch_{0};  // changes with each opened loop
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stop_{false};
  std::atomic<Team> team_{nullptr};
  std::vector<std::thread> workers_;
};

}  // namespace redline
