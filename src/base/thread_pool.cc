// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "base/file_io.h"

namespace redline {
namespace {

// About 30 us on the CPUs at hand, a little more than a wake-up costs: the steps of a network
// follow one another closer than that.
constexpr int kSpins = 1000;
// Chunks for each thread: enough to even out threads that start late, few enough to be cheap.
constexpr int64_t kChunksPerThread = 4;

// Set while this thread runs a chunk. It marks nesting and carries nothing.
thread_local bool inside_loop = false;

void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t ceil_div(int64_t a, int64_t b) { return a / b + (a % b != 0); }

std::string read_line(const std::string& path) {
  auto text = read_text_file(path, 4096);
  return text.ok() ? *std::move(text) : std::string();
}

int container_cpu_limit() {
  long long quota = 0;
  long long period = 0;
  const std::string limit = read_line("/sys/fs/cgroup/cpu.max");
  if (std::sscanf(limit.c_str(), "%lld %lld", &quota, &period) != 2) return CPU_SETSIZE;
  if (quota <= 0 || period <= 0) return CPU_SETSIZE;
  return static_cast<int>(std::clamp<long long>(ceil_div(quota, period), 1, CPU_SETSIZE));
}

}  // namespace

int usable_core_count() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  int cores = 0;
  if (::sched_getaffinity(0, sizeof mask, &mask) == 0) {
    std::set<std::pair<std::string, std::string>> seen;
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
      if (!CPU_ISSET(cpu, &mask)) continue;
      const std::string folder = str_cat("/sys/devices/system/cpu/cpu", cpu, "/topology/");
      std::string core = read_line(folder + "core_id");
      if (core.empty()) core = str_cat("cpu ", cpu);
      seen.emplace(read_line(folder + "physical_package_id"), std::move(core));
    }
    cores = static_cast<int>(seen.size());
  } else {
    cores = static_cast<int>(std::thread::hardware_concurrency());
  }
  return std::clamp(cores, 1, container_cpu_limit());
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(int num_threads) {
  if (num_threads < 0 || num_threads > 4096) {
    return invalid_argument("a thread pool of ", num_threads, " threads; expected 0 to 4096");
  }
  if (num_threads == 0) num_threads = usable_core_count();
  std::unique_ptr<ThreadPool> pool(new ThreadPool());
  pool->workers_.reserve(static_cast<size_t>(num_threads) - 1);
  for (int worker = 1; worker < num_threads; ++worker) {
    try {
      pool->workers_.emplace_back([p = pool.get(), worker] { p->worker_loop(worker); });
    } catch (const std::system_error& error) {
      return out_of_memory("cannot start thread ", worker, " of ", num_threads, ": ", error.what());
    }
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  epoch_.fetch_add(1);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::parallel_for(int64_t count, int64_t grain,
                              FunctionRef<void(int64_t, int64_t)> fn) {
  parallel_for_worker(count, grain, [fn](int64_t begin, int64_t end, int) { fn(begin, end); });
}

void ThreadPool::parallel_for_worker(int64_t count, int64_t grain,
                                     FunctionRef<void(int64_t, int64_t, int)> fn) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const bool shared = count > grain && !workers_.empty() && !inside_loop;
  const auto open = [&](Slot* slot) {
    slot->count = count;
    slot->chunk = grain * ceil_div(ceil_div(count, grain), num_threads() * kChunksPerThread);
    slot->fn = &fn;
    slot->next.store(0, std::memory_order_relaxed);
  };
  if (const Team team = team_.load(std::memory_order_relaxed); team != nullptr && shared) {
    // Always of the same size: a team that shrinks ends threads and starts them again.
    Slot slot;
    open(&slot);
    team(
        num_threads(),
        [](void* context, int32_t i, int32_t) { work(*static_cast<Slot*>(context), i); }, &slot);
    return;
  }
  Slot* slot = shared ? claim_slot() : nullptr;
  if (slot == nullptr) {
    const bool outer = std::exchange(inside_loop, true);
    fn(0, count, 0);
    inside_loop = outer;
    return;
  }
  open(slot);
  slot->state.store(kOpen);
  wake(ceil_div(count, slot->chunk) - 1);

  work(*slot, 0);

  // Sequentially consistent on both sides: either a late worker sees kClosed and leaves `fn` alone,
  // or the wait below sees that worker in `users`.
  slot->state.store(kClosed);
  for (int spin = 0; slot->users.load() != 0; ++spin) {
    if (spin < kSpins) {
      cpu_pause();
    } else if (const int users = slot->users.load(); users != 0) {
      slot->users.wait(users);
    }
  }
  slot->state.store(kFree, std::memory_order_release);
}

ThreadPool::Slot* ThreadPool::claim_slot() {
  for (Slot& slot : slots_) {
    int expected = kFree;
    if (slot.state.load(std::memory_order_relaxed) == kFree &&
        slot.state.compare_exchange_strong(expected, kClaimed, std::memory_order_acquire)) {
      return &slot;
    }
  }
  return nullptr;
}

void ThreadPool::wake(int64_t wanted) {
  epoch_.fetch_add(1);
  const int sleepers = sleepers_.load();
  if (sleepers == 0) return;
  if (wanted >= sleepers) {
    epoch_.notify_all();
  } else {
    for (int64_t i = 0; i < wanted; ++i) epoch_.notify_one();
  }
}

void ThreadPool::work(Slot& slot, int worker) {
  const int64_t count = slot.count;
  const int64_t chunk = slot.chunk;
  inside_loop = true;
  const int64_t chunks = ceil_div(count, chunk);
  while (true) {
    const int64_t index = slot.next.fetch_add(1, std::memory_order_relaxed);
    if (index >= chunks) break;
    const int64_t begin = index * chunk;
    (*slot.fn)(begin, count - begin < chunk ? count : begin + chunk, worker);
  }
  inside_loop = false;
}

bool ThreadPool::help(int worker) {
  bool helped = false;
  for (Slot& slot : slots_) {
    if (slot.state.load(std::memory_order_relaxed) != kOpen) continue;
    slot.users.fetch_add(1);
    if (slot.state.load() == kOpen) {
      work(slot, worker);
      helped = true;
    }
    if (slot.users.fetch_sub(1) == 1) slot.users.notify_all();
  }
  return helped;
}

void ThreadPool::worker_loop(int worker) {
  while (true) {
    const int epoch = epoch_.load();
    if (stop_.load()) return;
    help(worker);
    int spin = 0;
    while (spin < kSpins && epoch_.load(std::memory_order_relaxed) == epoch) {
      cpu_pause();
      ++spin;
    }
    if (spin < kSpins) continue;
    sleepers_.fetch_add(1);
    epoch_.wait(epoch);
    sleepers_.fetch_sub(1);
  }
}

}  // namespace redline
