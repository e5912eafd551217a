// SPDX-License-Identifier: Apache-2.0
// Threads of an emulated block that talk to each other.
#include "emulator.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "device/module.h"

namespace redline::cuda {
namespace {

using emulator::ThreadOrder;

constexpr size_t kCount = 256;

// Runs "k(const float* x, float* y)" on 0, 1, 2, ... with one block an element of `threads`.
// `said` is the dynamic shared memory that its source speaks of, as a rule what the launch has.
Result<std::vector<float>> run(const std::string& text, LaunchShape shape, ThreadOrder order,
                               std::optional<int> said = std::nullopt) {
  emulator::set_thread_order(order);
  int dynamic = said.value_or(static_cast<int>(shape.shared_bytes));
  REDLINE_ASSIGN(CompiledKernel compiled, emulator::compile({"k", text, "sm_90a", {}, dynamic}));
  REDLINE_ASSIGN(ContextPtr context, Context::create(emulator::driver(), 0));
  REDLINE_ASSIGN(auto module, Module::create(context, compiled.cubin));
  REDLINE_ASSIGN(Function function, Function::create(module, "k"));
  REDLINE_ASSIGN(Stream stream, Stream::create(context));
  REDLINE_ASSIGN(DeviceBuffer x, DeviceBuffer::create(context, kCount * 4));
  REDLINE_ASSIGN(DeviceBuffer y, DeviceBuffer::create(context, kCount * 4));
  std::vector<float> values(kCount);
  std::iota(values.begin(), values.end(), 0.0f);
  REDLINE_TRY(stream.copy_to_device(x.ptr(), values.data(), kCount * 4));
  REDLINE_TRY(stream.fill(y.ptr(), 0, kCount * 4));
  const void* pointers[] = {x.data(), y.data()};
  void* parameters[] = {&pointers[0], &pointers[1]};
  REDLINE_TRY(launch(stream, function, shape, parameters, "k"));
  REDLINE_TRY(stream.copy_to_host(values.data(), y.ptr(), kCount * 4));
  REDLINE_TRY(stream.synchronize());
  return values;
}

class EmulatorTest : public testing::TestWithParam<ThreadOrder> {
 protected:
  ~EmulatorTest() override { emulator::set_thread_order(ThreadOrder::kForward); }
  std::vector<float> values(const std::string& text, LaunchShape shape) {
    Result<std::vector<float>> got = run(text, shape, GetParam());
    EXPECT_TRUE(got.ok()) << got.status().to_string();
    return got.ok() ? *got : std::vector<float>(kCount);
  }
};

LaunchShape shape_of(unsigned int blocks, unsigned int threads, unsigned int shared_bytes = 0) {
  LaunchShape shape;
  shape.grid.x = blocks;
  shape.block.x = threads;
  shape.shared_bytes = shared_bytes;
  return shape;
}

TEST_P(EmulatorTest, BarrierAndSharedArray) {
  std::vector<float> y = values(R"(
extern "C" __global__ void k(const float* x, float* y) {
  __shared__ float tile[64];
  __shared__ __align__(16) float other[64];
  int t = threadIdx.x, first = blockIdx.x * 64;
  tile[t] = x[first + t];
  __syncthreads();
  other[63 - t] = tile[(t + 1) % 64];
  __syncthreads();
  y[first + t] = other[t];
})",
                                shape_of(4, 64));
  for (size_t i = 0; i < kCount; ++i) {
    size_t block = i / 64;
    size_t want = block * 64 + (64 - i % 64) % 64;
    EXPECT_EQ(y[i], static_cast<float>(want)) << i;
  }
}

TEST_P(EmulatorTest, ShufflesAndVotes) {
  std::vector<float> y = values(R"(
template <class T> __device__ inline T warp_sum(T v) {
  for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xffffffffu, v, by);
  return v;
}
extern "C" __global__ void k(const float* x, float* y) {
  int t = threadIdx.x;
  float sum = warp_sum(x[t]);
  float next = __shfl_down_sync(0xffffffffu, x[t], 1);
  float before = __shfl_up_sync(0xffffffffu, x[t], 1, 8);
  unsigned odd = __ballot_sync(0xffffffffu, t & 1);
  bool any = __any_sync(0xffffffffu, t == 40), all = __all_sync(0xffffffffu, t < 32);
  y[t] = t % 4 == 0 ? sum : t % 4 == 1 ? next : t % 4 == 2 ? before : (odd >> 28) + any * 100 + all * 1000;
})",
                                shape_of(1, 64));
  EXPECT_EQ(y[0], 496);
  EXPECT_EQ(y[32], 496 + 32 * 32);
  EXPECT_EQ(y[29], 30);
  EXPECT_EQ(y[6], 5);
  EXPECT_EQ(y[3], 1010);
  EXPECT_EQ(y[35], 110);
}

TEST_P(EmulatorTest, ExchangeShowsAllLanesToEach) {
  std::vector<float> y = values(R"(
struct Pair { float a, b; };
extern "C" __global__ void k(const float* x, float* y) {
  Pair mine = {x[threadIdx.x], 2 * x[threadIdx.x]};
  float sum = 0;
  for (int turn = 0; turn < 3; ++turn) {
    auto lanes = emulated_exchange(mine);
    for (int i = 0; i < 32; ++i) sum += lanes[i].a + lanes[i].b;
    mine.a = turn;
  }
  unsigned half = threadIdx.x % 32 < 16 ? 0xffffu : 0xffff0000u;
  if (half == 0xffffu) sum += emulated_exchange(threadIdx.x, half)[3];
  y[threadIdx.x] = sum;
})",
                                shape_of(1, 32));
  EXPECT_EQ(y[0], 3 * 2 * 496 + 496 + 32 + 3);
  EXPECT_EQ(y[31], 3 * 2 * 496 + 496 + 32);
}

TEST_P(EmulatorTest, DynamicSharedMemoryAndAtomics) {
  std::vector<float> y = values(R"(
extern "C" __global__ void k(const float* x, float* y) {
  extern __shared__ __align__(16) unsigned int counts[];
  if (threadIdx.x < 9) counts[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&counts[threadIdx.x % 8], 1u);
  atomicMax(&counts[8], threadIdx.x);
  __syncthreads();
  if (threadIdx.x < 9) y[threadIdx.x] = counts[threadIdx.x];
})",
                                shape_of(1, 100, 36));
  EXPECT_EQ(y[2], 13);
  EXPECT_EQ(y[7], 12);
  EXPECT_EQ(y[8], 99);
}

TEST_P(EmulatorTest, ClusterReadsEachOthersSharedMemory) {
  LaunchShape shape = shape_of(6, 32, 128);
  shape.cluster.x = 3;
  std::vector<float> y = values(R"(
extern "C" __global__ void k(const float* x, float* y) {
  extern __shared__ __align__(16) float mine[];
  int at = blockIdx.x * 32 + threadIdx.x;
  mine[threadIdx.x] = x[at];
  emulated_cluster_barrier();
  float sum = 0;
  for (int rank = 0; rank < 3; ++rank) sum += emulated_in_block(mine + 31 - threadIdx.x, rank)[0];
  emulated_cluster_barrier();
  y[at] = sum;
})",
                                shape);
  EXPECT_EQ(y[0], 31 + 63 + 95);
  EXPECT_EQ(y[95], 0 + 32 + 64);
  EXPECT_EQ(y[96], 3 * 96 + 31 + 63 + 95);
}

// Each block waits for the next one's value, in its shared memory and in the grid's.
TEST_P(EmulatorTest, BlocksWaitForLaterOnes) {
  LaunchShape shape = shape_of(4, 64);
  shape.together = true;
  std::vector<float> y = values(R"(
extern "C" __global__ void k(const float* x, float* y) {
  __shared__ float mine[64];
  int block = blockIdx.x, t = threadIdx.x;
  mine[63 - t] = x[block * 64 + t];
  __syncthreads();
  if (block + 1 < gridDim.x) {
    while (*(volatile float*)&y[(block + 1) * 64 + t] == 0) emulated_yield();
    mine[t] += y[(block + 1) * 64 + t];
    __syncthreads();
  }
  y[block * 64 + t] = mine[t] + 1;
})",
                                shape);
  EXPECT_EQ(y[192], 255 + 1);
  EXPECT_EQ(y[128 + 5], (191 - 5) + (255 - 5) + 2);
  EXPECT_EQ(y[63], 0 + 64 + 128 + 192 + 4);
}

// A block at the cluster's barrier stays there while another of the cluster waits for a later one.
TEST_P(EmulatorTest, ClustersWaitForLaterOnes) {
  LaunchShape shape = shape_of(4, 32, 128);
  shape.cluster.x = 2;
  shape.together = true;
  std::vector<float> y = values(R"(
extern "C" __global__ void k(const float* x, float* y) {
  extern __shared__ float mine[];
  int block = blockIdx.x, t = threadIdx.x;
  mine[t] = 1;
  if (block == 1) {
    while (*(volatile float*)&y[3 * 32 + t] == 0) emulated_yield();
    mine[t] = y[3 * 32 + t];
  }
  emulated_cluster_barrier();
  float other = *emulated_in_block(mine + t, 1 - block % 2);
  emulated_cluster_barrier();
  y[block * 32 + t] = other + x[block * 32 + t];
})",
                                shape);
  EXPECT_EQ(y[3 * 32 + 4], 1 + 100);
  EXPECT_EQ(y[4], 1 + 100 + 4);
  EXPECT_EQ(y[32 + 4], 1 + 36);
}

INSTANTIATE_TEST_SUITE_P(Orders, EmulatorTest,
                         testing::Values(ThreadOrder::kForward, ThreadOrder::kBackward));

TEST(EmulatorFaults, WriteBehindSharedMemory) {
  std::string text = R"(
extern "C" __global__ void k(const float* x, float* y) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = x[threadIdx.x];
})";
  EXPECT_TRUE(run(text, shape_of(1, 32, 128), ThreadOrder::kForward).ok());
  EXPECT_FALSE(run(text, shape_of(1, 33, 128), ThreadOrder::kForward).ok());
}

TEST(EmulatorFaults, LaunchesThatTheSourceDoesNotSay) {
  std::string text = R"(
extern "C" __global__ void __launch_bounds__(32) k(const float* x, float* y) {
  y[threadIdx.x] = x[threadIdx.x];
})";
  EXPECT_TRUE(run(text, shape_of(1, 32, 128), ThreadOrder::kForward, 128).ok());
  EXPECT_FALSE(run(text, shape_of(1, 16, 128), ThreadOrder::kForward, 128).ok());
  EXPECT_FALSE(run(text, shape_of(1, 32, 128), ThreadOrder::kForward, 64).ok());
}

TEST(EmulatorFaults, ThreadsThatWaitForEver) {
  std::string text = R"(
extern "C" __global__ void k(const float* x, float* y) {
  if (threadIdx.x < 32) __syncthreads(); else if (threadIdx.x == 32) emulated_barrier(1, 2);
})";
  EXPECT_FALSE(run(text, shape_of(1, 64), ThreadOrder::kForward).ok());
}

TEST(EmulatorFaults, BlocksThatWaitForEver) {
  std::string text = R"(
extern "C" __global__ void k(const float* x, float* y) {
  if (blockIdx.x == 0) while (*(volatile float*)&y[1] == 0) emulated_yield();
  y[blockIdx.x] = 1;
})";
  LaunchShape shape = shape_of(2, 32);
  EXPECT_FALSE(run(text, shape, ThreadOrder::kForward).ok());  // the second may come too late
  shape.together = true;
  EXPECT_TRUE(run(text, shape, ThreadOrder::kForward).ok());
  shape.grid.x = 1;
  EXPECT_FALSE(run(text, shape, ThreadOrder::kForward).ok());
}

TEST(EmulatorFaults, OrderShowsAMissingBarrier) {
  std::string text = R"(
extern "C" __global__ void k(const float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = tile[threadIdx.x / 2];
})";
  auto forward = run(text, shape_of(1, 64), ThreadOrder::kForward).value();
  auto backward = run(text, shape_of(1, 64), ThreadOrder::kBackward).value();
  EXPECT_FALSE(std::equal(forward.begin(), forward.end(), backward.begin()));
  emulator::set_thread_order(ThreadOrder::kForward);
}

class EmulatorGraphs : public testing::Test {
 protected:
  void TearDown() override { emulator::set_graph_order(emulator::GraphOrder::kFirstFirst); }
  Event mark(const Stream& stream) {
    Event event = Event::create(context_, false).value();
    EXPECT_TRUE(event.record(stream).ok());
    return event;
  }
  // Two streams fill the same byte, the second after the first where it `waits`.
  Result<int> fill_twice(bool waits, bool joins) {
    REDLINE_ASSIGN(Graph graph, Graph::capture(one_, [&]() -> Status {
                     REDLINE_TRY(other_.wait_for(mark(one_)));
                     REDLINE_TRY(one_.fill(byte_.ptr(), 1, 1));
                     if (waits) REDLINE_TRY(other_.wait_for(mark(one_)));
                     REDLINE_TRY(other_.fill(byte_.ptr(), 2, 1));
                     return joins ? one_.wait_for(mark(other_)) : Status();
                   }));
    REDLINE_TRY(graph.launch(one_));
    emulator::HostAccess access;
    return *static_cast<const char*>(byte_.data());
  }

  ContextPtr context_ = Context::create(emulator::driver(), 0).value();
  Stream one_ = Stream::create(context_).value();
  Stream other_ = Stream::create(context_).value();
  DeviceBuffer byte_ = DeviceBuffer::create(context_, 1).value();
};

TEST_F(EmulatorGraphs, OrderShowsAMissingEdge) {
  EXPECT_EQ(fill_twice(/*waits=*/true, /*joins=*/true).value(), 2);
  EXPECT_EQ(fill_twice(/*waits=*/false, /*joins=*/true).value(), 2);
  emulator::set_graph_order(emulator::GraphOrder::kLastFirst);
  EXPECT_EQ(fill_twice(/*waits=*/true, /*joins=*/true).value(), 2);
  EXPECT_EQ(fill_twice(/*waits=*/false, /*joins=*/true).value(), 1);
}

TEST_F(EmulatorGraphs, AStreamThatIsNotJoined) {
  EXPECT_FALSE(fill_twice(/*waits=*/true, /*joins=*/false).ok());
  EXPECT_TRUE(fill_twice(/*waits=*/true, /*joins=*/true).ok());
}

TEST_F(EmulatorGraphs, WaitingForAnotherCapture) {
  Event before = mark(one_);
  Event inside = Event::create(context_, false).value();
  Result<Graph> graph = Graph::capture(one_, [&]() -> Status {
    EXPECT_FALSE(one_.wait_for(before).ok());
    return inside.record(one_);
  });
  EXPECT_TRUE(graph.ok());
  EXPECT_FALSE(other_.wait_for(inside).ok());
}

// Kernels "k(const float* x, float* y)" of one graph, each with a programmatic edge to the next.
class EmulatorEarly : public testing::TestWithParam<ThreadOrder> {
 protected:
  EmulatorEarly() {
    emulator::set_thread_order(GetParam());
    emulator::watch_graphs({nullptr, [this](GraphNodeHandle, const emulator::GraphWork& work) {
                              early_ += work.early ? 1 : 0;
                            }});
    std::vector<float> first(kThreads);
    std::iota(first.begin(), first.end(), 0.0f);
    EXPECT_TRUE(stream_.copy_to_device(at(0), first.data(), kThreads * 4).ok());
  }
  ~EmulatorEarly() override {
    emulator::watch_graphs({});
    emulator::set_thread_order(ThreadOrder::kForward);
  }
  struct Link {
    std::string text;
    size_t from, to;  // pieces of the memory
    bool early = true;
  };
  // What is in a piece after the graph of the links ran; the first piece counts from 0 at first.
  Result<std::vector<float>> run(const std::vector<Link>& links, size_t piece) {
    std::vector<Function> functions;
    for (const Link& link : links) {
      std::string text = "extern \"C\" __global__ void k(const float* x, float* y) {\n" +
                         std::string("  const int t = threadIdx.x;\n") + link.text + "}\n";
      REDLINE_ASSIGN(CompiledKernel compiled, emulator::compile({"k", text, "sm_90a", {}}));
      REDLINE_ASSIGN(auto module, Module::create(context_, compiled.cubin));
      REDLINE_ASSIGN(Function function, Function::create(module, "k"));
      functions.push_back(std::move(function));
    }
    REDLINE_ASSIGN(Graph graph, Graph::capture(stream_, [&]() -> Status {
                     for (size_t i = 0; i < links.size(); ++i) {
                       LaunchShape shape = shape_of(2, kThreads);
                       shape.programmatic = links[i].early;
                       DevicePtr pointers[] = {at(links[i].from), at(links[i].to)};
                       void* parameters[] = {&pointers[0], &pointers[1]};
                       REDLINE_TRY(launch(stream_, functions[i], shape, parameters, "k"));
                     }
                     return Status();
                   }));
    REDLINE_TRY(graph.launch(stream_));
    std::vector<float> values(kThreads);
    REDLINE_TRY(stream_.copy_to_host(values.data(), at(piece), kThreads * 4));
    return values;
  }
  static std::vector<float> counted_from(float first) {
    std::vector<float> values(kThreads);
    std::iota(values.begin(), values.end(), first);
    return values;
  }
  DevicePtr at(size_t piece) { return memory_.ptr() + piece * kThreads * 4; }

  static constexpr size_t kThreads = 64;
  const std::string wait_ = "  emulated_wait_for_former();\n  emulated_release_next();\n";
  const std::string plain_ = wait_ + "  y[t] = x[t] + 1;\n";
  int early_ = 0;  // programmatic edges of the graphs that ran
  ContextPtr context_ = Context::create(emulator::driver(), 0).value();
  Stream stream_ = Stream::create(context_).value();
  DeviceBuffer memory_ = DeviceBuffer::create(context_, 4 * kThreads * 4).value();
};

TEST_P(EmulatorEarly, AChainOfKernelsThatWait) {
  std::vector<Link> chain = {{plain_, 0, 1}, {plain_, 1, 2}, {plain_, 2, 1}, {plain_, 1, 3}};
  EXPECT_EQ(run(chain, 3).value(), counted_from(4));
  EXPECT_EQ(early_, 3);
  chain[2].early = false;
  EXPECT_EQ(run(chain, 3).value(), counted_from(4));
  EXPECT_EQ(early_, 3 + 2);
}

TEST_P(EmulatorEarly, ReadingBeforeTheWaitShows) {
  std::string hasty = "  float old = x[t];\n" + wait_ + "  y[t] = old + 1;\n";
  EXPECT_NE(run({{plain_, 0, 1}, {hasty, 1, 2}}, 2).value(), counted_from(2));
  EXPECT_EQ(run({{plain_, 0, 1}, {hasty, 1, 2, false}}, 2).value(), counted_from(2));
  EXPECT_EQ(run({{plain_, 0, 1}, {hasty, 0, 2}}, 2).value(), counted_from(1));  // a constant
}

TEST_P(EmulatorEarly, WritingBeforeTheWaitShows) {
  std::string hasty = "  y[t] = x[t] + 5;\n" + wait_;
  EXPECT_EQ(run({{plain_, 0, 1}, {hasty, 0, 1}}, 1).value(), counted_from(1));
  EXPECT_EQ(run({{plain_, 0, 1}, {hasty, 0, 1, false}}, 1).value(), counted_from(5));
}

// A copy that begins before the wait may have read by then, though it lands behind it.
TEST_P(EmulatorEarly, CopiesThatBeginBeforeTheWaitShow) {
  std::string copied = "  const float* from = (const float*)emulated_source(x + t, 4);\n";
  std::string hasty = copied + wait_ + "  y[t] = *from + 1;\n";
  EXPECT_NE(run({{plain_, 0, 1}, {hasty, 1, 2}}, 2).value(), counted_from(2));
  std::string patient = wait_ + copied + "  y[t] = *from + 1;\n";
  EXPECT_EQ(run({{plain_, 0, 1}, {patient, 1, 2}}, 2).value(), counted_from(2));
}

// A third kernel writes what the first reads: that is right since the one between waits.
TEST_P(EmulatorEarly, TheThirdOverwritesWhatTheFirstReads) {
  std::string constant = "  y[t] = 7;\n";
  std::vector<Link> chain = {{plain_, 0, 1}, {wait_ + constant, 0, 2}, {wait_ + constant, 0, 0}};
  EXPECT_EQ(run(chain, 1).value(), counted_from(1));
  EXPECT_EQ(run({{plain_, 0, 1}}, 1).value(), std::vector<float>(kThreads, 8));
  chain[1].text = constant;
  EXPECT_FALSE(run(chain, 1).ok());
}

TEST_P(EmulatorEarly, EachBlockWaitsBeforeItEnds) {
  std::string one = "  if (blockIdx.x == 0) emulated_wait_for_former();\n";
  EXPECT_FALSE(run({{plain_, 0, 1}, {one, 1, 2}}, 2).ok());
  EXPECT_TRUE(run({{plain_, 0, 1}, {one, 1, 2, false}}, 2).ok());
  EXPECT_TRUE(run({{plain_, 0, 1}, {"  if (t == 5) emulated_wait_for_former();\n", 1, 2}}, 2).ok());
}

TEST_P(EmulatorEarly, ReleasingBeforeTheWaitIsWrong) {
  std::string hasty = "  emulated_release_next();\n" + plain_;
  EXPECT_FALSE(run({{plain_, 0, 1}, {hasty, 1, 2}}, 2).ok());
  EXPECT_EQ(run({{plain_, 0, 1}, {hasty, 1, 2, false}}, 2).value(), counted_from(2));
}

// What the threads of a block say to each other before they wait is right behind the wait.
TEST_P(EmulatorEarly, BarriersBeforeTheWait) {
  std::string text = R"(
  __shared__ float tile[64];
  tile[63 - t] = t;
  __syncthreads();
  float sum = tile[t] + __shfl_xor_sync(0xffffffffu, t, 1);
  if (t >= 32) __syncthreads(); else { emulated_wait_for_former(); __syncthreads(); }
)";
  EXPECT_EQ(
      run({{plain_, 0, 1}, {text + wait_ + "  y[t] = x[t] + sum - (63 - t) - (t ^ 1);\n", 1, 2}}, 2)
          .value(),
      counted_from(1));
}

INSTANTIATE_TEST_SUITE_P(Orders, EmulatorEarly,
                         testing::Values(ThreadOrder::kForward, ThreadOrder::kBackward));

}  // namespace
}  // namespace redline::cuda
