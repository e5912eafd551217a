// SPDX-License-Identifier: Apache-2.0
#include "runtime/placement.h"

#include <gtest/gtest.h>

#include <random>

#include "build/build.h"
#include "ir/interpreter.h"
#include "ops/concat.h"
#include "ops/gather.h"
#include "ops/split.h"
#include "runtime/executor.h"

namespace redline {
namespace {

class Ran final : public StepObserver {
 public:
  std::vector<std::string> ops;
  void before_step(size_t, const PlanStep& step) override { ops.emplace_back(step.op->name); }
  void after_step(size_t, const PlanStep&, std::span<const HostValue* const>) override {}
  bool contains(std::string_view op) const {
    return std::find(ops.begin(), ops.end(), op) != ops.end();
  }
};

// Graphs run once as they are built and once by the references; what is elided is told by the ops
// that ran.
class PlacementTest : public testing::Test {
 protected:
  Value* input(const SymDims& dims, const char* name = "x") {
    return graph_.add_input(Type::tensor(DType::kFloat32, dims), name);
  }
  Value* add(std::string_view op, std::vector<Value*> inputs) {
    return graph_.add_node(op, std::move(inputs)).value()->output();
  }
  Value* concat(std::vector<Value*> inputs, int64_t axis) {
    return graph_.add_node("concat", std::move(inputs), ConcatAttrs{axis}).value()->output();
  }
  Value* ints(std::vector<int64_t> values) {
    return graph_.add_constant(Tensor::from_int64(values));
  }
  Node* split(Value* x, int64_t axis, size_t parts) {
    return graph_.add_node("split", {x}, SplitAttrs{axis, {}}, parts).value();
  }
  void finish(std::vector<Value*> outputs) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      graph_.add_output(outputs[i], "y" + std::to_string(i));
    }
    BuildOptions options;
    options.opt_level = 0;
    plan_ = build_plan(graph_, *tactics_, *pool_, options).value();
    executor_ = Executor::create(plan_, *tactics_, *pool_).value();
  }
  Tensor ramp(const Dims& dims, float start) {
    std::vector<float> values(static_cast<size_t>(dims.count()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = start + static_cast<float>(i);
    return Tensor::from<float>(DType::kFloat32, dims, values);
  }
  // Runs on new memory, compares with the interpreter, and tells which ops ran.
  Ran run(std::vector<Tensor> tensors) {
    Ran ran;
    inputs_.clear();
    for (Tensor& tensor : tensors) inputs_.push_back(HostValue::of(std::move(tensor)));
    executor_->set_observer(&ran);
    Status status = executor_->run(inputs_);
    EXPECT_TRUE(status.ok()) << status.message();
    std::vector<HostValue> expected = interpret(graph_, inputs_).value();
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_TRUE(identical(executor_->output(i).tensor, expected[i].tensor)) << "output " << i;
    }
    EXPECT_GE(executor_->arena_bytes(), executor_->arena_lower_bound());
    return ran;
  }
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
  Graph graph_{*ops_};
  Plan plan_;
  std::unique_ptr<Executor> executor_;
  std::vector<HostValue> inputs_;
};

// The operands are made in the result where the batch is 1, and copied where it is not.
TEST_F(PlacementTest, ConcatIsElidedWhereItsOperandsLieTogether) {
  Value* x = input({Dim::symbol("n"), 3, 5});
  Value* a = add("neg", {x});
  Value* b = add("exp", {x});
  Value* joined = concat({a, b}, 1);
  finish({add("relu", {joined}), add("neg", {a})});
  EXPECT_FALSE(run({ramp({1, 3, 5}, -7)}).contains("concat"));
  EXPECT_TRUE(run({ramp({2, 3, 5}, -7)}).contains("concat"));
  EXPECT_FALSE(run({ramp({1, 3, 5}, -2)}).contains("concat"));
}

TEST_F(PlacementTest, ChainsOfConcatsShareOneBuffer) {
  Value* x = input({4, 16});
  Value* joined = add("neg", {x});
  for (int i = 0; i < 5; ++i) {
    Value* layer = add(
        "exp",
        {add("neg", {graph_.add_node("slice", {joined, ints({0}), ints({4})}).value()->output()})});
    joined = concat({joined, layer}, 0);
  }
  finish({add("abs", {joined})});
  EXPECT_FALSE(run({ramp({4, 16}, -3)}).contains("concat"));
  EXPECT_LE(executor_->arena_bytes(), 24u * 16 * 4 + 2 * 4 * 16 * 4);
}

TEST_F(PlacementTest, WhatHasAPlaceIsCopied) {
  Value* x = input({2, 8});
  Value* a = add("neg", {x});
  Value* one = concat({a, add("exp", {x})}, 0);
  Value* two = concat({a, add("abs", {x})}, 0);
  Value* same = concat({two, two}, 0);
  Value* of_input = concat({x, add("sqrt", {add("abs", {x})})}, 0);
  finish({add("relu", {one}), add("relu", {same}), add("relu", {of_input}), add("relu", {two})});
  Ran ran = run({ramp({2, 8}, -3)});
  EXPECT_EQ(std::count(ran.ops.begin(), ran.ops.end(), "concat"), 3);
}

TEST_F(PlacementTest, AnOutputKeepsMemoryOfItsOwn) {
  Value* x = input({2, 8});
  Value* a = add("neg", {x});
  Value* joined = concat({a, add("exp", {x})}, 0);
  finish({a, joined});
  EXPECT_TRUE(run({ramp({2, 8}, -3)}).contains("concat"));
  EXPECT_NE(executor_->output(0).tensor.raw(), executor_->output(1).tensor.raw());
}

TEST_F(PlacementTest, PartsAreViews) {
  Value* x = input({Dim::symbol("n"), 6, 4});
  Value* y = add("neg", {x});
  Node* parts = split(y, 1, 3);
  Value* cut =
      graph_.add_node("slice", {y, ints({-2}), ints({INT64_MAX}), ints({1})}).value()->output();
  Value* third = graph_.add_node("gather", {y, ints({-4})}, GatherAttrs{1}).value()->output();
  finish({add("exp", {parts->output(0)}), add("abs", {parts->output(1)}),
          add("relu", {parts->output(2)}), add("exp", {cut}), add("exp", {third})});
  Ran one = run({ramp({1, 6, 4}, -9)});
  for (const char* op : {"split", "slice", "gather"}) EXPECT_FALSE(one.contains(op)) << op;
  Ran two = run({ramp({2, 6, 4}, -9)});
  for (const char* op : {"split", "slice", "gather"}) EXPECT_TRUE(two.contains(op)) << op;
}

// Parts of an input follow the caller's memory.
TEST_F(PlacementTest, PartsOfAnInput) {
  Value* x = input({4, 3});
  Node* parts = split(x, 0, 2);
  Value* flat = add("reshape", {parts->output(1), ints({6})});
  finish({add("neg", {parts->output(0)}), add("neg", {flat})});
  EXPECT_FALSE(run({ramp({4, 3}, 1)}).contains("split"));
  EXPECT_FALSE(run({ramp({4, 3}, 50)}).contains("split"));
}

TEST_F(PlacementTest, StepsBackwardsAndPartsAcrossRowsAreCopied) {
  Value* x = input({6, 4});
  Value* y = add("neg", {x});
  Value* back = graph_.add_node("slice", {y, ints({-1}), ints({INT64_MIN}), ints({0}), ints({-1})})
                    .value()
                    ->output();
  Node* columns = split(y, 1, 2);
  Value* corner = graph_.add_node("slice", {y, ints({1, 1}), ints({3, 3})}).value()->output();
  finish({add("exp", {back}), add("exp", {columns->output(0)}), add("exp", {columns->output(1)}),
          add("exp", {corner})});
  Ran ran = run({ramp({6, 4}, -9)});
  EXPECT_EQ(std::count(ran.ops.begin(), ran.ops.end(), "slice"), 2);
  EXPECT_TRUE(ran.contains("split"));
}

// A small early operand would keep the whole large result alive from the start.
TEST_F(PlacementTest, AViewThatNeedsMoreMemoryIsNotMade) {
  Value* x = input({256});
  Value* early = add("neg", {x});
  Value* wide = add("exp", {add("tile", {x, ints({8})})});
  Value* sum =
      graph_.add_node("slice", {add("abs", {wide}), ints({0}), ints({1024})}).value()->output();
  Value* late = add("neg", {add("exp", {sum})});
  finish({add("abs", {concat({early, late}, 0)})});
  run({ramp({256}, -9)});
  size_t copied = executor_->arena_bytes();
  EXPECT_LE(copied, (2048u + 2048u + 256u) * 4);
}

// A view of a view of what only the run places.
TEST_F(PlacementTest, ViewsOfDynamicValues) {
  Value* x = input({2, 2});
  Value* found = add("nonzero", {x});
  Value* flat = add("reshape", {found, ints({4, 2})});
  Value* again = add("reshape", {flat, ints({2, 4})});
  finish({add("neg", {again}), add("neg", {flat})});
  run({ramp({2, 2}, 1)});
  run({ramp({2, 2}, 5)});
}

// Memory is handed on only to what comes after all that touched it, whatever the streams are.
TEST_F(PlacementTest, WhatRunsSideBySideSharesNoMemory) {
  Value* x = input({4, 6});
  std::vector<Value*> made = {add("neg", {x})};
  std::mt19937 random(3);
  auto any = [&] { return made[made.size() - 1 - random() % std::min<size_t>(made.size(), 5)]; };
  for (int i = 0; i < 40; ++i) {
    made.push_back(i % 3 == 0 ? add("add", {any(), any()}) : add("exp", {any()}));
  }
  finish({made.back()});
  size_t count = plan_.steps.size();
  std::vector<std::vector<size_t>> touching(plan_.values.size());
  std::vector<Dims> dims(plan_.values.size(), Dims{4, 6});
  std::vector<bool> sized(plan_.values.size(), true);
  std::vector<bool> output(plan_.values.size());
  output[static_cast<size_t>(plan_.outputs[0].value)] = true;
  for (size_t s = 0; s < count; ++s) {
    for (int v : plan_.steps[s].inputs) touching[static_cast<size_t>(v)].push_back(s);
    for (int v : plan_.steps[s].outputs) touching[static_cast<size_t>(v)].push_back(s);
  }
  size_t shared = 0;
  for (int turn = 0; turn < 30; ++turn) {
    std::vector<int> streams;
    for (size_t s = 0; s < count; ++s) streams.push_back(static_cast<int>(random() % 3));
    // Which comes before which, the long way.
    std::vector<std::vector<bool>> before(count, std::vector<bool>(count));
    for (size_t b = 0; b < count; ++b) {
      for (size_t a = b; a-- > 0;) {
        bool read = false;
        for (int v : plan_.steps[b].inputs) {
          const std::vector<int>& outputs = plan_.steps[a].outputs;
          read |= std::find(outputs.begin(), outputs.end(), v) != outputs.end();
        }
        if (!read && streams[a] != streams[b]) continue;
        before[a][b] = true;
        for (size_t c = 0; c < a; ++c) before[c][b] = before[c][b] || before[c][a];
      }
    }
    auto all_before = [&](size_t a, size_t b) {
      for (size_t s : touching[a]) {
        for (size_t t : touching[b]) {
          if (!before[s][t]) return false;
        }
      }
      return true;
    };
    StepOrder order = StepOrder::of(plan_, streams);
    Placement placement =
        plan_placement({plan_, dims, sized, output, std::vector<bool>(count), order});
    for (size_t a = 0; a < touching.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        int items[] = {placement.item_of_value[a], placement.item_of_value[b]};
        if (items[0] < 0 || items[1] < 0) continue;
        const std::vector<size_t>& offsets = placement.host.offsets;
        if (offsets[static_cast<size_t>(items[0])] != offsets[static_cast<size_t>(items[1])]) {
          continue;
        }
        ++shared;
        EXPECT_TRUE(all_before(a, b) || all_before(b, a)) << a << " and " << b;
      }
    }
  }
  EXPECT_GT(shared, 0u);
}

TEST(StepOrderTest, TooManyStepsAreOneAfterAnother) {
  Plan plan;
  plan.steps.resize(StepOrder::kMostSteps);
  std::vector<int> streams(plan.steps.size(), 1);
  EXPECT_EQ(StepOrder::of(plan, streams).streams(), 2);
  plan.steps.emplace_back();
  streams.push_back(1);
  StepOrder order = StepOrder::of(plan, streams);
  EXPECT_EQ(order.streams(), 1);
  EXPECT_EQ(order.stream(0), 0);
}

}  // namespace
}  // namespace redline
