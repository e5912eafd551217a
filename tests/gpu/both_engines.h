// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "build/build.h"
#include "emulator.h"
#include "ir/text.h"
#include "ops/compare.h"
#include "ops/random_tensor.h"
#include "runtime/executor.h"

namespace redline {

// Rounding errors of a few layers.
inline constexpr int64_t kTerms = 100;

// One graph as an engine for the emulated GPU and as one for the CPU.
class BothEngines : public testing::Test {
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

  // Each call of the driver fails once: an error or a second attempt, and right results in the run
  // after it.
  void fail_each_call(const std::vector<Tensor>& inputs, int& calls, int& failures) {
    expect_same(inputs);
    std::vector<HostValue> values;
    for (const Tensor& input : inputs) values.push_back(HostValue::of(input));
    emulator::fail_call(0);
    ASSERT_TRUE(gpu_->run(values).ok());
    calls = emulator::fail_call(0);
    ASSERT_GT(calls, 5);
    failures = 0;
    for (int n = 1; n <= calls; ++n) {
      emulator::fail_call(n);
      failures += gpu_->run(values).ok() ? 0 : 1;
      emulator::fail_call(0);
      expect_same(inputs);
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

}  // namespace redline
