// SPDX-License-Identifier: Apache-2.0
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>

#include <thread>
#include <utility>
#include <vector>

namespace {
std::atomic<int64_t> allocations{0};
}

void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* p = std::malloc(size == 0 ? 1 : size)) return p;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, size_t) noexcept { std::free(p); }

namespace redline {
namespace {

std::unique_ptr<ThreadPool> make_pool(int num_threads) {
  auto pool = ThreadPool::create(num_threads);
  EXPECT_TRUE(pool.ok()) << pool.status().to_string();
  return *std::move(pool);
}

TEST(ThreadPool, CoversEachItemOnce) {
  for (int threads : {1, 2, 5}) {
    const auto pool = make_pool(threads);
    for (int64_t count : {0, 1, 2, 7, 64, 1000, 10007}) {
      for (int64_t grain : {0, 1, 3, 64, 20000}) {
        std::vector<std::atomic<int>> hits(count);
        pool->parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) hits[i].fetch_add(1);
        });
        for (auto& hit : hits) ASSERT_EQ(hit.load(), 1) << threads << " " << count << " " << grain;
      }
    }
  }
}

TEST(ThreadPool, RangesKeepToTheGrain) {
  const auto pool = make_pool(3);
  std::mutex mutex;
  std::vector<std::pair<int64_t, int64_t>> ranges;
  pool->parallel_for(1003, 16, [&](int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    ranges.emplace_back(begin, end);
  });
  EXPECT_GT(ranges.size(), 3u);
  for (auto [begin, end] : ranges) {
    EXPECT_EQ(begin % 16, 0);
    EXPECT_TRUE(end % 16 == 0 || end == 1003) << end;
  }
}

TEST(ThreadPool, NegativeAndHugeCounts) {
  const auto pool = make_pool(4);
  pool->parallel_for(-5, 1, [](int64_t, int64_t) { FAIL(); });
  std::atomic<int64_t> covered{0};
  const int64_t count = INT64_MAX;
  pool->parallel_for(count, INT64_MAX / 2, [&](int64_t begin, int64_t end) {
    ASSERT_LT(begin, end);
    covered.fetch_add(end - begin);
  });
  EXPECT_EQ(covered.load(), count);
}

TEST(ThreadPool, WorkReallyRunsOnSeveralThreads) {
  const auto pool = make_pool(3);
  std::atomic<int> arrived{0};
  // Each of three chunks waits for the other two, which ends only if three threads take part.
  pool->parallel_for(3, 1, [&](int64_t begin, int64_t end) {
    ASSERT_EQ(end, begin + 1);
    arrived.fetch_add(1);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (arrived.load() < 3 && std::chrono::steady_clock::now() < limit) {
      std::this_thread::yield();
    }
  });
  EXPECT_EQ(arrived.load(), 3);
}

TEST(ThreadPool, WorkerIndicesAreUniqueAtOneTime) {
  const auto pool = make_pool(4);
  std::vector<std::atomic<bool>> busy(4);
  for (int round = 0; round < 200; ++round) {
    pool->parallel_for_worker(64, 1, [&](int64_t, int64_t, int worker) {
      ASSERT_GE(worker, 0);
      ASSERT_LT(worker, 4);
      ASSERT_FALSE(busy[worker].exchange(true));
      std::this_thread::yield();
      busy[worker].store(false);
    });
  }
}

TEST(ThreadPool, NestedLoopRunsInOnePiece) {
  const auto pool = make_pool(3);
  std::atomic<int64_t> inner_calls{0};
  std::atomic<int64_t> items{0};
  pool->parallel_for(12, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const auto thread = std::this_thread::get_id();
      pool->parallel_for(1000, 1, [&](int64_t inner_begin, int64_t inner_end) {
        EXPECT_EQ(std::this_thread::get_id(), thread);
        inner_calls.fetch_add(1);
        items.fetch_add(inner_end - inner_begin);
      });
    }
  });
  EXPECT_EQ(inner_calls.load(), 12);
  EXPECT_EQ(items.load(), 12000);
}

TEST(ThreadPool, SeveralCallersAtOnce) {
  const auto pool = make_pool(3);
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int caller = 0; caller < 20; ++caller) {  // more than the pool has slots
    callers.emplace_back([&, caller] {
      std::vector<int64_t> out(500);
      for (int round = 0; round < 200; ++round) {
        pool->parallel_for(500, 7, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) out[i] = i * caller + round;
        });
        for (int64_t i = 0; i < 500; ++i) wrong += out[i] != i * caller + round;
      }
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(ThreadPool, WakesAfterSleeping) {
  const auto pool = make_pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int64_t> sum{0};
    pool->parallel_for(100, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST(ThreadPool, DoesNotAllocateAfterWarmUp) {
  const auto pool = make_pool(3);
  std::atomic<int64_t> sum{0};
  const auto loop = [&] {
    pool->parallel_for(100, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
  };
  loop();
  const int64_t before = allocations.load();
  for (int round = 0; round < 100; ++round) loop();
  EXPECT_EQ(allocations.load() - before, 0);
}

std::atomic<int> team_runs{0};

void run_in_order(int32_t threads, void (*body)(void* context, int32_t i, int32_t n),
                  void* context) {
  ++team_runs;
  for (int32_t i = 0; i < threads; ++i) body(context, i, threads);
}

TEST(ThreadPool, LoopsRunOnTheTeamOnceGiven) {
  const auto pool = make_pool(3);
  pool->use_team(run_in_order);
  team_runs = 0;
  std::array<int, 101> seen = {};
  int nested = 0;
  pool->parallel_for_worker(101, 1, [&](int64_t begin, int64_t end, int worker) {
    EXPECT_LT(worker, 3);
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
    pool->parallel_for(10, 1,
                       [&](int64_t from, int64_t to) { nested += static_cast<int>(to - from); });
  });
  for (int times : seen) EXPECT_EQ(times, 1);
  EXPECT_EQ(team_runs.load(), 1);  // the nested loops are plain calls
  EXPECT_EQ(nested % 10, 0);
  pool->parallel_for(1, 1, [](int64_t, int64_t) {});
  EXPECT_EQ(team_runs.load(), 1);  // too short to share
}

TEST(ThreadPool, SizeIsChecked) {
  EXPECT_EQ(ThreadPool::create(-1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ThreadPool::create(5000).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(make_pool(0)->num_threads(), usable_core_count());
  EXPECT_EQ(make_pool(1)->num_threads(), 1);
}

TEST(ThreadPool, UsableCoresFollowTheAffinityMask) {
  cpu_set_t before;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  EXPECT_GE(usable_core_count(), 1);
  EXPECT_LE(usable_core_count(), CPU_COUNT(&before));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &before)) {
      CPU_SET(cpu, &one);
      break;
    }
  }
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable_core_count(), 1);
  ::sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace redline
