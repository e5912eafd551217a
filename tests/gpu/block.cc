// SPDX-License-Identifier: Apache-2.0
#include "block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "base/status.h"

// Pushes what a function must keep, swaps the stack pointers and pops the other stack's.
extern "C" void redline_switch_stack(void** save, void* load);
asm(R"(
.text
.globl redline_switch_stack
.hidden redline_switch_stack
.type redline_switch_stack, @function
redline_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size redline_switch_stack, . - redline_switch_stack
)");

namespace redline::emulator {
namespace {

constexpr size_t kStackBytes = 256 * 1024;
constexpr size_t kPageBytes = 4096;
constexpr unsigned int kWarp = 32;
constexpr unsigned int kBarriers = 16;
constexpr unsigned char kPoison = 0xff;
// Passes in which threads only yielded before another block gets its turn.
constexpr int kMaxIdlePasses = 8;
// Turns of all blocks in which none did anything but yield before they are taken for stuck.
constexpr int kMaxIdleRounds = 1000;
// Clusters that have begun and wait for others of the grid: one a multiprocessor.
constexpr size_t kMostClusters = 132;
// Clusters that begin before the kernel in front has ended.
constexpr uint64_t kMostEarly = 4;

enum class State { kNew, kReady, kAtBarrier, kInExchange, kYielded, kAtCluster, kAtFormer, kDone };

struct Thread {
  State state = State::kNew;
  bool has_waited = false;  // for the kernel in front
  int stack = -1;
  void* stack_pointer = nullptr;
  unsigned int barrier = 0, threads = 0;  // at a barrier
  unsigned int mask = 0, bytes = 0;       // in an exchange
  char given[kExchangeBytes];
  std::vector<char> own;
};

class Block {
 public:
  Block(const GridLaunch& launch, ThreadOrder order)
      : kernel_(*launch.kernel),
        parameters_(launch.parameters),
        extent_(launch.block),
        order_(order),
        early_(launch.early),
        threads_(size_t{extent_.x} * extent_.y * extent_.z),
        seen_(threads_.size() * kExchangeBytes + kWarp * kExchangeBytes),
        bytes_(threads_.size() * kStackBytes) {
    void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stacks_ = memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    if (stacks_ != nullptr) munmap(stacks_, bytes_);
  }

  // `former_runs`: the kernel in front has not ended.
  void start(bool former_runs) {
    for (Thread& thread : threads_) {
      thread.state = State::kNew;
      thread.has_waited = false;
      thread.own.clear();
    }
    former_runs_ = former_runs;
    sources_.clear();
    wrong_.clear();
    free_stacks_.clear();
    next_stack_ = 0;
  }
  void end_former() {
    former_runs_ = false;
    for (Thread& thread : threads_) {
      if (thread.state == State::kAtFormer) thread.state = State::kReady;
    }
  }
  bool done() const { return all_in(State::kDone); }
  bool has_waited() const {
    return std::any_of(threads_.begin(), threads_.end(),
                       [](const Thread& t) { return t.has_waited; });
  }
  // Whether threads of it yield, for others than its own.
  bool waits() const { return waits_; }
  // Whether any thread did anything but yield in the last run().
  bool moved() const { return moved_; }

  // Until all threads have ended or wait for the cluster, or until some wait for other blocks or
  // for the kernel in front; empty, or what was wrong.
  std::string run(bool behind_cluster_barrier) {
    if (stacks_ == nullptr) return "no memory for the threads' stacks";
    waits_ = moved_ = false;
    for (Thread& thread : threads_) {
      if (behind_cluster_barrier && thread.state == State::kAtCluster) thread.state = State::kReady;
    }
    for (int idle = 0; idle < kMaxIdlePasses;) {
      unsigned int warps = (count() + kWarp - 1) / kWarp;
      bool moved = std::exchange(moved_, false);
      for (unsigned int i = 0; i < warps; ++i) {
        run_warp(order_ == ThreadOrder::kForward ? i : warps - 1 - i);
      }
      if (!wrong_.empty()) return wrong_;
      if (all_in(State::kDone) || all_in(State::kAtCluster)) return {};
      bool released = release_barriers();
      if (!wake_yielded() && !released) {
        waits_ = any_in(State::kAtFormer);
        return waits_ ? std::string() : stuck();
      }
      idle = released || moved_ ? 0 : idle + 1;
      moved_ |= moved || released;
    }
    waits_ = true;
    return {};
  }

  const char* exchange(unsigned int mask, const void* given, unsigned int bytes) {
    Thread& thread = threads_[running_];
    thread.mask = mask;
    thread.bytes = bytes;
    std::memcpy(thread.given, given, bytes);
    unsigned int first = running_ / kWarp * kWarp;
    ++exchanging_;
    suspend(State::kInExchange);
    return seen_.data() + size_t{first} * kExchangeBytes;
  }
  void barrier(unsigned int id, unsigned int threads) {
    threads_[running_].barrier = id % kBarriers;
    threads_[running_].threads = threads;
    suspend(State::kAtBarrier);
  }
  void yield() { suspend(State::kYielded); }
  void cluster_barrier() { suspend(State::kAtCluster); }
  void wait_for_former() {
    if (former_runs_) suspend(State::kAtFormer);
    threads_[running_].has_waited = true;
  }
  void release_next() {
    if (!early_ || threads_[running_].has_waited || !wrong_.empty()) return;
    wrong_ = "lets the next kernel start before it has waited for the former one";
  }
  const void* source(const void* from, size_t bytes) {
    if (!former_runs_ || threads_[running_].has_waited) return from;
    const char* first = static_cast<const char*>(from);
    return sources_.emplace_back(first, first + bytes).data();
  }
  void* own(size_t bytes) {
    std::vector<char>& own = threads_[running_].own;
    if (own.size() < bytes) own.resize(bytes);
    return own.data();
  }
  void main() {
    kernel_.run(parameters_);
    suspend(State::kDone);
  }

 private:
  unsigned int count() const { return static_cast<unsigned int>(threads_.size()); }
  bool all_in(State state) const {
    return std::all_of(threads_.begin(), threads_.end(),
                       [&](const Thread& t) { return t.state == state; });
  }

  bool any_in(State state) const {
    return std::any_of(threads_.begin(), threads_.end(),
                       [&](const Thread& t) { return t.state == state; });
  }

  void run_warp(unsigned int warp) {
    unsigned int first = warp * kWarp;
    unsigned int lanes = std::min(kWarp, count() - first);
    for (bool again = true; again;) {
      bool ran = false;
      for (unsigned int i = 0; i < lanes; ++i) {
        unsigned int t = first + (order_ == ThreadOrder::kForward ? i : lanes - 1 - i);
        State state = threads_[t].state;
        if (state != State::kNew && state != State::kReady) continue;
        resume(t);
        ran = true;
      }
      again = ran && exchanging_ > 0 && release_exchanges(first, lanes);
    }
  }

  // Ends the exchanges whose lanes have all come.
  bool release_exchanges(unsigned int first, unsigned int lanes) {
    bool released = false;
    for (unsigned int i = 0; i < lanes; ++i) {
      if (threads_[first + i].state != State::kInExchange) continue;
      unsigned int mask = threads_[first + i].mask;
      bool complete = true;
      for (unsigned int k = 0; k < lanes; ++k) {
        const Thread& other = threads_[first + k];
        if ((mask >> k & 1) == 0 || other.state == State::kDone) continue;
        complete &= other.state == State::kInExchange && other.mask == mask;
      }
      if (complete) finish_exchange(first, lanes, mask);
      released |= complete;
    }
    return released;
  }

  void finish_exchange(unsigned int first, unsigned int lanes, unsigned int mask) {
    for (unsigned int k = 0; k < lanes; ++k) {
      if ((mask >> k & 1) == 0) continue;
      Thread& lane = threads_[first + k];
      char* seen = seen_.data() + size_t{first + k} * kExchangeBytes;
      std::memset(seen, 0, kExchangeBytes);
      if (lane.state == State::kDone) continue;
      std::memcpy(seen, lane.given, lane.bytes);
      lane.state = State::kReady;
      --exchanging_;
    }
  }

  bool release_barriers() {
    bool released = false;
    unsigned int live = 0;
    for (const Thread& t : threads_) live += t.state != State::kDone ? 1 : 0;
    for (unsigned int id = 0; id < kBarriers; ++id) {
      unsigned int arrived = 0;
      unsigned int wanted = 0;
      for (const Thread& t : threads_) {
        if (t.state != State::kAtBarrier || t.barrier != id) continue;
        ++arrived;
        wanted = t.threads == 0 ? live : t.threads;
      }
      if (arrived == 0 || arrived < wanted) continue;
      for (Thread& t : threads_) {
        if (t.state == State::kAtBarrier && t.barrier == id) t.state = State::kReady;
      }
      released = true;
    }
    return released;
  }

  bool wake_yielded() {
    bool woken = false;
    for (Thread& t : threads_) {
      if (t.state != State::kYielded) continue;
      t.state = State::kReady;
      woken = true;
    }
    return woken;
  }

  std::string stuck() const {
    size_t barrier = 0;
    size_t exchange = 0;
    for (const Thread& t : threads_) {
      barrier += t.state == State::kAtBarrier ? 1 : 0;
      exchange += t.state == State::kInExchange ? 1 : 0;
    }
    return str_cat("threads wait for others that do not come: ", barrier, " at a barrier, ",
                   exchange, " in an exchange of their warp, of ", count());
  }

  void resume(unsigned int t) {
    Thread& thread = threads_[t];
    if (thread.state == State::kNew) start(thread);
    *kernel_.thread_idx = {t % extent_.x, t / extent_.x % extent_.y, t / extent_.x / extent_.y};
    running_ = t;
    redline_switch_stack(&scheduler_, thread.stack_pointer);
    if (thread.state == State::kDone) free_stacks_.push_back(thread.stack);
  }

  void suspend(State state) {
    Thread& thread = threads_[running_];
    thread.state = state;
    moved_ |= state != State::kYielded;
    redline_switch_stack(&thread.stack_pointer, scheduler_);
  }

  void start(Thread& thread);

  const KernelTable& kernel_;
  void** parameters_;
  Extent3 extent_;
  ThreadOrder order_;
  bool early_;
  bool former_runs_ = false;
  std::vector<Thread> threads_;
  std::deque<std::vector<char>> sources_;  // of copies that began too early to read changing memory
  std::string wrong_;                      // what a thread did
  std::vector<char> seen_;
  size_t bytes_;
  char* stacks_;
  std::vector<int> free_stacks_;
  int next_stack_ = 0;
  int exchanging_ = 0;
  unsigned int running_ = 0;
  bool waits_ = false, moved_ = false;
  void* scheduler_ = nullptr;
};

Block*& current() {
  static Block* block = nullptr;
  return block;
}

// The blocks of one cluster, which take turns at its barriers and when they wait for others of the
// grid. Each finds the shared memory as it left it.
class Cluster {
 public:
  Cluster(const GridLaunch& launch, ThreadOrder order)
      : kernel_(*launch.kernel),
        extent_(launch.cluster),
        early_(launch.early),
        dynamic_bytes_(launch.shared_bytes + kSharedGuardBytes) {
    unsigned int count = extent_.x * extent_.y * extent_.z;
    static_bytes_ = kernel_.shared_begin == nullptr
                        ? 0
                        : static_cast<size_t>(kernel_.shared_end - kernel_.shared_begin);
    for (unsigned int i = 0; i < count; ++i) {
      blocks_.push_back(std::make_unique<Block>(launch, order));
      kept_.emplace_back(static_bytes_ + dynamic_bytes_);
    }
  }

  // The cluster whose first block is `first`.
  void start(Extent3 first, bool former_runs) {
    first_ = first;
    behind_barrier_ = true;
    done_ = moved_ = false;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      std::fill(kept_[i].begin(), kept_[i].end(), static_cast<char>(kPoison));
      blocks_[i]->start(former_runs);
    }
  }
  void end_former() {
    for (auto& block : blocks_) block->end_former();
  }

  // Until all blocks have ended, or until some wait for others of the grid or the kernel in front.
  std::string run() {
    done_ = moved_ = false;
    while (!done_) {
      size_t ended = 0;
      bool waits = false;
      for (running_ = 0; running_ < blocks_.size(); ++running_) {
        Block& block = *blocks_[running_];
        std::string wrong = run_block();
        if (!wrong.empty()) return wrong;
        ended += block.done() ? 1 : 0;
        waits |= block.waits();
        moved_ |= block.moved();
      }
      // Those that have come to the barrier stay there until all have.
      behind_barrier_ = !waits;
      if (waits) return {};
      done_ = ended == blocks_.size();
      if (!done_ && ended > 0) return "blocks wait for others of their cluster that have ended";
    }
    return {};
  }
  bool done() const { return done_; }
  bool moved() const { return moved_; }

  const void* in_block(const void* place, int rank) const {
    auto block = static_cast<size_t>(rank);
    if (block == running_ || block >= blocks_.size()) return place;
    return kept_[block].data() + static_bytes_ +
           (static_cast<const char*>(place) - kernel_.dynamic_shared);
  }

 private:
  std::string run_block() {
    auto rank = static_cast<unsigned int>(running_);
    *kernel_.block_idx = {first_.x + rank % extent_.x, first_.y + rank / extent_.x % extent_.y,
                          first_.z + rank / extent_.x / extent_.y};
    std::vector<char>& kept = kept_[running_];
    if (static_bytes_ > 0) std::memcpy(kernel_.shared_begin, kept.data(), static_bytes_);
    std::memcpy(kernel_.dynamic_shared, kept.data() + static_bytes_, dynamic_bytes_);
    current() = blocks_[running_].get();
    std::string wrong = blocks_[running_]->run(behind_barrier_);
    if (!wrong.empty()) return wrong;
    if (static_bytes_ > 0) std::memcpy(kept.data(), kernel_.shared_begin, static_bytes_);
    std::memcpy(kept.data() + static_bytes_, kernel_.dynamic_shared, dynamic_bytes_);
    bool intact = std::all_of(kept.end() - kSharedGuardBytes, kept.end(),
                              [](char c) { return static_cast<unsigned char>(c) == kPoison; });
    if (!intact) return "wrote behind the shared memory";
    // Nobody may read the shared memory of a block that has ended.
    if (blocks_[running_]->done()) {
      if (early_ && !blocks_[running_]->has_waited()) {
        return "a block ended that has not waited for the former kernel";
      }
      std::fill(kept.begin(), kept.end(), static_cast<char>(kPoison));
    }
    return {};
  }

  const KernelTable& kernel_;
  Extent3 extent_;
  bool early_;
  size_t static_bytes_ = 0;
  size_t dynamic_bytes_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<std::vector<char>> kept_;
  size_t running_ = 0;
  Extent3 first_ = {0, 0, 0};
  bool behind_barrier_ = true, done_ = false, moved_ = false;
};

Cluster*& cluster() {
  static Cluster* running = nullptr;
  return running;
}

void thread_main() { current()->main(); }

void Block::start(Thread& thread) {
  if (free_stacks_.empty()) {
    thread.stack = next_stack_++;
    // What overflows a stack faults instead of spoiling its neighbour.
    mprotect(stacks_ + static_cast<size_t>(thread.stack) * kStackBytes, kPageBytes, PROT_NONE);
  } else {
    thread.stack = free_stacks_.back();
    free_stacks_.pop_back();
  }
  // As if thread_main() had been called and had switched away at once: six registers, then where
  // to return to.
  char* top = stacks_ + (static_cast<size_t>(thread.stack) + 1) * kStackBytes;
  void* frame[8] = {};
  frame[6] = reinterpret_cast<void*>(&thread_main);
  thread.stack_pointer = top - sizeof frame;
  std::memcpy(thread.stack_pointer, frame, sizeof frame);
  thread.state = State::kReady;
}

const HostFunctions kHost = {
    [](unsigned int mask, const void* given, unsigned int bytes) {
      return current()->exchange(mask, given, bytes);
    },
    [](unsigned int id, unsigned int threads) { current()->barrier(id, threads); },
    [] { current()->yield(); },
    [] { current()->cluster_barrier(); },
    [](const void* place, int rank) { return cluster()->in_block(place, rank); },
    [] { current()->wait_for_former(); },
    [] { current()->release_next(); },
    [](const void* from, unsigned long long bytes) { return current()->source(from, bytes); },
    [](unsigned long long bytes) { return current()->own(bytes); },
};

std::string refusal(const GridLaunch& launch) {
  const Extent3& grid = launch.grid;
  const Extent3& block = launch.block;
  const Extent3& cluster = launch.cluster;
  if (launch.shared_bytes > kDynamicSharedBytes) return "more shared memory than a block has";
  if (block.x == 0 || block.y == 0 || block.z == 0 ||
      uint64_t{block.x} * block.y * block.z > 1024) {
    return "not 1 to 1024 threads a block";
  }
  if (grid.x % cluster.x != 0 || grid.y % cluster.y != 0 || grid.z % cluster.z != 0 ||
      uint64_t{cluster.x} * cluster.y * cluster.z > 16) {
    return "a grid that is not made of clusters of at most 16 blocks";
  }
  return {};
}

}  // namespace

std::recursive_mutex& one_grid() {
  static std::recursive_mutex mutex;
  return mutex;
}

// A cluster begins when those before it have ended or wait for others.
struct RunningGrid::State {
  State(const GridLaunch& launch, ThreadOrder order)
      : launch(launch), order(order), wrong(refusal(launch)) {}

  std::string begin() {
    if (!wrong.empty()) return wrong;
    enter();
    for (uint64_t i = 0; i < std::min(kMostEarly, clusters()); ++i) {
      early.push_back(std::make_unique<Cluster>(launch, order));
      early.back()->start(place(i), /*former_runs=*/true);
      std::string failed = run(*early.back());
      if (!failed.empty()) return failed;
    }
    return {};
  }

  std::string finish() {
    if (!wrong.empty()) return wrong;
    enter();
    for (auto& begun : early) begun->end_former();
    for (uint64_t i = 0; i < clusters(); ++i) {
      std::string failed = go_on(i < early.size() ? std::move(early[i]) : start(i));
      if (!failed.empty()) return failed;
    }
    return end_waiting();
  }

 private:
  // What the kernel's text finds, which other grids of it have changed.
  void enter() const {
    *launch.kernel->host = kHost;
    *launch.kernel->grid_dim = launch.grid;
    *launch.kernel->block_dim = launch.block;
  }

  static std::string run(Cluster& running) {
    cluster() = &running;
    return running.run();
  }

  uint64_t clusters() const {
    const Extent3& grid = launch.grid;
    const Extent3& step = launch.cluster;
    return uint64_t{grid.x / step.x} * (grid.y / step.y) * (grid.z / step.z);
  }
  // The first block of a cluster.
  Extent3 place(uint64_t cluster) const {
    const Extent3& step = launch.cluster;
    uint64_t along_x = launch.grid.x / step.x;
    uint64_t along_y = launch.grid.y / step.y;
    return {static_cast<unsigned int>(cluster % along_x) * step.x,
            static_cast<unsigned int>(cluster / along_x % along_y) * step.y,
            static_cast<unsigned int>(cluster / along_x / along_y) * step.z};
  }

  std::unique_ptr<Cluster> start(uint64_t cluster) {
    std::unique_ptr<Cluster> next = std::move(spare);
    if (next == nullptr) next = std::make_unique<Cluster>(launch, order);
    next->start(place(cluster), /*former_runs=*/false);
    return next;
  }

  std::string go_on(std::unique_ptr<Cluster> next) {
    std::string failed = next->done() ? "" : run(*next);
    if (!failed.empty()) return failed;
    if (next->done()) {
      spare = std::move(next);
      return {};
    }
    if (!launch.together) return "blocks wait for others of a grid that need not run at once";
    waiting.push_back(std::move(next));
    return waiting.size() < kMostClusters ? "" : end_waiting();
  }

  // Until none waits any more.
  std::string end_waiting() {
    for (int idle = 0; !waiting.empty(); ++idle) {
      if (idle == kMaxIdleRounds) return "blocks wait for something that never comes";
      for (auto& each : waiting) {
        std::string failed = run(*each);
        if (!failed.empty()) return failed;
        if (each->moved()) idle = 0;
      }
      std::erase_if(waiting, [](const auto& each) { return each->done(); });
    }
    return {};
  }

  GridLaunch launch;
  ThreadOrder order;
  std::string wrong;
  std::vector<std::unique_ptr<Cluster>> early;  // those that were begun
  std::unique_ptr<Cluster> spare;
  std::vector<std::unique_ptr<Cluster>> waiting;
};

RunningGrid::RunningGrid(const GridLaunch& launch, ThreadOrder order)
    : state_(std::make_unique<State>(launch, order)) {}
RunningGrid::~RunningGrid() = default;

std::string RunningGrid::begin() {
  std::lock_guard lock(one_grid());
  return state_->begin();
}

std::string RunningGrid::finish() {
  std::lock_guard lock(one_grid());
  return state_->finish();
}

}  // namespace redline::emulator
