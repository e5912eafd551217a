// SPDX-License-Identifier: Apache-2.0
// The device layer over the emulator: what it does when the driver works, and when a call fails.
#include <gtest/gtest.h>

#include <cstring>

#include "device/error.h"
#include "device/module.h"
#include "emulator.h"

namespace redline::cuda {
namespace {

ContextPtr context() { return Context::create(emulator::driver(), 0).value(); }

constexpr const char* kDouble = R"(
extern "C" __global__ void twice(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= 2;
})";

Function compiled(const ContextPtr& on) {
  CompiledKernel kernel = emulator::compile({"twice", kDouble, "sm_90a", {}}).value();
  return Function::create(Module::create(on, kernel.cubin).value(), "twice").value();
}

TEST(Device, RunsAKernelAndAGraphOfIt) {
  ContextPtr on = context();
  Stream stream = Stream::create(on).value();
  Function twice = compiled(on);
  DeviceBuffer buffer = DeviceBuffer::create(on, 40).value();
  float values[10] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  ASSERT_TRUE(stream.copy_to_device(buffer.ptr(), values, 40).ok());
  DevicePtr x = buffer.ptr();
  int n = 9;
  void* parameters[] = {&x, &n};
  LaunchShape shape;
  shape.grid.x = 3;
  shape.block.x = 4;
  Graph graph = Graph::capture(stream, [&] {
                  return launch(stream, twice, shape, parameters, "twice");
                }).value();
  EXPECT_EQ(graph.num_nodes(), 1u);
  n = 0;  // a graph keeps what it was recorded with
  ASSERT_TRUE(graph.launch(stream).ok());
  ASSERT_TRUE(graph.launch(stream).ok());
  ASSERT_TRUE(stream.copy_to_host(values, buffer.ptr(), 40).ok());
  ASSERT_TRUE(stream.synchronize().ok());
  EXPECT_EQ(values[0], 4);
  EXPECT_EQ(values[8], 36);
  EXPECT_EQ(values[9], 10);
}

TEST(Device, SaysWhichGpusThereAre) {
  Status status = Context::create(emulator::driver(), 3).status();
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "no GPU 3; there are: 0 (emulated GPU)");
}

TEST(Device, OutOfMemoryNamesTheSize) {
  ContextPtr on = context();
  emulator::fail_call(1);
  Status status = DeviceBuffer::create(on, 12345).status();
  emulator::fail_call(0);
  EXPECT_EQ(status.code(), StatusCode::kOutOfMemory);
  EXPECT_NE(status.message().find("no 12345 bytes of GPU memory"), std::string::npos);
}

TEST(Device, AFailedLaunchNamesTheKernelAndItsShape) {
  ContextPtr on = context();
  Stream stream = Stream::create(on).value();
  Function twice = compiled(on);
  DevicePtr x = 0;
  int n = 0;
  void* parameters[] = {&x, &n};
  emulator::fail_call(1);
  Status status = launch(stream, twice, {}, parameters, "node 'a'");
  emulator::fail_call(0);
  EXPECT_EQ(status.code(), StatusCode::kDeviceError);
  EXPECT_NE(status.message().find("launch of node 'a' with grid 1x1x1"), std::string::npos);
  EXPECT_NE(status.message().find("context is lost"), std::string::npos);
}

TEST(Device, SaysAfterWhichErrorsTheContextIsLost) {
  std::vector<CuResult> lost;
  for (CuResult result = 0; result < 1000; ++result) {
    Status status = to_status(emulator::driver(), result, "cuLaunchKernelEx");
    bool told = status.message().find("the GPU's context is lost") != std::string::npos;
    EXPECT_EQ(told, is_sticky(result)) << result;
    if (told) lost.push_back(result);
  }
  EXPECT_EQ(lost, (std::vector<CuResult>{4, 214, 226, 700, 702, 710, 714, 715, 716, 717, 718, 719,
                                         721, 810, 911}));
}

TEST(Device, EveryFailingCallIsReported) {
  ContextPtr on = context();
  auto all = [&]() -> Status {
    REDLINE_ASSIGN(Stream stream, Stream::create(on));
    REDLINE_ASSIGN(DeviceBuffer buffer, DeviceBuffer::create(on, 64));
    REDLINE_ASSIGN(PinnedBuffer pinned, PinnedBuffer::create(on, 64));
    std::memset(pinned.data(), 1, 64);
    REDLINE_ASSIGN(Graph graph, Graph::capture(stream, [&] {
                     return stream.copy_to_device(buffer.ptr(), pinned.data(), 64);
                   }));
    REDLINE_TRY(graph.launch(stream));
    return stream.synchronize();
  };
  emulator::fail_call(0);
  ASSERT_TRUE(all().ok());
  int calls = emulator::fail_call(0);
  ASSERT_GE(calls, 8);
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(n);
    Status status = all();
    EXPECT_FALSE(status.ok()) << "call " << n;
    EXPECT_FALSE(status.message().empty());
  }
  emulator::fail_call(0);
  EXPECT_TRUE(all().ok());
}

TEST(Device, ArchitecturesByName) {
  EXPECT_EQ(DeviceInfo::of_arch("sm_90a")->name, "H100");
  EXPECT_EQ(DeviceInfo::of_arch("sm_90")->arch(), "sm_90a");
  EXPECT_EQ(DeviceInfo::of_arch("sm_86")->multiprocessors, 72);
  EXPECT_NE(DeviceInfo::of_arch("sm_12").status().message().find("there are: sm_80"),
            std::string::npos);
}

TEST(Device, NoDriverIsAMessage) {
  Result<ContextPtr> made = Context::create(0);
  if (made.ok()) GTEST_SKIP() << "there is a GPU here";
  EXPECT_NE(made.status().message().find("device cpu"), std::string::npos)
      << made.status().message();
}

}  // namespace
}  // namespace redline::cuda
