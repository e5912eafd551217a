// SPDX-License-Identifier: Apache-2.0
// Plans as nobody builds them, with checksums that are right: refused, or run without harm.

#include <gtest/gtest.h>

#include <random>

#include "../fuzz/run_small_plan.h"
#include "../fuzz/seal_engine.h"
#include "build/build.h"
#include "ir/text.h"
#include "plan/engine_file.h"

namespace redline {
namespace {

class HostilePlanTest : public testing::Test {
 protected:
  Plan build(std::string_view text, int opt_level = 3) {
    auto graph = parse_graph(*ops_, text).value();
    BuildOptions options;
    options.opt_level = opt_level;
    return build_plan(*graph, *tactics_, *pool_, options).value();
  }
  PlanStep& step(Plan& plan, std::string_view op) {
    for (PlanStep& step : plan.steps) {
      if (step.op->name == op) return step;
    }
    ADD_FAILURE() << "no step " << op;
    return plan.steps[0];
  }
  PlanValue& output(Plan& plan, const PlanStep& step) {
    return plan.values[static_cast<size_t>(step.outputs[0])];
  }
  // What is said when it is run.
  std::string refusal(const Plan& plan) {
    return std::string(run_small_plan(plan, *tactics_, *pool_).message());
  }
  void expect_refusal(const Plan& plan, std::string_view part) {
    std::string said = refusal(plan);
    EXPECT_NE(said.find(part), std::string::npos) << "said: " << said;
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
};

constexpr std::string_view kProduct = R"(graph g(%x: f32[2, 3]) {
  %w: f32[3, 4] = const [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
  %y = matmul(%x, %w)
  %z = softmax(%y) {axis=-1}
  return %z
}
)";

TEST_F(HostilePlanTest, ATacticOfAnotherOp) {
  Plan plan = build(kProduct);
  EXPECT_EQ(refusal(plan), "");
  step(plan, "matmul").tactic = "cpu.softmax";
  expect_refusal(plan, "has tactic cpu.softmax, which does not take matmul");
  step(plan, "matmul").tactic = "cpu.nonsense";
  expect_refusal(plan, "which this build of Redline lacks");
}

TEST_F(HostilePlanTest, PackedWeightsThatTheReferenceReads) {
  Plan plan = build(kProduct);
  PlanStep& product = step(plan, "matmul");
  auto w = static_cast<size_t>(product.inputs[1]);
  auto packed =
      std::make_shared<PlanConstant>(*plan.constants[static_cast<size_t>(plan.values[w].constant)]);
  packed->data = Tensor::create(DType::kUInt8, {4}).value();
  packed->recipe = "rows";
  plan.constants[static_cast<size_t>(plan.values[w].constant)] = packed;
  product.tactic.clear();
  expect_refusal(plan, "reads weights packed for another");
  product.tactic = "cpu.gemm";
  product.config = {{"weights", std::string("rows")}};
  expect_refusal(plan, "packed weights of 4 bytes, expected 48");
  plan.outputs.push_back({"w", product.inputs[1]});
  expect_refusal(plan, "output 'w' is packed weights");
}

TEST_F(HostilePlanTest, ResultsOfAnotherTypeOrSize) {
  Plan plan = build(kProduct);
  PlanValue& y = output(plan, step(plan, "matmul"));
  y.type.dtype = DType::kUInt8;
  expect_refusal(plan, "comes out as f32[2,4], the model declares u8[2,4]");
  y.type = Type::tensor(DType::kFloat32, SymDims{2, 1});
  expect_refusal(plan, "comes out as f32[2,4], the model declares f32[2,1]");
  y.type = Type::tensor(DType::kFloat32, SymDims{int64_t{1} << 40, int64_t{1} << 40});
  EXPECT_FALSE(Executor::create(plan, *tactics_, *pool_).value()->run({}).ok());
}

TEST_F(HostilePlanTest, AConstantThatIsNotThere) {
  Plan plan = build(kProduct);
  plan.values[static_cast<size_t>(step(plan, "matmul").inputs[1])].constant = -1;
  expect_refusal(plan, "is missing");
}

TEST_F(HostilePlanTest, AConstantOfAnotherType) {
  Plan plan = build(kProduct);
  plan.values[static_cast<size_t>(step(plan, "matmul").inputs[1])].type.dtype = DType::kString;
  EXPECT_NE(refusal(plan), "");
}

constexpr std::string_view kView = R"(graph g(%x: f32[2, 3], %s: i64[2]) {
  %y = reshape(%x, %s)
  %z = neg(%y)
  return %z
}
)";

TEST_F(HostilePlanTest, AViewThatShowsMoreThanThereIs) {
  Plan plan = build(kView, 0);
  EXPECT_EQ(step(plan, "reshape").tactic, "view");
  output(plan, step(plan, "reshape")).type = Type::tensor(DType::kFloat32, SymDims{30, 20});
  expect_refusal(plan, "cannot show [2, 3] as [30, 20]");
}

TEST_F(HostilePlanTest, AViewOfAnOpThatComputes) {
  Plan plan = build(kView, 0);
  PlanStep& neg = step(plan, "neg");
  neg.tactic = "view";
  output(plan, neg).storage = Storage::kAlias;
  output(plan, neg).alias_of = neg.inputs[0];
  expect_refusal(plan, "is no view");
}

// The sizes are the values of an input: the plan cannot be right about them before the run.
TEST_F(HostilePlanTest, SizesThatTheValuesContradict) {
  Plan plan = build(R"(graph g(%x: f32[2, 3], %axes: i64[1]) {
  %y = reduce_sum(%x, %axes) {keepdims=1}
  %z = neg(%y)
  return %z
}
)",
                    0);
  // Zeros for axes: what is left has three elements.
  EXPECT_EQ(refusal(plan), "");
  for (std::string_view op : {"reduce_sum", "neg"}) {
    output(plan, step(plan, op)).type = Type::tensor(DType::kFloat32, SymDims{1, 1});
  }
  expect_refusal(plan, "comes out as f32[1,3], the model declares f32[1,1]");
}

// Every byte of the plan by turns, some of them several times over.
TEST_F(HostilePlanTest, MutatedPlans) {
  constexpr std::string_view kGraphs[] = {kProduct, kView,
                                          R"(graph g(%x: f32[1, 2, 5, 5]) {
  %w: f32[2, 1, 3, 3] = const [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  %y = conv(%x, %w) {group=2, pads=[1, 1, 1, 1]}
  %z = relu(%y)
  %p = max_pool(%z) {kernel_shape=[2, 2]}
  return %p
}
)",
                                          R"(graph g(%x: f32[n, 3], %i: i64[2]) {
  %a = add(%x, %x)
  %b = sigmoid(%a)
  %c = mul(%a, %b)
  %t = transpose(%c) {perm=[1, 0]}
  %g = gather(%t, %i)
  return %g
}
)"};
  std::mt19937 random(7);
  int refused = 0;
  int ran = 0;
  for (std::string_view text : kGraphs) {
    Plan plan = build(text);
    std::vector<std::byte> file = serialize_engine({}, plan).value();
    EngineHeader header;
    std::memcpy(&header, file.data(), sizeof header);
    std::vector<std::byte> section(
        file.begin() + static_cast<ptrdiff_t>(header.plan.offset),
        file.begin() + static_cast<ptrdiff_t>(header.plan.offset + header.plan.bytes));
    for (size_t round = 0; round < 3 * section.size(); ++round) {
      std::vector<std::byte> mutated = section;
      mutated[round % section.size()] = static_cast<std::byte>(random());
      if (round >= section.size()) mutated[random() % section.size()] ^= std::byte{1};
      auto sealed = std::make_shared<std::vector<std::byte>>(engine_around(mutated));
      auto engine = parse_engine(std::span<const std::byte>(*sealed), sealed, *ops_);
      bool done = engine.ok() && run_small_plan(engine->plan, *tactics_, *pool_).ok();
      ++(done ? ran : refused);
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_GT(ran, 100);  // many bytes are names and the hashes of weights
}

}  // namespace
}  // namespace redline
