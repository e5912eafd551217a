// SPDX-License-Identifier: Apache-2.0
#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <thread>

#include "build/build.h"

namespace redline {
namespace {

class ExecutorTest : public testing::Test {
 protected:
  Tensor ramp(const Dims& dims, float start = 0) {
    std::vector<float> values(static_cast<size_t>(dims.count()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = start + static_cast<float>(i);
    return Tensor::from<float>(DType::kFloat32, dims, values);
  }
  Plan build(Graph& graph, int opt_level = 3) {
    BuildOptions options;
    options.opt_level = opt_level;
    return build_plan(graph, *tactics_, *pool_, options).value();
  }
  Status run(Executor& executor, std::vector<HostValue> inputs) {
    inputs_ = std::move(inputs);
    return executor.run(inputs_);
  }
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  std::vector<HostValue> inputs_;
};

TEST_F(ExecutorTest, SizesMayChangeFromRunToRun) {
  Graph graph(*ops_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("n"), 2}), "x");
  graph.add_output(graph.add_node("neg", {x}).value()->output(), "y");
  Plan plan = build(graph);
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  for (int64_t n : {3, 1, 0, 5, 3}) {
    ASSERT_TRUE(run(*executor, {HostValue::of(ramp({n, 2}, 1))}).ok());
    const Tensor& y = executor->output(0).tensor;
    ASSERT_EQ(y.dims(), (Dims{n, 2}));
    for (int64_t i = 0; i < y.count(); ++i)
      EXPECT_EQ(y.data<float>()[i], -static_cast<float>(i + 1));
  }
}

class SlowKernel final : public Kernel {
 public:
  std::string slow_because() const override { return "it sleeps"; }
  Status run(const KernelArgs&) const override { return {}; }
};

TEST_F(ExecutorTest, ASlowKernelIsSaidOnceForItsSizes) {
  Tactic slow;
  slow.name = "test.slow";
  slow.device = "cpu";
  slow.ops = {"neg"};
  slow.supports = [](const Problem&) { return Status(); };
  slow.prepare = [](const Problem&, const Config&,
                    const PrepareArgs&) -> Result<std::unique_ptr<Kernel>> {
    return std::unique_ptr<Kernel>(std::make_unique<SlowKernel>());
  };
  tactics_->add(slow);
  Graph graph(*ops_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{2}), "x");
  graph.add_output(graph.add_node("neg", {x}).value()->output(), "y");
  Plan plan = build(graph, 0);
  plan.steps[0].tactic = "test.slow";
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  for (size_t times : {1, 0}) {
    ASSERT_TRUE(run(*executor, {HostValue::of(ramp({2}))}).ok());
    std::vector<std::string> said = executor->take_refusals();
    ASSERT_EQ(said.size(), times);
    if (times == 0) continue;
    EXPECT_NE(said[0].find("is slow: it sleeps"), std::string::npos) << said[0];
  }
}

TEST_F(ExecutorTest, ViewsShareTheElements) {
  Graph graph(*ops_);
  Dim n = Dim::symbol("n");
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{n, 2, 3}), "x");
  Value* shape = graph.add_constant(Tensor::from_int64(std::vector<int64_t>{-1, 6}));
  Value* y = graph.add_node("reshape", {x, shape}).value()->output();
  graph.add_output(y, "y");
  graph.add_output(graph.add_node("relu", {y}).value()->output(), "z");
  Plan plan = build(graph);
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  Tensor input = ramp({2, 2, 3}, -3);
  ASSERT_TRUE(run(*executor, {HostValue::of(input)}).ok());
  EXPECT_EQ(executor->output(0).tensor.raw(), input.raw());
  EXPECT_EQ(executor->output(0).tensor.dims(), (Dims{2, 6}));
  EXPECT_EQ(executor->output(1).tensor.data<float>()[0], 0);
  EXPECT_EQ(executor->output(1).tensor.data<float>()[11], 8);
  // The next run reads the memory that it is given.
  Tensor other = ramp({1, 2, 3}, 7);
  ASSERT_TRUE(run(*executor, {HostValue::of(other)}).ok());
  EXPECT_EQ(executor->output(0).tensor.raw(), other.raw());
  EXPECT_EQ(executor->output(1).tensor.data<float>()[5], 12);
}

// The view's sizes are known before the run, where it lies is not.
TEST_F(ExecutorTest, ViewsOfWhatOnlyTheRunPlaces) {
  Graph graph(*ops_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("n")}), "x");
  Value* found = graph.add_node("nonzero", {x}).value()->output();
  Value* shape = graph.add_constant(Tensor::from_int64(std::vector<int64_t>{2, 1}));
  Value* y = graph.add_node("reshape", {found, shape}).value()->output();
  graph.add_output(graph.add_node("neg", {y}).value()->output(), "y");
  Plan plan = build(graph);
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  for (size_t zero_at : {0, 1, 2}) {
    std::vector<float> values = {5, 5, 5};
    values[zero_at] = 0;
    Tensor input = Tensor::from<float>(DType::kFloat32, {3}, values);
    ASSERT_TRUE(run(*executor, {HostValue::of(input)}).ok());
    const Tensor& out = executor->output(0).tensor;
    ASSERT_EQ(out.dims(), (Dims{2, 1}));
    EXPECT_EQ(out.data<int64_t>()[0], zero_at == 0 ? -1 : 0);
    EXPECT_EQ(out.data<int64_t>()[1], zero_at == 2 ? -1 : -2);
  }
}

TEST_F(ExecutorTest, RefusesInputsThatDoNotFit) {
  Graph graph(*ops_);
  Dim n = Dim::symbol("n");
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{n, 2}), "x");
  Value* y = graph.add_input(Type::tensor(DType::kFloat32, SymDims{n, 2}), "y");
  graph.add_output(graph.add_node("add", {x, y}).value()->output(), "z");
  Plan plan = build(graph);
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  auto message = [&](std::vector<HostValue> inputs) {
    return std::string(run(*executor, std::move(inputs)).message());
  };
  HostValue good = HostValue::of(ramp({3, 2}));
  EXPECT_NE(message({good}).find("got 1 inputs, expected 2"), std::string::npos);
  EXPECT_NE(message({good, HostValue::of(ramp({4, 2}))}).find("'n' is 3"), std::string::npos);
  EXPECT_NE(message({good, HostValue::of(ramp({3, 5}))}).find("size 5 at axis 1, expected 2"),
            std::string::npos);
  EXPECT_NE(message({good, HostValue::of(ramp({3}))}).find("rank 1"), std::string::npos);
  Tensor wrong = Tensor::create(DType::kInt32, {3, 2}).value();
  EXPECT_NE(message({good, HostValue::of(wrong)}).find("i32, expected f32"), std::string::npos);
  EXPECT_NE(message({good, HostValue::sequence({})}).find("must be f32"), std::string::npos);
  EXPECT_EQ(message({good, good}), "");
}

// Two symbols that the rule takes to broadcast, but that do not at run time.
TEST_F(ExecutorTest, RefusesSizesThatDoNotBroadcast) {
  Graph graph(*ops_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("a")}), "x");
  Value* y = graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("b")}), "y");
  graph.add_output(graph.add_node("add", {x, y}).value()->output(), "z");
  Plan plan = build(graph);
  auto executor = Executor::create(plan, *tactics_, *pool_).value();
  EXPECT_FALSE(run(*executor, {HostValue::of(ramp({3})), HostValue::of(ramp({4}))}).ok());
  ASSERT_TRUE(run(*executor, {HostValue::of(ramp({3})), HostValue::of(ramp({1}, 10))}).ok());
  EXPECT_EQ(executor->output(0).tensor.data<float>()[2], 12);
  ASSERT_TRUE(run(*executor, {HostValue::of(ramp({1}, 5)), HostValue::of(ramp({4}))}).ok());
  EXPECT_EQ(executor->output(0).tensor.dims(), (Dims{4}));
}

// Sessions of one plan may run at once and agree bit for bit.
TEST_F(ExecutorTest, SeveralThreads) {
  Graph graph(*ops_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("n")}), "x");
  Value* y = graph.add_node("sigmoid", {x}).value()->output();
  graph.add_output(graph.add_node("mul", {x, y}).value()->output(), "z");
  Plan plan = build(graph);
  Tensor input = ramp({5000}, -2500);
  auto alone = Executor::create(plan, *tactics_, *pool_).value();
  ASSERT_TRUE(run(*alone, {HostValue::of(input)}).ok());
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      auto executor = Executor::create(plan, *tactics_, *pool_).value();
      std::vector<HostValue> inputs = {HostValue::of(input)};
      for (int i = 0; i < 50; ++i) {
        if (!executor->run(inputs).ok()) ++wrong;
        if (!identical(executor->output(0).tensor, alone->output(0).tensor)) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace redline
