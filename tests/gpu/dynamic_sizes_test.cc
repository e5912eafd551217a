// SPDX-License-Identifier: Apache-2.0
// Engines for a GPU with sizes that only the run tells, and with subgraphs, on the emulator.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "build/build.h"
#include "emulator.h"
#include "ir/text.h"
#include "ops/compare.h"
#include "ops/random_tensor.h"
#include "runtime/executor.h"

namespace redline {
namespace {

// Rounding errors of a few layers.
constexpr int64_t kTerms = 100;

class DynamicSizesTest : public testing::Test {
 protected:
  Result<Plan> build(std::string_view text, bool on_gpu, bool host_fallback = false) {
    REDLINE_ASSIGN(auto graph, parse_graph(*ops_, text));
    BuildOptions options;
    options.opt_level = on_gpu ? 1 : 0;
    options.host_fallback = host_fallback;
    if (on_gpu) {
      options.device = "cuda";
      options.gpu = &context_->info();
      options.context = context_;
      options.compiler = &compiler_;
    }
    return build_plan(*graph, *tactics_, *pool_, options);
  }

  // Both engines of one graph.
  void load(std::string_view text, bool host_fallback = false) {
    Result<Plan> gpu = build(text, true, host_fallback);
    ASSERT_TRUE(gpu.ok()) << gpu.status().message();
    gpu_plan_ = *std::move(gpu);
    cpu_plan_ = build(text, false).value();
    gpu_ = Executor::create(gpu_plan_, *tactics_, *pool_,
                            DeviceImage::create(gpu_plan_, context_).value())
               .value();
    cpu_ = Executor::create(cpu_plan_, *tactics_, *pool_).value();
  }

  void expect_same(const std::vector<Tensor>& inputs) {
    std::vector<HostValue> values;
    for (const Tensor& input : inputs) values.push_back(HostValue::of(input));
    Status on_cpu = cpu_->run(values);
    ASSERT_TRUE(on_cpu.ok()) << on_cpu.message();
    Status on_gpu = gpu_->run(values);
    ASSERT_TRUE(on_gpu.ok()) << on_gpu.message();
    for (size_t i = 0; i < gpu_plan_.outputs.size(); ++i) {
      const Tensor& want = cpu_->output(i).tensor;
      const Tensor& got = gpu_->output(i).tensor;
      ASSERT_EQ(got.dims(), want.dims()) << i;
      Status same = compare_tensors(want, got, rounding_tolerance(want.dtype(), kTerms));
      ASSERT_TRUE(same.ok()) << i << ": " << same.message();
    }
  }

  bool is_on_gpu(std::string_view op) const {
    return std::any_of(gpu_plan_.steps.begin(), gpu_plan_.steps.end(), [&](const PlanStep& step) {
      return step.op->name == op && step.tactic.starts_with("cuda.");
    });
  }

  static Tensor ints(const Dims& dims, const std::vector<int64_t>& values) {
    return Tensor::from<int64_t>(DType::kInt64, dims, values);
  }
  static Tensor floats(const Dims& dims, uint64_t seed) {
    return random_tensor(DType::kFloat32, dims, seed).value();
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler compiler_{emulator::compile};
  Plan gpu_plan_, cpu_plan_;
  std::unique_ptr<Executor> gpu_, cpu_;
};

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

TEST_F(DynamicSizesTest, SubgraphsRunOnTheGpu) {
  load(R"(graph g(%p: bool[], %n: i64[], %x: f32[2,3]) {
    %w: f32[3,3] = const random 1
    %a = matmul(%x, %w)
    %y = if(%p) then() {
      %b = exp(%a)
      return %b
    } else() {
      %c = neg(%x)
      return %c
    }
    %true: bool[] = const [1]
    %z, %all = loop(%n, %true, %y) body(%i: i64[], %q: bool[], %s: f32[2,3]) {
      %t = matmul(%s, %w)
      %u = tanh(%t)
      return %q, %u, %t
    }
    return %z, %all
  }
  )");
  for (const PlanStep& step : gpu_plan_.steps) {
    for (const auto& subplan : step.subplans) {
      EXPECT_TRUE(
          std::any_of(subplan->steps.begin(), subplan->steps.end(),
                      [](const PlanStep& inner) { return inner.tactic.starts_with("cuda."); }));
    }
  }
  uint8_t yes = 1, no = 0;
  for (int64_t trips : {3, 0, 1, 3}) {
    for (uint8_t* p : {&yes, &no}) {
      expect_same({Tensor::from<uint8_t>(DType::kBool, {}, {p, 1}), Tensor::scalar_int64(trips),
                   floats({2, 3}, 5)});
    }
  }
}

// Each call of the driver fails once: an error or a second attempt, and right results in the run
// after it.
TEST_F(DynamicSizesTest, EveryFailureLeavesItUsable) {
  load(R"(graph g(%x: f32[n,3]) {
    %i = nonzero(%x)
    %t = transpose(%i)
    %v = gather_nd(%x, %t)
    return %v
  }
  )");
  expect_same({floats({4, 3}, 1)});
  emulator::fail_call(0);
  std::vector<HostValue> inputs = {HostValue::of(floats({4, 3}, 1))};
  ASSERT_TRUE(gpu_->run(inputs).ok());
  int calls = emulator::fail_call(0);
  ASSERT_GT(calls, 5);
  int failures = 0;
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(n);
    failures += gpu_->run(inputs).ok() ? 0 : 1;
    emulator::fail_call(0);
    expect_same({floats({4, 3}, 1)});
  }
  // Only memory is asked for twice.
  EXPECT_GE(failures, calls - 3);
}

}  // namespace
}  // namespace redline
