// SPDX-License-Identifier: Apache-2.0
// Engines for a GPU with sizes that only the run tells, on the emulator.

#include "both_engines.h"

#include <cstring>

namespace redline {
namespace {

using DynamicSizesTest = BothEngines;

TEST_F(DynamicSizesTest, SizesFromAnInput) {
  load(R"(graph g(%x: f32[n,6], %shape: i64[2], %axes: i64[1]) {
    %a = relu(%x)
    %r = reshape(%a, %shape)
    %e = exp(%r)
    %s = reduce_sum(%e, %axes)
    %y = div(%e, %s)
    return %y, %s
  }
  )");
  EXPECT_TRUE(is_on_gpu("reduce_sum"));
  expect_same({floats({4, 6}, 1), ints({2}, {3, -1}), ints({1}, {1})});
  expect_same({floats({4, 6}, 2), ints({2}, {-1, 12}), ints({1}, {0})});
  expect_same({floats({0, 6}, 3), ints({2}, {0, 6}), ints({1}, {-1})});
  expect_same({floats({4, 6}, 4), ints({2}, {3, -1}), ints({1}, {1})});
  std::vector<HostValue> wrong = {HostValue::of(floats({4, 6}, 1)),
                                  HostValue::of(ints({2}, {5, -1})), HostValue::of(ints({1}, {1}))};
  EXPECT_FALSE(gpu_->run(wrong).ok());
  wrong[1] = HostValue::of(ints({2}, {3, 8}));
  wrong[2] = HostValue::of(ints({1}, {2}));
  EXPECT_FALSE(gpu_->run(wrong).ok());
  expect_same({floats({4, 6}, 4), ints({2}, {3, -1}), ints({1}, {1})});
}

// What the GPU finds, the steps behind it work on without going through the host.
TEST_F(DynamicSizesTest, SizesFromValues) {
  load(R"(graph g(%x: f32[n,m]) {
    %a = relu(%x)
    %i = nonzero(%a)
    %t = transpose(%i)
    %v = gather_nd(%a, %t)
    %w = exp(%v)
    %u, %first, %inverse, %counts = unique(%i) {axis=1}
    %s = shape(%v)
    %two: i64[1] = const [2]
    %d = mul(%s, %two)
    %one: f32[1] = const [1]
    %q = expand(%one, %d)
    return %w, %u, %counts, %q
  }
  )");
  for (const char* op : {"nonzero", "gather_nd", "unique", "expand"})
    EXPECT_TRUE(is_on_gpu(op)) << op;
  // The number of elements is the host's, and no element is copied to tell it.
  EXPECT_FALSE(is_on_gpu("shape"));
  EXPECT_FALSE(is_on_gpu("mul"));
  size_t downloads = static_cast<size_t>(
      std::count_if(gpu_plan_.steps.begin(), gpu_plan_.steps.end(),
                    [](const PlanStep& step) { return step.tactic == kDownloadTactic; }));
  EXPECT_EQ(downloads, gpu_plan_.outputs.size());
  for (int64_t n : {5, 1, 40, 0, 5}) expect_same({floats({n, 7}, static_cast<uint64_t>(n))});
}

TEST_F(DynamicSizesTest, WhatACountRefusesIsAnError) {
  load(R"(graph g(%x: f32[3], %c: bool[k]) {
    %y = compress(%x, %c)
    return %y
  }
  )");
  uint8_t bits[] = {1, 0, 1, 0, 1};
  Tensor right = Tensor::from<uint8_t>(DType::kBool, {4}, {bits, 4});
  Tensor wrong = Tensor::from<uint8_t>(DType::kBool, {5}, {bits, 5});
  expect_same({floats({3}, 1), right});
  std::vector<HostValue> values = {HostValue::of(floats({3}, 1)), HostValue::of(wrong)};
  EXPECT_FALSE(gpu_->run(values).ok());
  expect_same({floats({3}, 2), right});
}

// In a graph of kernels and in steps of their own.
TEST_F(DynamicSizesTest, AnIndexThatIsNotThereIsAnError) {
  load(R"(graph g(%x: f32[4,3], %i: i64[2], %axis: i64[]) {
    %a = relu(%x)
    %g = gather(%a, %i)
    %s = cum_sum(%g, %axis)
    %n = nonzero(%s)
    %row: i64[1] = const [0]
    %r = gather(%n, %row)
    %t = gather(%x, %r) {axis=1}
    return %s, %t
  }
  )");
  auto run = [&](int64_t index, int64_t axis) {
    std::vector<HostValue> values = {HostValue::of(floats({4, 3}, 1)),
                                     HostValue::of(ints({2}, {1, index})),
                                     HostValue::of(Tensor::scalar_int64(axis))};
    return gpu_->run(values);
  };
  for (int times = 0; times < 2; ++times) {
    Status status = run(4, 0);
    EXPECT_NE(status.message().find("out of range"), std::string::npos) << status.message();
    EXPECT_FALSE(run(-5, 0).ok());
    EXPECT_FALSE(run(0, 2).ok());
    EXPECT_FALSE(run(INT64_MIN, -3).ok());
    expect_same({floats({4, 3}, 1), ints({2}, {-4, 3}), Tensor::scalar_int64(-1)});
  }
}

TEST_F(DynamicSizesTest, TransformAlongAnAxisOfTheRun) {
  load(R"(graph g(%x: f32[3,10,12,2], %axis: i64[]) {
    %y = dft(%x, _, %axis) {inverse=1}
    return %y
  }
  )");
  ASSERT_TRUE(is_on_gpu("dft"));
  for (int64_t axis : {1, -2, 0}) {
    expect_same({floats({3, 10, 12, 2}, 1), Tensor::scalar_int64(axis)});
    const Tensor& want = cpu_->output(0).tensor;
    EXPECT_EQ(std::memcmp(want.raw(), gpu_->output(0).tensor.raw(), want.bytes()), 0) << axis;
  }
  for (int64_t axis : {-5, 4}) {
    std::vector<HostValue> values = {HostValue::of(floats({3, 10, 12, 2}, 1)),
                                     HostValue::of(Tensor::scalar_int64(axis))};
    EXPECT_FALSE(gpu_->run(values).ok()) << axis;
  }
}

TEST_F(DynamicSizesTest, EveryFailureLeavesItUsable) {
  load(R"(graph g(%x: f32[n,3]) {
    %i = nonzero(%x)
    %t = transpose(%i)
    %v = gather_nd(%x, %t)
    return %v
  }
  )");
  int calls = 0, failures = 0;
  fail_each_call({floats({4, 3}, 1)}, calls, failures);
  // Only memory is asked for twice.
  EXPECT_GE(failures, calls - 3);
}

}  // namespace
}  // namespace redline
