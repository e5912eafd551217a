// SPDX-License-Identifier: Apache-2.0
#include "plan/engine_file.h"

#include <gtest/gtest.h>

#include "build/build.h"

namespace redline {
namespace {

class EngineFileTest : public testing::Test {
 protected:
  void SetUp() override {
    Graph graph(*ops_);
    Value* x =
        graph.add_input(Type::tensor(DType::kFloat32, SymDims{Dim::symbol("batch size"), 3}), "x");
    std::vector<float> values = {1, -2, 3};
    Value* w = graph.add_constant(Tensor::from<float>(DType::kFloat32, {3}, values), "w");
    Value* same = graph.add_constant(Tensor::from<float>(DType::kFloat32, {3}, values), "same");
    Value* y = graph.add_node("add", {x, w}).value()->output();
    Value* z = graph.add_node("leaky_relu", {y}).value()->output();
    graph.add_output(graph.add_node("mul", {z, same}).value()->output(), "y");
    BuildOptions options;
    options.opt_level = 0;  // no passes: they would merge the equal constants before
    plan_ = build_plan(graph, *tactics_, *pool_, options).value();
    info_.model = "test";
    info_.metadata = {{"key", "value"}};
    bytes_ = serialize_engine(info_, plan_).value();
  }
  Result<LoadedEngine> parse(const std::vector<std::byte>& bytes) {
    auto copy = std::make_shared<std::vector<std::byte>>(bytes);
    return parse_engine(*copy, copy, *ops_);
  }
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
  Plan plan_;
  EngineInfo info_;
  std::vector<std::byte> bytes_;
};

TEST_F(EngineFileTest, SavedTwiceIsTheSame) {
  LoadedEngine engine = parse(bytes_).value();
  EXPECT_EQ(engine.info.model, "test");
  ASSERT_EQ(engine.info.metadata.size(), 1u);
  EXPECT_EQ(engine.plan.steps.size(), plan_.steps.size());
  EXPECT_EQ(engine.plan.values.size(), plan_.values.size());
  EXPECT_EQ(engine.plan.values[0].type, plan_.values[0].type);
  EXPECT_EQ(serialize_engine(engine.info, engine.plan).value(), bytes_);
}

TEST_F(EngineFileTest, KeepsWhatWasMeasured) {
  plan_.steps[0].us = 12.5;
  plan_.steps[0].error = 3e-7;
  LoadedEngine engine = parse(serialize_engine(info_, plan_).value()).value();
  EXPECT_EQ(engine.plan.steps[0].us, 12.5);
  EXPECT_EQ(engine.plan.steps[0].error, 3e-7);
  // Absent fields, as in files from before there were any.
  EXPECT_EQ(engine.plan.steps[1].us, 0);
  EXPECT_EQ(engine.plan.steps[1].error, -1);
}

TEST_F(EngineFileTest, KeepsWhatKernelsNeed) {
  PlanKernel kernel;
  kernel.entry = "k";
  kernel.cubin = Tensor::create(DType::kUInt8, {8}).value();
  kernel.shared_bytes = 16;
  auto read_back = [&] {
    plan_.steps[0].kernels = {std::make_shared<PlanKernel>(kernel)};
    return parse(serialize_engine(info_, plan_).value());
  };
  // Absent fields, as in files from before there were any.
  LoadedEngine older = read_back().value();
  EXPECT_EQ(older.plan.steps[0].kernels[0]->threads, 0);
  EXPECT_EQ(older.plan.steps[0].kernels[0]->dynamic_shared_bytes, 0);
  kernel.threads = 384;
  kernel.dynamic_shared_bytes = 98400;
  LoadedEngine engine = read_back().value();
  EXPECT_EQ(engine.plan.steps[0].kernels[0]->threads, 384);
  EXPECT_EQ(engine.plan.steps[0].kernels[0]->dynamic_shared_bytes, 98400);
  EXPECT_EQ(engine.plan.steps[0].kernels[0]->shared_bytes, 16);
  for (int PlanKernel::*need : {&PlanKernel::threads, &PlanKernel::dynamic_shared_bytes,
                                &PlanKernel::registers, &PlanKernel::shared_bytes}) {
    int kept = std::exchange(kernel.*need, -1);
    EXPECT_NE(read_back().status().message().find("what a kernel needs"), std::string::npos);
    kernel.*need = kept;
  }
}

TEST_F(EngineFileTest, EqualWeightsAreStoredOnce) {
  LoadedEngine engine = parse(bytes_).value();
  ASSERT_EQ(engine.plan.constants.size(), 2u);
  EXPECT_EQ(engine.plan.constants[0]->data.raw(), engine.plan.constants[1]->data.raw());
}

TEST_F(EngineFileTest, EveryFlippedBitIsRefused) {
  for (size_t i = 0; i < bytes_.size(); ++i) {
    std::vector<std::byte> damaged = bytes_;
    damaged[i] ^= std::byte{static_cast<unsigned char>(1u << (i % 8))};
    EXPECT_FALSE(parse(damaged).ok()) << "byte " << i;
  }
}

TEST_F(EngineFileTest, EveryTruncationIsRefused) {
  for (size_t size = 0; size < bytes_.size(); ++size) {
    EXPECT_FALSE(parse({bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(size)}).ok())
        << size;
  }
}

TEST_F(EngineFileTest, AnotherFormatVersionIsNamed) {
  bytes_[8] = std::byte{77};
  Result<LoadedEngine> engine = parse(bytes_);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.status().code(), StatusCode::kIncompatible);
  EXPECT_NE(engine.status().message().find("format 77"), std::string::npos);
  EXPECT_NE(engine.status().message().find("build the engine again"), std::string::npos);
}

TEST_F(EngineFileTest, AnUnknownOpIsNamed) {
  OpRegistry none;
  auto copy = std::make_shared<std::vector<std::byte>>(bytes_);
  Result<LoadedEngine> engine = parse_engine(*copy, copy, none);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.status().code(), StatusCode::kIncompatible);
}

TEST_F(EngineFileTest, OtherFilesAreNotEngines) {
  std::vector<std::byte> text(1000, std::byte{'x'});
  EXPECT_NE(parse(text).status().message().find("not a Redline engine"), std::string::npos);
  EXPECT_FALSE(parse({}).ok());
}

}  // namespace
}  // namespace redline
