// SPDX-License-Identifier: Apache-2.0
#include "block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <mutex>
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
// Passes in which threads only yielded before they are taken for stuck.
constexpr int kMaxIdlePasses = 100000;

enum class State { kNew, kReady, kAtBarrier, kInExchange, kYielded, kDone };

struct Thread {
  State state = State::kNew;
  int stack = -1;
  void* stack_pointer = nullptr;
  unsigned int barrier = 0, threads = 0;  // at a barrier
  unsigned int mask = 0, bytes = 0;       // in an exchange
  char given[kExchangeBytes];
};

class Block {
 public:
  Block(const KernelTable& kernel, void** parameters, Extent3 block, ThreadOrder order)
      : kernel_(kernel),
        parameters_(parameters),
        extent_(block),
        order_(order),
        threads_(size_t{block.x} * block.y * block.z),
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

  // Empty, or what was wrong.
  std::string run() {
    if (stacks_ == nullptr) return "no memory for the threads' stacks";
    for (Thread& thread : threads_) thread.state = State::kNew;
    free_stacks_.clear();
    next_stack_ = 0;
    for (int idle = 0; idle < kMaxIdlePasses;) {
      unsigned int warps = (count() + kWarp - 1) / kWarp;
      bool ran = false;
      for (unsigned int i = 0; i < warps; ++i) {
        ran |= run_warp(order_ == ThreadOrder::kForward ? i : warps - 1 - i);
      }
      if (all_in(State::kDone)) return {};
      bool released = release_barriers();
      bool woken = wake_yielded();
      if (!released && !woken) return stuck();
      idle = released || !woken ? 0 : idle + 1;
      if (!ran) ++idle;
    }
    return "threads wait for something that never comes";
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

  bool run_warp(unsigned int warp) {
    unsigned int first = warp * kWarp;
    unsigned int lanes = std::min(kWarp, count() - first);
    bool ran_any = false;
    for (bool again = true; again;) {
      bool ran = false;
      for (unsigned int i = 0; i < lanes; ++i) {
        unsigned int t = first + (order_ == ThreadOrder::kForward ? i : lanes - 1 - i);
        State state = threads_[t].state;
        if (state != State::kNew && state != State::kReady) continue;
        resume(t);
        ran = true;
      }
      ran_any |= ran;
      again = ran && exchanging_ > 0 && release_exchanges(first, lanes);
    }
    return ran_any;
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
    redline_switch_stack(&thread.stack_pointer, scheduler_);
  }

  void start(Thread& thread);

  const KernelTable& kernel_;
  void** parameters_;
  Extent3 extent_;
  ThreadOrder order_;
  std::vector<Thread> threads_;
  std::vector<char> seen_;
  size_t bytes_;
  char* stacks_;
  std::vector<int> free_stacks_;
  int next_stack_ = 0;
  int exchanging_ = 0;
  unsigned int running_ = 0;
  void* scheduler_ = nullptr;
};

// One grid runs at a time.
std::mutex& one_grid() {
  static std::mutex mutex;
  return mutex;
}
Block*& current() {
  static Block* block = nullptr;
  return block;
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
};

void poison_shared(const KernelTable& kernel, unsigned int dynamic_bytes) {
  if (kernel.shared_begin != nullptr) {
    std::memset(kernel.shared_begin, kPoison,
                static_cast<size_t>(kernel.shared_end - kernel.shared_begin));
  }
  std::memset(kernel.dynamic_shared, kPoison, dynamic_bytes + kSharedGuardBytes);
}

bool guard_is_intact(const KernelTable& kernel, unsigned int dynamic_bytes) {
  const char* guard = kernel.dynamic_shared + dynamic_bytes;
  return std::all_of(guard, guard + kSharedGuardBytes,
                     [](char c) { return static_cast<unsigned char>(c) == kPoison; });
}

}  // namespace

std::string run_grid(const KernelTable& kernel, void** parameters, Extent3 grid, Extent3 block,
                     unsigned int shared_bytes, ThreadOrder order) {
  if (shared_bytes > kDynamicSharedBytes) return "more shared memory than a block has";
  if (block.x == 0 || block.y == 0 || block.z == 0 ||
      uint64_t{block.x} * block.y * block.z > 1024) {
    return "not 1 to 1024 threads a block";
  }
  std::lock_guard lock(one_grid());
  Block threads(kernel, parameters, block, order);
  current() = &threads;
  *kernel.host = kHost;
  *kernel.grid_dim = grid;
  *kernel.block_dim = block;
  Extent3& at = *kernel.block_idx;
  for (at.z = 0; at.z < grid.z; ++at.z) {
    for (at.y = 0; at.y < grid.y; ++at.y) {
      for (at.x = 0; at.x < grid.x; ++at.x) {
        poison_shared(kernel, shared_bytes);
        std::string wrong = threads.run();
        if (!wrong.empty()) return wrong;
        if (!guard_is_intact(kernel, shared_bytes)) return "wrote behind the shared memory";
      }
    }
  }
  return {};
}

}  // namespace redline::emulator
