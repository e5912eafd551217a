// SPDX-License-Identifier: Apache-2.0
// The run path does not allocate from the second run with the same sizes on: every malloc of the
// process is counted, on whatever thread.
#include <gtest/gtest.h>

#include "build/build.h"
#include "count_mallocs.h"
#include "runtime/executor.h"

namespace redline {
namespace {

TEST(Allocation, TheHookCounts) {
  if (!kCountsMallocs) GTEST_SKIP() << "the sanitizer has its own malloc";
  long before = malloc_count();
  Tensor tensor = Tensor::create(DType::kFloat32, {10}).value();
  EXPECT_GE(malloc_count() - before, 1);
}

TEST(Allocation, NoneFromTheSecondRunOn) {
  auto ops = make_op_registry();
  auto tactics = make_tactic_registry();
  auto pool = ThreadPool::create(2).value();
  Graph graph(*ops);
  Dim n = Dim::symbol("n");
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{n, 96}), "x");
  std::vector<float> weights(96, 0.5f);
  Value* w = graph.add_constant(Tensor::from<float>(DType::kFloat32, {96}, weights));
  Value* a = graph.add_node("mul", {x, w}).value()->output();
  Value* b = graph.add_node("relu", {a}).value()->output();
  Value* c = graph.add_node("add", {b, x}).value()->output();
  graph.add_output(a, "a");
  graph.add_output(c, "c");
  Plan plan = build_plan(graph, *tactics, *pool, {}).value();
  for (const PlanStep& step : plan.steps) EXPECT_NE(step.tactic, "") << step.name;
  auto executor = Executor::create(plan, *tactics, *pool).value();
  std::vector<HostValue> small = {HostValue::of(Tensor::create(DType::kFloat32, {3, 96}).value())};
  std::vector<HostValue> large = {
      HostValue::of(Tensor::create(DType::kFloat32, {700, 96}).value())};
  for (int warm_up = 0; warm_up < 2; ++warm_up) {
    ASSERT_TRUE(executor->run(large).ok());
    ASSERT_TRUE(executor->run(small).ok());
  }
  long before = malloc_count();
  for (int i = 0; i < 20; ++i) {
    bool good = executor->run(large).ok() && executor->run(small).ok() && executor->run(small).ok();
    ASSERT_TRUE(good);
  }
  EXPECT_EQ(malloc_count() - before, 0);
}

}  // namespace
}  // namespace redline
