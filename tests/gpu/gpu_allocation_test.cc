// SPDX-License-Identifier: Apache-2.0
// The host's side of a run on a GPU neither allocates nor locks from the second run with the same
// sizes on, and is one call of the driver that queues work. What the driver itself does is left
// out: its functions are ones that do nothing by then.
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <mutex>

#include "build/build.h"
#include "count_mallocs.h"
#include "emulator.h"
#include "ir/text.h"
#include "runtime/executor.h"

namespace {
std::atomic<long> g_locks{0};
}  // namespace

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// Every lock of the process comes here.
extern "C" __attribute__((visibility("default"))) int pthread_mutex_lock(pthread_mutex_t* mutex) {
  static const auto next =
      reinterpret_cast<int (*)(pthread_mutex_t*)>(dlsym(RTLD_NEXT, "pthread_mutex_lock"));
  ++g_locks;
  return next(mutex);
}
#endif

namespace redline {
namespace {

constexpr std::string_view kNetwork = R"(graph g(%x: f32[n,6]) {
  %w: f32[6,8] = const random 1
  %p = matmul(%x, %w)
  %r = relu(%p)
  %s = softmax(%r) {axis=-1}
  return %s, %r
}
)";

int g_launches = 0;
int g_copies = 0;

void make_idle(cuda::DriverApi& api) {
  api.cuGraphLaunch = [](cuda::GraphExecHandle, cuda::StreamHandle) {
    return ++g_launches, +cuda::kSuccess;
  };
  api.cuStreamSynchronize = [](cuda::StreamHandle) { return +cuda::kSuccess; };
  api.cuMemcpyHtoDAsync_v2 = [](cuda::DevicePtr, const void*, size_t, cuda::StreamHandle) {
    return ++g_copies, +cuda::kSuccess;
  };
  api.cuMemcpyDtoHAsync_v2 = [](void*, cuda::DevicePtr, size_t, cuda::StreamHandle) {
    return ++g_copies, +cuda::kSuccess;
  };
}

TEST(GpuAllocation, LocksAreCounted) {
  if (!kCountsMallocs) GTEST_SKIP() << "the sanitizer has its own locks";
  std::mutex mutex;
  long before = g_locks;
  { std::lock_guard lock(mutex); }
  EXPECT_EQ(g_locks - before, 1);
}

TEST(GpuAllocation, OneLaunchNoAllocationAndNoLockFromTheSecondRunOn) {
  if (!kCountsMallocs) GTEST_SKIP() << "the sanitizer has its own malloc";
  cuda::DriverApi api = emulator::driver();
  cuda::ContextPtr context = cuda::Context::create(api, 0).value();
  cuda::KernelCompiler compiler(emulator::compile);
  auto ops = make_op_registry();
  auto tactics = make_tactic_registry();
  auto pool = ThreadPool::create(2).value();
  auto graph = parse_graph(*ops, kNetwork).value();
  BuildOptions options;
  options.device = "cuda";
  options.gpu = &context->info();
  options.context = context;
  options.compiler = &compiler;
  Plan plan = build_plan(*graph, *tactics, *pool, options).value();
  auto image = DeviceImage::create(plan, context).value();
  auto executor = Executor::create(plan, *tactics, *pool, image).value();
  std::vector<HostValue> inputs = {HostValue::of(Tensor::create(DType::kFloat32, {3, 6}).value())};
  std::vector<HostValue> other = {HostValue::of(Tensor::create(DType::kFloat32, {40, 6}).value())};
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    ASSERT_TRUE(executor->run(inputs).ok());
    ASSERT_TRUE(executor->run(other).ok());
  }
  make_idle(api);
  ASSERT_TRUE(executor->run(other).ok());
  g_launches = g_copies = 0;
  long before = malloc_count();
  long locks_before = g_locks;
  constexpr int kRuns = 20;
  for (int i = 0; i < kRuns; ++i) ASSERT_TRUE(executor->run(other).ok());
  EXPECT_EQ(malloc_count() - before, 0);
  EXPECT_EQ(g_locks - locks_before, 0);
  EXPECT_EQ(g_launches, kRuns);
  EXPECT_EQ(g_copies, 0);
}

}  // namespace
}  // namespace redline
