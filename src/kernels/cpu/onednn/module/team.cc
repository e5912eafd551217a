// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/onednn/module/team.h"

#include <dlfcn.h>
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <iterator>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cpu/onednn/module/redirect.h"

namespace redline::kernels::onednn {
namespace {

using Body = void (*)(void* data);

// Some 100 us on the CPUs at hand: the steps of a network follow one another closer than that, and
// a thread that the system does not let run costs the others no more.
constexpr int kSpins = 3000;

// Where this thread is. Trivial: it may be read until the thread's end.
class Team;
struct Place {
  Team* team;       // of the region that it runs in
  int index;        // in the team
  int count;        // threads of the region; 0 outside of any
  int max_threads;  // what a TeamSize asked for; 0: this thread belongs to libgomp
};
thread_local constinit Place t_place = {};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

template <class T>
void wait_while(const std::atomic<T>& value, T old) {
  for (int spin = 0; spin < kSpins; ++spin) {
    if (value.load(std::memory_order_acquire) != old) return;
    pause();
  }
  while (value.load(std::memory_order_acquire) == old) value.wait(old);
}

// The caller of `run` and as many threads as it ever asked for.
class Team {
 public:
  Team* next = nullptr;  // while nobody has it

  // False when a thread could not be started.
  bool grow(int threads) {
    try {
      while (static_cast<int>(workers_.size()) + 1 < threads) {
        auto worker = std::make_unique<Worker>();
        const int index = static_cast<int>(workers_.size()) + 1;
        std::thread([this, index, w = worker.get()] { work(index, *w); }).detach();
        workers_.push_back(std::move(worker));
      }
    } catch (...) {
      return false;
    }
    return true;
  }

  void run(Body body, void* data, int threads) {
    body_ = body;
    data_ = data;
    count_ = threads;
    max_threads_ = t_place.max_threads;
    pending_.store(threads - 1, std::memory_order_relaxed);
    for (int i = 0; i + 1 < threads; ++i) {
      Worker& worker = *workers_[static_cast<size_t>(i)];
      worker.go.store(1, std::memory_order_release);
      worker.go.notify_one();
    }
    enter(0, max_threads_);
    for (int left = pending_.load(std::memory_order_acquire); left != 0;
         left = pending_.load(std::memory_order_acquire)) {
      wait_while(pending_, left);
    }
  }

  void barrier() {
    const int phase = barrier_phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == count_) {
      arrived_.store(0, std::memory_order_relaxed);
      barrier_phase_.store(phase + 1, std::memory_order_release);
      barrier_phase_.notify_all();
    } else {
      wait_while(barrier_phase_, phase);
    }
  }

 private:
  struct alignas(64) Worker {
    std::atomic<int> go{0};
  };

  void enter(int index, int max_threads) {
    const Place outer = t_place;
    t_place = {this, index, count_, max_threads};
    body_(data_);
    t_place = outer;
  }

  // Never ends: teams live as long as the process.
  void work(int index, Worker& worker) {
    while (true) {
      wait_while(worker.go, 0);
      worker.go.store(0, std::memory_order_relaxed);
      enter(index, max_threads_);
      if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1) pending_.notify_one();
    }
  }

  Body body_ = nullptr;
  void* data_ = nullptr;
  int count_ = 0;
  int max_threads_ = 0;
  std::vector<std::unique_ptr<Worker>> workers_;
  alignas(64) std::atomic<int> pending_{0};
  alignas(64) std::atomic<int> arrived_{0};
  std::atomic<int> barrier_phase_{0};
};

// A thread takes a team at its first region and leaves it to others when it ends, so that the
// regions in between neither lock nor allocate.
std::mutex g_idle_mutex;
Team* g_idle = nullptr;  // a list by Team::next

// Trivial, so that it may be read until the thread's very end.
struct OwnTeam {
  Team* team;
  bool ended;
};
thread_local constinit OwnTeam t_own = {};

struct LeaveAtThreadEnd {
  ~LeaveAtThreadEnd() {
    t_own.ended = true;
    Team* team = std::exchange(t_own.team, nullptr);
    if (team == nullptr) return;
    std::lock_guard lock(g_idle_mutex);
    team->next = std::exchange(g_idle, team);
  }
};

// Null without memory, or when the thread is about to end.
Team* own_team() {
  if (t_own.team != nullptr || t_own.ended) return t_own.team;
  static thread_local LeaveAtThreadEnd leave;
  (void)leave;
  std::lock_guard lock(g_idle_mutex);
  if (g_idle != nullptr) {
    t_own.team = std::exchange(g_idle, g_idle->next);
  } else {
    t_own.team = new (std::nothrow) Team();
  }
  return t_own.team;
}

// A child process has none of its parent's threads but the one that forks.
void lock_teams() { g_idle_mutex.lock(); }
void unlock_teams() { g_idle_mutex.unlock(); }
void forget_teams() {
  g_idle = nullptr;
  t_own.team = nullptr;
  g_idle_mutex.unlock();
}

using Parallel = void (*)(Body, void*, unsigned, unsigned);
Parallel g_parallel = nullptr;
void (*g_barrier)() = nullptr;

void run_alone(Body body, void* data) {
  const Place outer = t_place;
  t_place = {nullptr, 0, 1, outer.max_threads};
  body(data);
  t_place = outer;
}

// False when there are not as many threads to be had.
bool run_region(Body body, void* data, int threads) {
  // Regions inside of regions have one thread, as by OpenMP's default.
  if (threads <= 1 || t_place.count > 1) {
    run_alone(body, data);
    return true;
  }
  Team* team = own_team();
  if (team == nullptr || !team->grow(threads)) return false;
  team->run(body, data, threads);
  return true;
}

bool is_ours() { return t_place.max_threads > 0 || t_place.count > 0; }

void parallel(Body body, void* data, unsigned threads, unsigned flags) {
  const int wanted = threads == 0 ? t_place.max_threads : static_cast<int>(threads);
  // libgomp ends the process where threads are not to be had, and says why.
  if (!is_ours() || !run_region(body, data, wanted)) g_parallel(body, data, threads, flags);
}

void barrier() {
  if (t_place.count == 0) return g_barrier();
  if (t_place.team != nullptr) t_place.team->barrier();
}

int max_threads() { return is_ours() ? std::max(t_place.max_threads, 1) : omp_get_max_threads(); }
int thread_count() { return t_place.count > 0 ? t_place.count : omp_get_num_threads(); }
int thread_index() { return t_place.count > 0 ? t_place.index : omp_get_thread_num(); }
int in_parallel() { return t_place.count > 0 ? t_place.count > 1 : omp_in_parallel(); }

std::atomic<bool> g_own_teams = false;

}  // namespace

void use_own_teams() {
  Redirect all[] = {{"GOMP_parallel", reinterpret_cast<const void*>(&parallel)},
                    {"GOMP_barrier", reinterpret_cast<const void*>(&barrier)},
                    {"omp_get_max_threads", reinterpret_cast<const void*>(&max_threads)},
                    {"omp_get_num_threads", reinterpret_cast<const void*>(&thread_count)},
                    {"omp_get_thread_num", reinterpret_cast<const void*>(&thread_index)},
                    {"omp_in_parallel", reinterpret_cast<const void*>(&in_parallel)}};
  const void* libdnnl = reinterpret_cast<const void*>(&dnnl_version);
  const void* libgomp = reinterpret_cast<const void*>(&omp_get_max_threads);
  // A libdnnl that imports more than these may need what libgomp knows of its threads.
  if (count_imports(libdnnl, libgomp) != static_cast<int>(std::size(all))) return;
  g_parallel = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  g_barrier = reinterpret_cast<void (*)()>(dlsym(RTLD_DEFAULT, "GOMP_barrier"));
  if (g_parallel == nullptr || g_barrier == nullptr) return;
  if (pthread_atfork(lock_teams, unlock_teams, forget_teams) != 0) return;
  g_own_teams = redirect_imports(libdnnl, libgomp, all);
}

namespace {

struct LoopCall {
  void (*body)(void* context, int32_t i, int32_t n);
  void* context;
};

}  // namespace

void run_team(int32_t threads, void (*body)(void* context, int32_t i, int32_t n), void* context) {
  if (threads <= 1) return body(context, 0, 1);
  LoopCall call = {body, context};
  const auto enter = [](void* data) {
    const auto* loop = static_cast<const LoopCall*>(data);
    loop->body(loop->context, t_place.index, t_place.count);
  };
  if (g_own_teams && run_region(enter, &call, threads)) return;
#pragma omp parallel num_threads(threads)
  body(context, omp_get_thread_num(), omp_get_num_threads());
}

bool in_team_region() { return t_place.count > 0; }

TeamSize::TeamSize(int threads) {
  if (g_own_teams) {
    before_ = std::exchange(t_place.max_threads, threads);
  } else {
    before_ = omp_get_max_threads();
    omp_set_num_threads(threads);
  }
}

TeamSize::~TeamSize() {
  if (g_own_teams) {
    t_place.max_threads = before_;
  } else {
    omp_set_num_threads(before_);
  }
}

}  // namespace redline::kernels::onednn
