// SPDX-License-Identifier: Apache-2.0
// Steps side by side in one graph, on the emulator, whose graphs run in any order that their edges
// allow.

#include "build/branches.h"
#include "api/time_chain.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <random>
#include <set>

#include "build/predicted_chain.h"
#include "emulator.h"
#include "ir/text.h"
#include "plan/engine_file.h"
#include "prof/profile.h"
#include "runtime/executor.h"
#include "tactics/chip_rates.h"

namespace redline {
namespace {

using emulator::GraphOrder;

// Three branches behind %t, which meet by twos; %v is of the third, and an output by itself.
constexpr std::string_view kNetwork = R"(graph g(%x: f32[n,16]) {
  %a: f32[16,16] = const random 1
  %b: f32[16,24] = const random 2
  %c: f32[24,16] = const random 3
  %axis: i64[1] = const [1]
  %t = softmax(%x) {axis=-1}
  %p = matmul(%t, %a)
  %p2 = softmax(%p) {axis=-1}
  %p3 = matmul(%p2, %a)
  %q = matmul(%t, %b)
  %q2 = softmax(%q) {axis=-1}
  %q3 = matmul(%q2, %c)
  %u = transpose(%t) {perm=[1, 0]}
  %u2 = softmax(%u) {axis=0}
  %v = transpose(%u2) {perm=[1, 0]}
  %r = mul(%p3, %q3)
  %s = softmax(%r) {axis=-1}
  %j = concat(%s, %v) {axis=0}
  %m = softmax(%j) {axis=-1}
  %k = reduce_max(%m, %axis)
  return %k, %m, %v
}
)";

constexpr std::string_view kTwo = R"(graph g(%x: f32[n,16], %y: f32[n,16]) {
  %a = softmax(%x) {axis=-1}
  %b = softmax(%y) {axis=-1}
  return %a, %b
}
)";

constexpr std::string_view kChain = R"(graph g(%x: f32[n,16]) {
  %w: f32[16,16] = const random 1
  %a = softmax(%x) {axis=-1}
  %b = matmul(%a, %w)
  %c = trilu(%b)
  return %c
}
)";

constexpr GraphOrder kOrders[] = {GraphOrder::kFirstFirst, GraphOrder::kLastFirst,
                                  GraphOrder::kInTurns};

// Says that the whole takes 100 us, and each step that is on another stream so much more; with ten
// and more rows another number.
class FakeChain final : public Chain {
 public:
  FakeChain(double each, double each_of_many) : each_(each), each_of_many_(each_of_many) {}
  Result<double> time(std::span<const int> variants, int) override {
    EXPECT_EQ(variants.empty(), rows_ > 0);
    return 100 + (rows_ < 10 ? each_ : each_of_many_) * aside_;
  }
  Status use_sizes(std::span<const Dims> input_sizes) override {
    rows_ = input_sizes[0][0];
    return {};
  }
  Status use_streams(std::span<const int> streams) override {
    aside_ = static_cast<double>(streams.size()) -
             static_cast<double>(std::count(streams.begin(), streams.end(), 0));
    return {};
  }

 private:
  double each_;
  double each_of_many_;
  int64_t rows_ = 0;
  double aside_ = 0;
};

void expect_identical(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t o = 0; o < want.size(); ++o) EXPECT_TRUE(identical(got[o], want[o])) << o;
}

class BranchesTest : public testing::Test {
 protected:
  void TearDown() override {
    emulator::set_graph_order(GraphOrder::kFirstFirst);
    emulator::set_span(1000);
  }
  Plan build(std::string_view network = kNetwork) {
    auto graph = parse_graph(*ops_, network).value();
    BuildOptions options;
    options.device = "cuda";
    options.gpu = &context_->info();
    options.context = is_here_ ? context_ : nullptr;
    cuda::KernelCompiler compiler(emulator::compile);
    options.compiler = &compiler;
    options.symbol_values = {{"n", 3}};
    options.further_values = further_;
    options.disabled_passes = {"merge_siblings"};
    options.tuning_database = database_;
    options.timestamps = timestamps_;
    options.side_streams = side_streams_;
    if (times_) options.make_chain = gpu_chain_maker(*tactics_, *pool_, context_);
    if (each_) {
      options.make_chain = [this](const Plan& plan, std::span<const Dims>) {
        ++made_;
        bool has_ways = std::any_of(plan.steps.begin(), plan.steps.end(),
                                    [](const auto& step) { return !step.variants.empty(); });
        if (has_ways) last_aside_ = aside(plan);
        return Result<std::unique_ptr<Chain>>(std::make_unique<FakeChain>(*each_, each_of_many_));
      };
    }
    return build_plan(*graph, *tactics_, *pool_, options, &report_).value();
  }
  std::unique_ptr<Executor> make_executor(const Plan& plan) {
    DeviceImagePtr image = DeviceImage::create(plan, context_).value();
    return Executor::create(plan, *tactics_, *pool_, std::move(image)).value();
  }
  static std::vector<HostValue> input(int64_t n) {
    std::vector<float> values(static_cast<size_t>(n) * 16);
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7 + 3) % 11) / 5 - 1;
    }
    return {HostValue::of(Tensor::from<float>(DType::kFloat32, Dims{n, 16}, values))};
  }
  static std::vector<Tensor> run(Executor& executor, int64_t n) {
    std::vector<HostValue> inputs = input(n);
    Status status = executor.run(inputs);
    EXPECT_TRUE(status.ok()) << status.message();
    std::vector<Tensor> outputs;
    for (size_t i = 0; i < 3; ++i) {
      const Tensor& output = executor.output(i).tensor;
      Tensor copy = Tensor::create(output.dtype(), output.dims()).value();
      std::memcpy(copy.mutable_raw(), output.raw(), output.bytes());
      outputs.push_back(std::move(copy));
    }
    return outputs;
  }
  static size_t aside(const Plan& plan) {
    return static_cast<size_t>(std::count_if(plan.steps.begin(), plan.steps.end(),
                                             [](const auto& step) { return step.stream > 0; }));
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
  bool is_here_ = false;
  bool timestamps_ = false;
  std::string database_;
  std::optional<bool> side_streams_;
  std::vector<BuildOptions::SymbolValues> further_;
  std::optional<double> each_;
  double each_of_many_ = 0;
  bool times_ = false;  // on the emulated GPU, where all take as long
  int made_ = 0;
  size_t last_aside_ = 0;  // of the last chain that had several ways
  BuildReport report_;
};

// Whatever streams somebody writes into a plan, copies and views included.
TEST_F(BranchesTest, AnyStreamsGiveTheSameBits) {
  side_streams_ = false;
  Plan plan = build();
  EXPECT_EQ(aside(plan), 0u);
  auto one = make_executor(plan);
  std::vector<std::vector<Tensor>> want;
  const int64_t sizes[] = {3, 1, 40};
  for (int64_t n : sizes) want.push_back(run(*one, n));
  auto executor = make_executor(plan);
  std::mt19937 random(1);
  for (int turn = 0; turn < 24; ++turn) {
    int most = turn % 2 == 0 ? 3 : PlanStep::kMostStreams;
    std::vector<int> streams;
    for (size_t s = 0; s < plan.steps.size(); ++s) {
      streams.push_back(static_cast<int>(random() % static_cast<unsigned>(most)));
    }
    for (GraphOrder order : kOrders) {
      emulator::set_graph_order(order);
      executor->use_streams(streams);
      for (size_t i = 0; i < want.size(); ++i) {
        for (int again = 0; again < 2; ++again) {
          std::vector<Tensor> got = run(*executor, sizes[i]);
          for (size_t o = 0; o < got.size(); ++o) {
            ASSERT_TRUE(identical(got[o], want[i][o])) << "turn " << turn << " output " << o;
          }
        }
      }
    }
  }
}

// Each step is several kernels, which hand sums to each other in the workspace.
TEST_F(BranchesTest, StreamsHaveWorkspacesOfTheirOwn) {
  Plan plan = build(R"(graph g(%x: f32[n,16]) {
  %axis: i64[1] = const [0]
  %t = softmax(%x) {axis=-1}
  %a = cum_sum(%t, %axis)
  %b = cum_sum(%t, %axis) {reverse=1}
  %c = cum_prod(%t, %axis)
  return %a, %b, %c
}
)");
  auto executor = make_executor(plan);
  constexpr int64_t kLong = 20000;
  std::vector<Tensor> want = run(*executor, kLong);
  std::vector<int> streams;
  for (const PlanStep& step : plan.steps) {
    bool sums = step.op->name.starts_with("cum_");
    streams.push_back(sums ? static_cast<int>(streams.size() % 3) : 0);
  }
  EXPECT_EQ(std::set<int>(streams.begin(), streams.end()).size(), 3u);
  for (GraphOrder order : kOrders) {
    emulator::set_graph_order(order);
    executor->use_streams(streams);
    std::vector<Tensor> got = run(*executor, kLong);
    expect_identical(got, want);
  }
}

// Small inputs come by one kernel, which a step that reads but the first of them waits for too.
TEST_F(BranchesTest, CopiesThatAreOneKernel) {
  Plan plan = build(kTwo);
  std::vector<int> streams;
  for (const PlanStep& step : plan.steps) streams.push_back(step.op->name == "softmax" ? 1 : 0);
  auto one = make_executor(plan);
  auto executor = make_executor(plan);
  executor->use_streams(streams);
  emulator::set_graph_order(GraphOrder::kLastFirst);
  std::vector<HostValue> inputs = {input(3)[0], input(3)[0]};
  ASSERT_TRUE(one->run(inputs).ok());
  ASSERT_TRUE(executor->run(inputs).ok());
  for (size_t o = 0; o < 2; ++o) {
    EXPECT_TRUE(identical(executor->output(o).tensor, one->output(o).tensor)) << o;
  }
}

// In a chain each kernel but the first has a programmatic edge to the one in front, whatever its
// tactic; a kernel that waits for another stream has none.
TEST_F(BranchesTest, ProgrammaticEdges) {
  int kernels = 0;
  int early = 0;
  auto count = [&](cuda::GraphNodeHandle, const emulator::GraphWork& work) {
    kernels += work.kernel.empty() ? 0 : 1;
    early += work.early ? 1 : 0;
  };
  auto run_once_more = [&](Executor& executor, std::vector<HostValue> inputs) {
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(executor.run(inputs).ok());
    emulator::watch_graphs({nullptr, count});
    EXPECT_TRUE(executor.run(inputs).ok());
    emulator::watch_graphs({});
  };
  Plan plan = build(kChain);
  auto executor = make_executor(plan);
  run_once_more(*executor, input(3));
  EXPECT_EQ(kernels, 5);  // one copies %x, and one %c
  EXPECT_EQ(early, 4);

  plan = build(kTwo);
  std::vector<int> streams;
  for (const PlanStep& step : plan.steps) streams.push_back(step.op->name == "softmax" ? 1 : 0);
  auto aside = make_executor(plan);
  aside->use_streams(streams);
  kernels = early = 0;
  run_once_more(*aside, {input(3)[0], input(3)[0]});
  EXPECT_EQ(kernels, 4);
  EXPECT_EQ(early, 0);  // each waits for another stream
}

TEST_F(BranchesTest, IndependentKernelsAreFoundAndRunAside) {
  side_streams_ = false;
  Plan plan = build();
  std::vector<Tensor> want = run(*make_executor(plan), 3);
  for (PlanStep& step : plan.steps) step.us = 20;
  std::vector<Branch> branches = find_branches(plan, *tactics_);
  ASSERT_EQ(branches.size(), 2u);
  EXPECT_NE(branches[0].stream, branches[1].stream);
  for (const Branch& branch : branches) {
    EXPECT_GE(branch.steps.size(), 2u);
    for (size_t s : branch.steps) {
      EXPECT_EQ(plan.steps[s].stream, 0);
      plan.steps[s].stream = branch.stream;
    }
  }
  emulator::set_graph_order(GraphOrder::kLastFirst);
  auto executor = make_executor(plan);
  std::vector<Tensor> got = run(*executor, 3);
  expect_identical(got, want);
  EXPECT_GT(executor->time_kernels(2).value(), 0);
}

// Where waiting for each other takes longer than they do.
TEST_F(BranchesTest, ShortKernelsStayInARow) {
  Plan plan = build(kTwo);
  for (PlanStep& step : plan.steps) step.us = 20;
  EXPECT_EQ(find_branches(plan, *tactics_).size(), 1u);
  for (PlanStep& step : plan.steps) step.us = 0.5;
  EXPECT_TRUE(find_branches(plan, *tactics_).empty());
}

// What is as fast on one stream stays there; what was measured is known to the next build.
TEST_F(BranchesTest, TheWholeDecides) {
  is_here_ = true;
  database_ = str_cat(testing::TempDir(), "streams_", getpid(), ".jsonl");
  each_ = 0;
  EXPECT_EQ(aside(build()), 0u);
  EXPECT_EQ(report_.streams.why, "measured");
  EXPECT_EQ(report_.streams.count, 1);
  EXPECT_GT(report_.streams.tried, 0);
  EXPECT_EQ(report_.streams.us, 100);
  int made = made_;
  EXPECT_EQ(aside(build()), 0u);
  EXPECT_EQ(report_.streams.why, "as an earlier build measured");
  EXPECT_EQ(made_, made);
  std::filesystem::remove(database_);

  each_ = -3;
  emulator::set_span(120);  // several ways are about as fast
  Plan faster = build();
  EXPECT_GE(aside(faster), 2u);
  EXPECT_GE(report_.streams.count, 2);
  EXPECT_LT(report_.streams.us, report_.streams.us_one);
  EXPECT_EQ(last_aside_, aside(faster)) << "ways are chosen among what runs beside them";
  made = made_;
  Plan again = build();
  EXPECT_EQ(made_, made);
  for (size_t s = 0; s < faster.steps.size(); ++s) {
    EXPECT_EQ(again.steps[s].stream, faster.steps[s].stream);
  }
  side_streams_ = false;
  EXPECT_EQ(aside(build()), 0u);
  std::filesystem::remove(database_);
}

// Without a GPU what is known of the kernels and of the chip decides.
TEST_F(BranchesTest, WithoutAGpuStreamsArePredicted) {
  Plan plan = build();
  EXPECT_EQ(report_.streams.why, "predicted, there is no GPU");
  EXPECT_GE(aside(plan), 2u);
  EXPECT_GT(report_.streams.us, 0);
  EXPECT_LT(report_.streams.us, 0.98 * report_.streams.us_one);
  side_streams_ = true;
  EXPECT_GE(aside(build()), 2u);
  EXPECT_EQ(report_.streams.why, "as asked for, not measured");
  EXPECT_GE(report_.streams.count, 2);
  side_streams_ = false;
  EXPECT_EQ(aside(build()), 0u);
  EXPECT_EQ(report_.streams.why, "not asked for");
}

// Side by side kernels take as long as the longest where the GPU has room for them, else as all.
TEST_F(BranchesTest, PredictedTimes) {
  side_streams_ = false;
  Plan plan = build(kTwo);
  std::vector<bool> aside;
  std::vector<int> together(plan.steps.size());
  std::vector<int> apart = together;
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    PlanStep& step = plan.steps[s];
    aside.push_back(step.tactic == "cuda.rows");
    step.us = 20;
    if (aside.back() && std::count(aside.begin(), aside.end(), true) == 2) apart[s] = 1;
  }
  ASSERT_EQ(std::count(aside.begin(), aside.end(), true), 2);
  std::vector<Type> types;
  for (const PlanValue& value : plan.values) {
    types.push_back(Type::tensor(value.type.dtype, Shape::of(Dims{3, 16})));
  }
  auto time = [&](const Rates& rates, const std::vector<int>& streams) {
    PredictedChain chain(plan, types, rates, aside);
    EXPECT_TRUE(chain.use_streams(streams).ok());
    return chain.time({}, 1).value();
  };
  Rates fast = chip_rates(context_->info());
  Rates slow;
  slow.bytes_per_us = 3 * 16 * 2 * 4 / 20.0;
  Rates half = slow;
  half.bytes_per_us *= 1.0 / 0.8 / 0.75;  // a kernel has three quarters of it
  EXPECT_DOUBLE_EQ(time(fast, together), 40);
  EXPECT_DOUBLE_EQ(time(fast, apart), 20);
  EXPECT_DOUBLE_EQ(time(slow, apart), 40);
  EXPECT_NEAR(time(half, apart), 30, 1e-9);
  for (size_t v = 0; v < types.size(); ++v) types[v] = plan.values[v].type;
  EXPECT_DOUBLE_EQ(time(fast, apart), 40);  // sizes that nobody told
}

TEST_F(BranchesTest, StreamsAreInTheEngineFile) {
  Plan plan = build();
  for (size_t s = 0; s < plan.steps.size(); ++s) plan.steps[s].stream = static_cast<int>(s % 5);
  std::vector<std::byte> bytes = serialize_engine({}, plan).value();
  LoadedEngine loaded = parse_engine(bytes, nullptr, *ops_).value();
  ASSERT_EQ(loaded.plan.steps.size(), plan.steps.size());
  for (size_t s = 0; s < plan.steps.size(); ++s) {
    EXPECT_EQ(loaded.plan.steps[s].stream, plan.steps[s].stream);
  }
  DeviceImagePtr image = DeviceImage::create(plan, context_).value();
  for (int stream : {-1, PlanStep::kMostStreams}) {
    plan.steps[0].stream = stream;
    Status status = Executor::create(plan, *tactics_, *pool_, image).status();
    EXPECT_NE(status.message().find(str_cat("is on stream ", stream)), std::string::npos);
  }
}

// Parts of a run meet between them, and the gap before a step is since what it waits for had ended.
TEST_F(BranchesTest, ProfilesOfBranches) {
  timestamps_ = true;
  Plan plan = build();
  for (PlanStep& step : plan.steps) step.us = 20;
  for (const Branch& branch : find_branches(plan, *tactics_)) {
    for (size_t s : branch.steps) plan.steps[s].stream = branch.stream;
  }
  ASSERT_GT(aside(plan), 0u);
  auto executor = make_executor(plan);
  for (GraphOrder order : kOrders) {
    emulator::set_graph_order(order);
    Profile profile = make_profile(*executor, plan, *pool_, context_, input(3), /*runs=*/2).value();
    EXPECT_GT(profile.chain_us, 0);
    for (const StepProfile& step : profile.steps) {
      if (!step.chain) continue;
      EXPECT_GE(step.chain->gap_us, 0) << plan.steps[step.index].name;
    }
  }
}

// A driver call that fails while branches are captured.
TEST_F(BranchesTest, FailuresAreSaidAndOvercome) {
  Plan plan = build();
  for (size_t s = 0; s < plan.steps.size(); ++s) plan.steps[s].stream = static_cast<int>(s % 3);
  std::vector<Tensor> want = run(*make_executor(plan), 3);
  std::vector<HostValue> inputs = input(3);
  emulator::fail_call(0);
  ASSERT_TRUE(make_executor(plan)->run(inputs).ok());
  int calls = emulator::fail_call(0);
  DeviceImagePtr image = DeviceImage::create(plan, context_).value();
  int failed = 0;
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(0);
    auto executor = Executor::create(plan, *tactics_, *pool_, image).value();
    emulator::fail_call(n);
    Status status = executor->run(inputs);
    int made = emulator::fail_call(0);
    if (made < n) break;
    ++failed;
    EXPECT_FALSE(status.ok()) << n;
    std::vector<Tensor> got = run(*executor, 3);
    for (size_t o = 0; o < got.size(); ++o) EXPECT_TRUE(identical(got[o], want[o])) << n;
  }
  EXPECT_GT(failed, 20);
}

// Streams are for all sizes; what they are worth is their geometric mean.
TEST_F(BranchesTest, AllSizesOfARangeDecide) {
  is_here_ = true;
  further_ = {{{"n", 1}}, {{"n", 40}}, {{"n", 3}}};
  database_ = str_cat(testing::TempDir(), "ranges_", getpid(), ".jsonl");
  each_ = -3;
  each_of_many_ = 1;
  Plan faster = build();
  double steps = static_cast<double>(aside(faster));
  ASSERT_GE(steps, 2);
  EXPECT_EQ(report_.streams.why, "measured");
  EXPECT_EQ(made_, 1);
  EXPECT_NEAR(report_.streams.us_one, 100, 1e-9);
  EXPECT_NEAR(report_.streams.us, std::cbrt(std::pow(100 - 3 * steps, 2) * (100 + steps)), 1e-9);
  Plan again = build();
  EXPECT_EQ(report_.streams.why, "as an earlier build measured");
  EXPECT_EQ(aside(again), aside(faster));
  further_.pop_back();
  further_.push_back({{"n", 50}});
  each_of_many_ = 4;
  EXPECT_EQ(aside(build()), 0u) << "another range is measured anew";
  EXPECT_EQ(report_.streams.why, "measured");
  is_here_ = false;
  EXPECT_EQ(aside(build()), 0u);
  std::filesystem::remove(database_);
}

TEST_F(BranchesTest, WhatIsTimedHasTheSizesOfARange) {
  is_here_ = true;
  times_ = true;
  for (int ways = 1; ways <= 2; ++ways) {
    EXPECT_EQ(aside(build()), 0u);
    EXPECT_EQ(report_.streams.why, "measured");
    EXPECT_GT(report_.streams.tried, 0);
    EXPECT_GT(report_.streams.us_one, 0);
    further_ = {{{"n", 1}}, {{"n", 40}}};
  }
}

}  // namespace
}  // namespace redline
