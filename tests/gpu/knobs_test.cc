// SPDX-License-Identifier: Apache-2.0
// Configs come from engine files: whatever they hold, a GPU tactic refuses with a reason.
#include <gtest/gtest.h>

#include "emulator.h"
#include "tactics/cuda/rows_teams.h"
#include "tactics/tactic.h"

namespace redline {
namespace {

class KnobsTest : public testing::Test {
 protected:
  KnobsTest() {
    problem_.op = &ops_->get("neg");
    OperandDesc operand;
    operand.dims = {4, 8};
    problem_.inputs = problem_.outputs = {operand};
    context_ = cuda::Context::create(emulator::driver(), 0).value();
  }
  Status prepare(const char* tactic, const Config& config, size_t num_modules) {
    std::vector<std::shared_ptr<const cuda::Module>> modules(num_modules);
    PrepareArgs args{pool_.get(), context_, modules};
    args.written = &problem_;
    return tactics_->find(tactic)->prepare(problem_, config, args).status();
  }
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
  cuda::ContextPtr context_;
  Problem problem_;
};

TEST_F(KnobsTest, KnobsOfAnotherType) {
  Status status =
      prepare("cuda.pointwise",
              {{"lanes", std::string("4")}, {"unroll", int64_t{1}}, {"threads", int64_t{256}}}, 1);
  EXPECT_EQ(status.code(), StatusCode::kIncompatible);
  EXPECT_NE(status.message().find("lanes"), std::string::npos) << status.message();
}

TEST_F(KnobsTest, TilesThatDoNotFit) {
  OperandDesc a;
  a.dtype = DType::kFloat16;
  a.dims = {32, 64};
  OperandDesc b = a;
  b.dims = {64, 48};
  OperandDesc y = a;
  y.dims = {32, 48};
  problem_.op = &ops_->get("matmul");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  problem_.inputs = {a, b};
  problem_.outputs = {y};
  Config good = tactics_->find("cuda.gemm")->configs(problem_).at(0);
  EXPECT_EQ(prepare("cuda.gemm", {}, 1).code(), StatusCode::kIncompatible);
  EXPECT_EQ(prepare("cuda.gemm", good, 0).code(), StatusCode::kIncompatible);
  for (const NamedAttr& wrong : {NamedAttr{"tile_rows", int64_t{24}},
                                 {"tile_depth", int64_t{48}},
                                 {"stages", int64_t{1}},
                                 {"warps_depth", int64_t{-1}},
                                 {"splits", int64_t{1} << 40},
                                 {"tile_columns", std::string("64")}}) {
    Config config = good;
    for (NamedAttr& knob : config) {
      if (knob.name == wrong.name) knob.value = wrong.value;
    }
    Status status = prepare("cuda.gemm", config, 1);
    EXPECT_EQ(status.code(), StatusCode::kIncompatible) << wrong.name << status.to_string();
  }
}

TEST_F(KnobsTest, RecurrentBlocksThatMustRunAtOnce) {
  problem_.op = &ops_->get("lstm");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  OperandDesc x;
  x.dtype = DType::kFloat16;
  OperandDesc w = x;
  OperandDesc y = x;
  x.dims = {8, 1, 64};
  w.dims = {1, 2048, 64};
  OperandDesc r = w;
  r.dims = {1, 2048, 512};
  y.dims = {8, 1, 1, 512};
  problem_.inputs = {x, w, r};
  problem_.outputs = {y};
  const Tactic& tactic = *tactics_->find("cuda.rnn");
  Config good = tactic.configs(problem_).at(0);
  for (const NamedAttr& wrong : {NamedAttr{"units", int64_t{0}},
                                 {"units", int64_t{65}},
                                 {"batch", int64_t{4}},
                                 {"batch", std::string("8")}}) {
    Config config = good;
    for (NamedAttr& knob : config) {
      if (knob.name == wrong.name) knob.value = wrong.value;
    }
    Status status = prepare("cuda.rnn", config, 2);
    EXPECT_EQ(status.code(), StatusCode::kIncompatible) << wrong.name << status.to_string();
  }
  // 512 / 4 blocks fit an H100, not a GPU of 20 multiprocessors, and nothing fits one of 7.
  cuda::DeviceInfo device = context_->info();
  EXPECT_EQ(tactic.kernels(problem_, good, device)->at(1).entry, "recurrent_steps_4");
  device.multiprocessors = 20;
  EXPECT_EQ(tactic.kernels(problem_, good, device)->at(1).entry, "recurrent_steps_32");
  device.multiprocessors = 7;
  EXPECT_EQ(tactic.kernels(problem_, good, device).status().code(), StatusCode::kUnsupported);
}

TEST_F(KnobsTest, PackedOperandOfOtherSizes) {
  OperandDesc a;
  a.dtype = DType::kFloat16;
  a.dims = {32, 64};
  Tensor bytes = Tensor::create(DType::kUInt8, {16}).value();
  OperandDesc b = a;
  b.dims = {64, 48};
  b.packed = &bytes;
  OperandDesc y = a;
  y.dims = {32, 48};
  problem_.op = &ops_->get("matmul");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  problem_.inputs = {a, b};
  problem_.outputs = {y};
  Config config = tactics_->find("cuda.gemm")->configs(problem_).at(0);
  config.push_back({"packed", int64_t{1}});
  Status status = prepare("cuda.gemm", config, 1);
  EXPECT_EQ(status.code(), StatusCode::kIncompatible) << status.to_string();
  EXPECT_NE(status.message().find("packed"), std::string::npos) << status.message();
}

TEST_F(KnobsTest, RowsByKernelsThatAreNoneOfOurs) {
  problem_.op = &ops_->get("softmax");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  using Codes = std::vector<int64_t>;
  for (const Codes& codes :
       {Codes{}, Codes{0, 64, 4}, Codes{99, 64, 4, 1, 1}, Codes{0, 63, 4, 1, 1},
        Codes{0, 64, 4, 16, 1}, Codes{0, 64, 4, 1, 1, 1, 64, 4, 1, 1}, Codes{5, 64, 4, 1, 1},
        Codes{2, 64, 64, 1, 1},
        // Which stores nothing for each element.
        Codes{static_cast<int64_t>(RowsKernel::kShortRows), 256, 1, 1, 1}}) {
    Status status = prepare("cuda.rows", {{"kernels", codes}, {"parts", int64_t{1}}}, 1);
    EXPECT_EQ(status.code(), StatusCode::kIncompatible) << status.to_string();
  }
  // Kernels that work, but for shorter rows.
  Status status =
      prepare("cuda.rows", {{"kernels", Codes{0, 64, 4, 1, 1}}, {"parts", int64_t{1}}}, 1);
  EXPECT_EQ(status.code(), StatusCode::kIncompatible) << status.to_string();
}

// Columns of 500 elements, of which a piece has 128.
TEST_F(KnobsTest, TeamsThatHaveNoTurns) {
  problem_.op = &ops_->get("softmax");
  problem_.attrs = Attrs::load(problem_.op->attrs, {{"axis", int64_t{0}}}).value();
  problem_.inputs[0].dtype = problem_.outputs[0].dtype = DType::kFloat16;
  problem_.inputs[0].dims = problem_.outputs[0].dims = {500, 64};
  auto kernels = [&](RowsKernel kernel, int64_t parts, int64_t at_once, int64_t pace = 0) {
    std::vector<int64_t> codes = {static_cast<int64_t>(kernel), 64, 16, 2, 32};
    Config config = {{"kernels", codes}, {"parts", parts}, {"rows", at_once}, {"pace", pace}};
    return tactics_->find("cuda.rows")->kernels(problem_, config, context_->info()).status();
  };
  for (int64_t at_once : {1, 2}) {
    EXPECT_TRUE(kernels(RowsKernel::kColumnTeam, 4, at_once).ok());
    EXPECT_TRUE(kernels(RowsKernel::kColumnTeam, 6, at_once).ok());
  }
  EXPECT_TRUE(kernels(RowsKernel::kColumnWhole, 4, 1).ok());
  // Turns that are not whole, of all parts, of more than a block holds, of blocks that have all.
  for (auto [kernel, parts, at_once] : {std::tuple{RowsKernel::kColumnTeam, 5, 2},
                                        {RowsKernel::kColumnTeam, 2, 2},
                                        {RowsKernel::kColumnTeam, 4, 4},
                                        {RowsKernel::kColumnTeam, 4, 0},
                                        {RowsKernel::kColumnTeam, 0, 1},
                                        {RowsKernel::kColumnTeam, 1000, 2},
                                        {RowsKernel::kColumnWhole, 4, 2}}) {
    EXPECT_EQ(kernels(kernel, parts, at_once).code(), StatusCode::kIncompatible)
        << parts << " " << at_once;
  }
  EXPECT_TRUE(kernels(RowsKernel::kColumnTeam, 4, 2, 4).ok());
  // More boxes than a piece has; or where no block waits for another.
  for (auto [kernel, parts, pace] : {std::tuple{RowsKernel::kColumnTeam, 4, 5},
                                     {RowsKernel::kColumnTeam, 4, -1},
                                     {RowsKernel::kColumnWhole, 4, 2}}) {
    EXPECT_EQ(kernels(kernel, parts, 1, pace).code(), StatusCode::kIncompatible) << pace;
  }
}

TEST_F(KnobsTest, CopiesThatCannotBe) {
  problem_.op = &ops_->get("slice");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  OperandDesc x;
  x.dtype = DType::kFloat16;
  x.dims = {4, 33};
  OperandDesc y = x;
  y.dims = {4, 31};
  std::vector<Tensor> places;
  for (int64_t place : {1, 32, 1}) {
    places.push_back(Tensor::from<int64_t>(DType::kInt64, {1}, {&place, 1}));
  }
  problem_.inputs = {x};
  for (const Tensor& place : places) {
    OperandDesc operand;
    operand.dtype = DType::kInt64;
    operand.dims = {1};
    operand.constant = &place;
    problem_.inputs.push_back(operand);
  }
  problem_.outputs = {y};
  auto kernels = [&](const Config& knobs) {
    Config config = {{"threads", int64_t{256}}, {"unroll", int64_t{2}}};
    config.insert(config.end(), knobs.begin(), knobs.end());
    return tactics_->find("cuda.copy")->kernels(problem_, config, context_->info()).status();
  };
  EXPECT_TRUE(kernels({}).ok()) << kernels({}).to_string();
  EXPECT_TRUE(kernels({{"gathered", int64_t{8}}}).ok());
  for (const Config& knobs : {Config{{"gathered", int64_t{16}}}, {{"gathered", int64_t{3}}}}) {
    EXPECT_EQ(kernels(knobs).code(), StatusCode::kIncompatible);
  }
}

TEST_F(KnobsTest, GathersThatCannotBe) {
  problem_.op = &ops_->get("gather");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  OperandDesc indices;
  indices.dtype = DType::kInt64;
  indices.dims = {5};
  problem_.inputs.push_back(indices);
  problem_.outputs[0].dims = {5, 8};
  auto kernels = [&](const Config& config) {
    return tactics_->find("cuda.gather_rows")->kernels(problem_, config, context_->info()).status();
  };
  EXPECT_TRUE(kernels({}).ok());
  EXPECT_TRUE(kernels({{"unroll", int64_t{4}}}).ok());
  for (const Config& config : {Config{{"unroll", int64_t{0}}},
                               {{"unroll", int64_t{9}}},
                               {{"unroll", std::string("4")}},
                               {{"threads", int64_t{4}}}}) {
    EXPECT_EQ(kernels(config).code(), StatusCode::kIncompatible);
  }
}

// 2 groups of 32 columns, of which 4 or 8 blocks have parts.
TEST_F(KnobsTest, BlocksOfATeamAreNeverNone) {
  problem_.op = &ops_->get("softmax");
  problem_.attrs = Attrs::load(problem_.op->attrs, {{"axis", int64_t{0}}}).value();
  problem_.inputs[0].dtype = problem_.outputs[0].dtype = DType::kFloat16;
  problem_.inputs[0].dims = problem_.outputs[0].dims = {1000, 64};
  RowsProblem rows = describe_rows(problem_, ElementWriter(problem_)).value();
  RowsShape shape = {RowsKernel::kColumnTeam, 64, 16, 2, 32};
  shape.team = 8;
  for (int at_once : {1, 2}) {
    shape.rows = at_once;
    int64_t members = 8 / at_once;
    EXPECT_EQ(team_blocks(shape, rows, 132), 2 * members);
    EXPECT_EQ(team_blocks(shape, rows, members), members);
    EXPECT_EQ(team_blocks(shape, rows, members - 1), members - 1);
    EXPECT_EQ(team_blocks(shape, rows, members + 1), at_once == 1 ? members + 1 : members);
  }
}

TEST_F(KnobsTest, TransposeInTilesThatAreNoneOfOurs) {
  problem_.op = &ops_->get("transpose");
  problem_.attrs = Attrs::load(problem_.op->attrs, {}).value();
  using Codes = std::vector<int64_t>;
  for (const Codes& tile : {Codes{}, Codes{64, 64, 3, 1}, Codes{64, 64, 8, 1}, Codes{4, 4, 1, 1},
                            Codes{4096, 4096, 1, 1}, Codes{-64, -64, 1, 1}}) {
    EXPECT_EQ(prepare("cuda.transpose", {{"tile", tile}}, 1).code(), StatusCode::kIncompatible);
    for (int64_t move : {-1, 1, 2, 3, 4}) {
      Config config = {{"tile", tile}, {"move", move}};
      EXPECT_EQ(prepare("cuda.transpose", config, 1).code(), StatusCode::kIncompatible);
    }
  }
}

}  // namespace
}  // namespace redline
