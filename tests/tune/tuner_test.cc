// SPDX-License-Identifier: Apache-2.0
#include "tune/tuner.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "build/build.h"
#include "ir/text.h"
#include "ops/fused.h"
#include "runtime/executor.h"

namespace redline {
namespace {

// What the tactics of these tests do on [8,512] data: relu(x + y), slowly or wrongly as asked.
struct Behaviour {
  int us = 0;                     // how long it takes
  bool wrong_last = false;        // the last element is off by one
  bool forgets_y = false;         // the second operand of the tail is not added
  bool refuses = false;           // at prepare
  bool leaves_last = false;       // the last element is not written
  bool behind_output = false;     // writes one element too many
  bool behind_workspace = false;  // writes to a workspace of no bytes
};

void wait_us(int us) {
  auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
  while (std::chrono::steady_clock::now() < end) {
  }
}

class ReluSumKernel final : public Kernel {
 public:
  explicit ReluSumKernel(Behaviour behaviour) : behaviour_(behaviour) {}
  Status run(const KernelArgs& args) const override {
    const auto* x = args.inputs[0].as<const float>();
    const auto* y = args.inputs[1].as<const float>();
    int64_t count = args.outputs[0].count() - (behaviour_.leaves_last ? 1 : 0);
    auto* out = args.outputs[0].as<float>();
    for (int64_t i = 0; i < count; ++i) {
      out[i] = std::max(0.0f, x[i] + (behaviour_.forgets_y ? 0 : y[i]));
    }
    if (behaviour_.wrong_last) out[count - 1] += 1;
    if (behaviour_.behind_output) out[count] = 0;
    if (behaviour_.behind_workspace) *static_cast<char*>(args.workspace) = 0;
    wait_us(behaviour_.us);
    return {};
  }

 private:
  Behaviour behaviour_;
};

// A tactic's behaviour is a config, so that a function pointer can make it.
Config config_of(const Behaviour& b) {
  return {{"us", int64_t{b.us}},
          {"wrong_last", int64_t{b.wrong_last}},
          {"forgets_y", int64_t{b.forgets_y}},
          {"refuses", int64_t{b.refuses}},
          {"leaves_last", int64_t{b.leaves_last}},
          {"behind_output", int64_t{b.behind_output}},
          {"behind_workspace", int64_t{b.behind_workspace}}};
}
Result<std::unique_ptr<Kernel>> prepare(const Problem&, const Config& config,
                                        const PrepareArgs& args) {
  if (args.compiler != nullptr) {
    REDLINE_TRY(args.compiler->get({"k", config_to_string(config), "", {}}).status());
  }
  auto at = [&](size_t i) { return static_cast<int>(std::get<int64_t>(config[i].value)); };
  if (at(3) != 0) return unsupported("these sizes are not to its taste");
  return std::unique_ptr<Kernel>(std::make_unique<ReluSumKernel>(
      Behaviour{at(0), at(1) != 0, at(2) != 0, false, at(4) != 0, at(5) != 0, at(6) != 0}));
}
template <int kIndex>
Behaviour g_behaviour;
template <int kIndex>
std::vector<Config> configs(const Problem&) {
  return {config_of(g_behaviour<kIndex>)};
}
Status takes_two(const Problem& problem) {
  return problem.inputs.size() == 2 ? Status() : unsupported("takes two inputs");
}

class TunerTest : public testing::Test {
 protected:
  void SetUp() override {
    add<0>("first", 30);
    add<1>("second", 20);
    add<2>("third", 10);
    g_behaviour<0> = g_behaviour<1> = g_behaviour<2> = {};
    options_.logger = Logger([this](Severity severity, std::string_view message) {
      if (severity == Severity::kWarning) warnings_.emplace_back(message);
    });
  }
  template <int kIndex>
  void add(const std::string& name, int preference) {
    tactics_.add({.name = name,
                  .device = "cpu",
                  .ops = {"fused"},
                  .supports = takes_two,
                  .configs = configs<kIndex>,
                  .prepare = prepare,
                  .preference = preference});
  }
  static std::string region(const std::string& type = "f32[8,512]") {
    return "graph g(%x: " + type + ", %y: " + type +
           ") {\n  %s = add(%x, %y)\n  %z = relu(%s)\n  return %z\n}\n";
  }
  Plan build(const std::string& type = "f32[8,512]") {
    auto graph = parse_graph(*ops_, region(type));
    return build_plan(**graph, tactics_, *pool_, options_, &report_).value();
  }
  // A region of two ops on two operands of the same sizes.
  struct Step {
    std::string_view op;
    std::vector<int> inputs;
  };
  Problem region_of(const std::vector<Step>& steps, const Dims& dims) const {
    auto body = std::make_shared<Body>();
    body->num_inputs = 2;
    for (const auto& [name, inputs] : steps) {
      const OpDef& op = ops_->get(name);
      body->nodes.push_back({&op, Attrs::load(op.attrs, {}).value(), inputs});
    }
    body->outputs = {3};
    Problem problem;
    problem.op = &ops_->get("fused");
    problem.attrs = Attrs::of(FusedAttrs{body});
    OperandDesc operand;
    operand.dims = dims;
    problem.inputs = {operand, operand};
    problem.outputs = {operand};
    return problem;
  }
  std::string tactic() {
    Plan plan = build();
    EXPECT_EQ(plan.steps.size(), 1u);
    return plan.steps[0].tactic;
  }
  const CandidateReport& candidate(const std::string& name) {
    for (const CandidateReport& c : report_.tuning.problems.at(0).candidates) {
      if (c.tactic == name) return c;
    }
    ADD_FAILURE() << "no candidate " << name;
    return report_.tuning.problems[0].candidates[0];
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(1).value();
  TacticRegistry tactics_;
  BuildOptions options_;
  BuildReport report_;
  std::vector<std::string> warnings_;
};

TEST_F(TunerTest, TheFasterOneIsTaken) {
  g_behaviour<0>.us = 4000;
  g_behaviour<1>.us = 200;
  g_behaviour<2>.us = 3000;
  EXPECT_EQ(tactic(), "second");
  EXPECT_GT(candidate("first").us, 4000);
  EXPECT_LT(candidate("second").us, 2000);
  EXPECT_EQ(candidate("second").verdict, Verdict::kRight);
  EXPECT_EQ(candidate("first").verdict, Verdict::kUnchecked);
}

TEST_F(TunerTest, ThePreferredOneStaysWhenNoneIsClearlyFaster) {
  g_behaviour<0>.us = g_behaviour<1>.us = g_behaviour<2>.us = 300;
  // A machine that does other things too may disturb one candidate alone in all its runs.
  std::vector<std::string> chosen;
  for (int i = 0; i < 5; ++i) chosen.push_back(tactic());
  EXPECT_GE(std::count(chosen.begin(), chosen.end(), "first"), 3);
}

TEST_F(TunerTest, AWrongOneIsDroppedAndReportedAndTheResultIsRight) {
  g_behaviour<0> = {.us = 4000};
  g_behaviour<1> = {.us = 200, .forgets_y = true};
  g_behaviour<2> = {.us = 400};
  Plan plan = build();
  EXPECT_EQ(plan.steps[0].tactic, "third");
  EXPECT_EQ(candidate("second").verdict, Verdict::kWrong);
  ASSERT_EQ(warnings_.size(), 1u);
  EXPECT_NE(warnings_[0].find("second"), std::string::npos);
  EXPECT_NE(warnings_[0].find("fused(f32[8,512], f32[8,512])"), std::string::npos);

  auto executor = Executor::create(plan, tactics_, *pool_).value();
  std::vector<float> ones(8 * 512, 1);
  std::vector<HostValue> inputs(
      2, HostValue::of(Tensor::from<float>(DType::kFloat32, {8, 512}, ones)));
  ASSERT_TRUE(executor->run(inputs).ok());
  EXPECT_EQ(executor->output(0).tensor.data<float>()[77], 2);
}

TEST_F(TunerTest, WrongOnlyAtTheLastElementIsFound) {
  for (int level : {1, 2, 3}) {
    options_.opt_level = level;
    g_behaviour<0> = {.wrong_last = true};
    EXPECT_EQ(tactic(), "second") << level;
    EXPECT_EQ(candidate("first").verdict, Verdict::kWrong);
  }
}

TEST_F(TunerTest, WhatLeavesElementsUnwrittenIsDropped) {
  options_.opt_level = 1;
  g_behaviour<0>.leaves_last = true;
  EXPECT_EQ(tactic(), "second");
  EXPECT_EQ(candidate("first").verdict, Verdict::kWrong);
  const std::string& reason = candidate("first").reason;
  EXPECT_NE(reason.find("at [7, 511]: -nan, expected "), std::string::npos) << reason;
  EXPECT_NE(reason.find("; as it was before the run"), std::string::npos) << reason;
}

TEST_F(TunerTest, WhatWritesBehindItsMemoryIsDropped) {
  options_.opt_level = 1;
  g_behaviour<0>.behind_output = true;
  g_behaviour<1>.behind_workspace = true;
  EXPECT_EQ(tactic(), "third");
  EXPECT_EQ(candidate("first").verdict, Verdict::kWrong);
  EXPECT_EQ(candidate("first").reason, "wrote behind output 0");
  EXPECT_EQ(candidate("second").verdict, Verdict::kWrong);
  EXPECT_EQ(candidate("second").reason, "wrote behind its workspace");
}

TEST_F(TunerTest, WhenAllAreWrongTheReferenceIsLast) {
  g_behaviour<0>.wrong_last = g_behaviour<1>.wrong_last = g_behaviour<2>.forgets_y = true;
  EXPECT_EQ(tactic(), "");
  EXPECT_EQ(report_.tuning.problems[0].chosen, -1);
  EXPECT_EQ(warnings_.size(), 3u);
}

TEST_F(TunerTest, WhatTakesTooMuchMemoryIsNotTried) {
  Plan plan = build("f32[65536,8192]");
  EXPECT_EQ(plan.steps[0].tactic, "first");
  EXPECT_EQ(candidate("first").verdict, Verdict::kNotCheckable);
  EXPECT_EQ(candidate("first").us, 0);
  EXPECT_NE(candidate("first").reason.find("a trial would take 6144 MB"), std::string::npos)
      << candidate("first").reason;
}

TEST_F(TunerTest, ARefusalAtPrepareHasItsReason) {
  g_behaviour<0>.refuses = true;
  EXPECT_EQ(tactic(), "second");
  EXPECT_EQ(candidate("first").verdict, Verdict::kRefused);
  EXPECT_EQ(candidate("first").reason, "these sizes are not to its taste");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(TunerTest, WithoutTimeThePreferredOneIsTakenAndChecked) {
  g_behaviour<0>.us = 3000;
  options_.build_seconds = 0;
  EXPECT_EQ(tactic(), "first");
  EXPECT_EQ(candidate("first").verdict, Verdict::kRight);
  EXPECT_EQ(candidate("second").us, 0);
}

TEST_F(TunerTest, TimingStopsWhenItsTimeIsOver) {
  g_behaviour<0>.us = g_behaviour<1>.us = g_behaviour<2>.us = 100000;
  options_.opt_level = 5;
  options_.build_seconds = 0.25;
  EXPECT_EQ(tactic(), "first");
  EXPECT_LT(report_.tuning.timing_seconds, 0.25 + 0.2);
  EXPECT_EQ(candidate("first").verdict, Verdict::kRight);
}

// Kernels that take 300 ms to compile: which tactic is chosen, with so many seconds for all.
class SlowCompiler : public TunerTest {
 protected:
  std::string_view choose(double seconds) {
    g_behaviour<0>.us = 4000;
    g_behaviour<1>.us = 3000;
    g_behaviour<2>.us = 200;
    PrepareArgs args;
    args.pool = pool_.get();
    args.compiler = &compiler_;
    TuningDatabase database("", {});
    TuneOptions options;
    options.seconds = seconds;
    Tuner tuner(tactics_, args, database, options);
    Problem problem = region_of({{"add", {0, 1}}, {"relu", {2}}}, {8, 512});
    std::string_view name = tuner.choose(problem, problem).tactic->name;
    timing_seconds_ = tuner.report().timing_seconds;
    return name;
  }

  cuda::KernelCompiler compiler_{[](const cuda::KernelSource&) -> Result<cuda::CompiledKernel> {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return cuda::CompiledKernel{};
  }};
  double timing_seconds_ = 0;
};

TEST_F(SlowCompiler, WaitingForItIsNotTiming) {
  EXPECT_EQ(choose(60), "third");
  EXPECT_GE(compiler_.seconds_waited(), 0.9);
  EXPECT_LT(timing_seconds_, 0.25);
  EXPECT_GT(timing_seconds_, 0);
}

TEST_F(SlowCompiler, ABuildWhoseTimeIsOverWaitsOnlyForWhatItNeeds) {
  EXPECT_EQ(choose(0.1), "first");
  EXPECT_GE(compiler_.seconds_waited(), 0.3);
  EXPECT_LT(compiler_.seconds_waited(), 0.6);
}

TEST_F(TunerTest, LevelsSayHowMuchIsDone) {
  g_behaviour<0>.us = 4000;
  g_behaviour<1>.us = 100;
  options_.opt_level = 1;
  EXPECT_EQ(tactic(), "first");
  EXPECT_EQ(candidate("first").us, 0);
  options_.opt_level = 2;
  EXPECT_EQ(tactic(), "first");
  options_.opt_level = 4;
  EXPECT_NE(tactic(), "first");
  EXPECT_EQ(candidate("second").verdict == Verdict::kRight ||
                candidate("third").verdict == Verdict::kRight,
            true);
}

TEST_F(TunerTest, TheDatabaseSparesTimingAndChecks) {
  std::string file = testing::TempDir() + "redline_tuner_" + std::to_string(getpid()) + ".jsonl";
  std::filesystem::remove(file);
  options_.tuning_database = file;
  g_behaviour<0>.us = 4000;
  g_behaviour<1>.us = 200;
  g_behaviour<2>.us = 1500;
  EXPECT_EQ(tactic(), "second");
  EXPECT_GT(report_.tuning.timing_seconds, 0);
  for (int level : {2, 3}) {
    options_.opt_level = level;
    Plan plan = build();
    EXPECT_EQ(plan.steps[0].tactic, "second");
    EXPECT_GT(plan.steps[0].us, 100);
    EXPECT_GE(plan.steps[0].error, 0);
    EXPECT_EQ(report_.tuning.timing_seconds, 0);
    EXPECT_EQ(report_.tuning.check_seconds, 0);
    EXPECT_TRUE(candidate("second").from_database);
  }
  options_.opt_level = 1;
  EXPECT_EQ(tactic(), "first");
  std::filesystem::remove(file);
}

TEST_F(TunerTest, WhatTakesTheTurnOfARefusalIsInTheDatabaseToo) {
  std::string file = testing::TempDir() + "redline_tuner_" + std::to_string(getpid()) + ".jsonl";
  std::filesystem::remove(file);
  options_.tuning_database = file;
  add<3>("fourth", 5);
  g_behaviour<0>.refuses = true;
  g_behaviour<1>.us = 4000;
  g_behaviour<2>.us = 3000;
  g_behaviour<3>.us = 200;
  EXPECT_EQ(tactic(), "fourth");
  EXPECT_EQ(tactic(), "fourth");
  EXPECT_EQ(report_.tuning.timing_seconds, 0);
  EXPECT_EQ(report_.tuning.check_seconds, 0);
  std::filesystem::remove(file);
}

TEST_F(TunerTest, WhatTheReferenceIsTooSlowForIsTimedAllTheSame) {
  Problem problem = region_of({{"exp", {0}}, {"matmul", {2, 1}}}, {1024, 1024});
  ASSERT_TRUE(takes_too_long(problem));
  g_behaviour<0>.us = 30000;
  g_behaviour<2>.us = 20000;
  PrepareArgs args;
  args.pool = pool_.get();
  TuningDatabase database("", {});
  for (int build = 0; build < 2; ++build) {
    Tuner tuner(tactics_, args, database, {});
    EXPECT_EQ(tuner.choose(problem, problem).tactic->name, "second");
    const ProblemReport& report = tuner.report().problems.at(0);
    const CandidateReport& chosen = report.candidates.at(static_cast<size_t>(report.chosen));
    EXPECT_EQ(chosen.verdict, Verdict::kNotCheckable);
    EXPECT_GT(chosen.us, 0);
    EXPECT_EQ(chosen.from_database, build == 1);
    EXPECT_EQ(tuner.report().timing_seconds > 0, build == 0);
  }
}

TEST_F(TunerTest, AWayThatTheEngineHasStaysUnlessAnotherIsWorthIt) {
  auto graph = parse_graph(*ops_, region());
  Plan plan = build_plan(**graph, tactics_, *pool_, options_, &report_).value();
  Problem problem;
  problem.op = plan.steps[0].op;
  problem.attrs = plan.steps[0].attrs;
  OperandDesc operand;
  operand.dims = {8, 512};
  problem.inputs = {operand, operand};
  problem.outputs = {operand};
  PrepareArgs args;
  args.pool = pool_.get();
  auto chosen = [&](int fastest_us) {
    g_behaviour<0>.us = 1500;
    g_behaviour<1>.us = fastest_us;
    g_behaviour<2>.us = 1000;
    TuningDatabase database("", {});
    Tuner tuner(tactics_, args, database, {});
    Tuner::Way way{"third", config_of(g_behaviour<2>)};
    return std::string(tuner.choose(problem, problem, {&way, 1}).tactic->name);
  };
  EXPECT_EQ(chosen(980), "third");
  EXPECT_EQ(chosen(700), "second");
}

TEST_F(TunerTest, EqualStepsAreDecidedOnce) {
  auto graph = parse_graph(*ops_,
                           "graph g(%x: f32[8,512]) {\n  %a = transpose(%x) {perm=[1, 0]}\n"
                           "  %b = transpose(%a) {perm=[1, 0]}\n  %c = exp(%x)\n"
                           "  %d = matmul(%b, %a)\n  %e = exp(%c)\n  return %d, %e\n}\n");
  ASSERT_TRUE(graph.ok()) << graph.status().to_string();
  options_.disabled_passes = {"fuse_pointwise", "cse"};
  auto tactics = make_tactic_registry();
  ASSERT_TRUE(build_plan(**graph, *tactics, *pool_, options_, &report_).ok());
  auto exp =
      std::find_if(report_.tuning.problems.begin(), report_.tuning.problems.end(),
                   [](const auto& p) { return p.problem == "exp(f32[8,512]) -> f32[8,512]"; });
  ASSERT_NE(exp, report_.tuning.problems.end());
  EXPECT_EQ(exp->steps, 2);
}

}  // namespace
}  // namespace redline
