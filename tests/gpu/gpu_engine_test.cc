// SPDX-License-Identifier: Apache-2.0
// Engines for a GPU, built and run on the emulator.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <mutex>

#include "build/build.h"
#include "emulator.h"
#include "ir/text.h"
#include "ops/compare.h"
#include "ops/random_tensor.h"
#include "plan/engine_file.h"
#include "runtime/executor.h"
#include "tune/database.h"

namespace redline {
namespace {

constexpr std::string_view kNetwork = R"(graph g(%x: f32[n,6]) {
  %w: f32[6,8] = const random 1
  %b: f32[8] = const random 2
  %p = matmul(%x, %w)
  %q = add(%p, %b)
  %r = relu(%q)
  %s = softmax(%r) {axis=-1}
  %axis: i64[1] = const [1]
  %m = reduce_max(%q, %axis)
  return %s, %m
}
)";

class GpuEngineTest : public testing::Test {
 protected:
  void TearDown() override { emulator::set_span(1000); }
  Result<Plan> build(std::string_view text, bool host_fallback = false, int opt_level = 3) {
    REDLINE_ASSIGN(auto graph, parse_graph(*ops_, text));
    BuildOptions options;
    options.device = "cuda";
    options.gpu = &context_->info();
    options.context = is_here_ ? context_ : nullptr;
    cuda::KernelCompiler compiler(compile_);
    options.compiler = &compiler;
    options.tuning_database = database_;
    options.symbol_values = likely_;
    options.further_values = further_;
    options.host_fallback = host_fallback;
    options.opt_level = opt_level;
    options.tf32 = tf32_;
    options.make_chain = make_chain_;
    options.side_streams = false;
    options.logger =
        Logger([this](Severity, std::string_view message) { log_ += str_cat(message, "\n"); });
    return build_plan(*graph, *tactics_, *pool_, options, &report_);
  }
  Plan build_on_cpu(std::string_view text) {
    auto graph = parse_graph(*ops_, text).value();
    BuildOptions options;
    options.opt_level = 0;
    return build_plan(*graph, *tactics_, *pool_, options).value();
  }
  Result<std::unique_ptr<Executor>> make_executor(const Plan& plan) {
    REDLINE_ASSIGN(DeviceImagePtr image, DeviceImage::create(plan, context_));
    return Executor::create(plan, *tactics_, *pool_, std::move(image));
  }
  static Tensor ramp(const Dims& dims) {
    std::vector<float> values(static_cast<size_t>(dims.count()));
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = static_cast<float>((i * 7 + 3) % 11) / 5 - 1;
    }
    return Tensor::from<float>(DType::kFloat32, dims, values);
  }
  // Runs both on the same input and compares their outputs.
  void expect_same(Executor& gpu, Executor& cpu, const Tensor& x) {
    expect_close(gpu, cpu, x, 1e-5);
  }
  void expect_close(Executor& gpu, Executor& cpu, const Tensor& x, double tolerance) {
    expect_close(gpu, cpu, std::vector{HostValue::of(x)}, tolerance);
  }
  void expect_close(Executor& gpu, Executor& cpu, const std::vector<HostValue>& inputs,
                    double tolerance) {
    ASSERT_TRUE(cpu.run(inputs).ok());
    Status ran = gpu.run(inputs);
    ASSERT_TRUE(ran.ok()) << ran.message();
    for (size_t i = 0; i < 2; ++i) {
      const Tensor& want = cpu.output(i).tensor;
      const Tensor& got = gpu.output(i).tensor;
      ASSERT_EQ(got.dims(), want.dims());
      for (int64_t e = 0; e < want.count(); ++e) {
        ASSERT_NEAR(got.data<float>()[e], want.data<float>()[e], tolerance) << i << " " << e;
      }
    }
  }

  static size_t count(const Plan& plan, std::string_view tactic) {
    return static_cast<size_t>(
        std::count_if(plan.steps.begin(), plan.steps.end(),
                      [&](const PlanStep& step) { return step.tactic == tactic; }));
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler::Compile compile_ = emulator::compile;
  std::string database_;  // "": in memory
  bool is_here_ = true;   // else kernels are chosen without a trial
  BuildOptions::SymbolValues likely_;
  std::vector<BuildOptions::SymbolValues> further_;
  MakeChain make_chain_;
  bool tf32_ = false;
  BuildReport report_;
  std::string log_;
};

// Says that the whole takes 100 us, and each step that goes another way so much more.
class FakeChain final : public Chain {
 public:
  FakeChain(const Plan& plan, double each) : plan_(plan), each_(each) {}
  Result<double> time(std::span<const int> variants, int) override {
    EXPECT_EQ(variants.size(), plan_.steps.size());
    double us = 100;
    for (size_t s = 0; s < variants.size(); ++s) {
      EXPECT_LT(variants[s], static_cast<int>(plan_.steps[s].variants.size()));
      us += variants[s] < 0 ? 0 : each_ * (variants[s] + 1);
    }
    return us;
  }
  Status use_sizes(std::span<const Dims>) override { return {}; }
  Status use_streams(std::span<const int>) override { return {}; }

 private:
  const Plan& plan_;
  double each_;
};

std::vector<std::string> ways_of(const Plan& plan) {
  std::vector<std::string> ways;
  for (const PlanStep& step : plan.steps) {
    ways.push_back(step.tactic + " " + config_to_string(step.config));
  }
  return ways;
}

// What is as good alone is chosen by the time of the whole, and known to the next build.
TEST_F(GpuEngineTest, TheWholeDecidesBetweenWaysThatAreAlike) {
  const std::string file = str_cat(testing::TempDir(), "chain_", getpid(), ".jsonl");
  database_ = file;
  emulator::set_span(120);
  int made = 0;
  double each = 1;
  make_chain_ = [&](const Plan& plan, std::span<const Dims> sizes) {
    ++made;
    EXPECT_EQ(sizes[0], (Dims{1, 6}));
    return Result<std::unique_ptr<Chain>>(std::make_unique<FakeChain>(plan, each));
  };
  Plan slower = build(kNetwork).value();
  ASSERT_EQ(made, 1);
  ASSERT_GT(report_.chain.tried, 0);
  EXPECT_TRUE(report_.chain.changed.empty());
  EXPECT_EQ(ways_of(build(kNetwork).value()), ways_of(slower));
  EXPECT_EQ(made, 1);
  std::filesystem::remove(file);

  each = -1;
  Plan faster = build(kNetwork).value();
  EXPECT_EQ(made, 2);
  EXPECT_FALSE(report_.chain.changed.empty());
  EXPECT_LT(report_.chain.us, report_.chain.us_before);
  Plan again = build(kNetwork).value();
  EXPECT_EQ(made, 2);
  EXPECT_EQ(ways_of(again), ways_of(faster));
  // Where there is no GPU, records say it.
  is_here_ = false;
  EXPECT_EQ(ways_of(build(kNetwork).value()), ways_of(faster));
  is_here_ = true;
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  for (Plan* plan : {&slower, &faster, &again}) {
    for (const PlanStep& step : plan->steps) EXPECT_TRUE(step.variants.empty());
    auto gpu = make_executor(*plan).value();
    for (int64_t n : {3, 40}) expect_same(*gpu, *cpu, ramp({n, 6}));
  }
  std::filesystem::remove(file);
}

// When a product lets the next kernel start shows only among others: it is tried there at the
// higher levels, and known to later builds of any.
TEST_F(GpuEngineTest, TheTriggerIsChosenAmongOthers) {
  const std::string file = str_cat(testing::TempDir(), "trigger_", getpid(), ".jsonl");
  database_ = file;
  emulator::set_span(120);
  make_chain_ = [&](const Plan& plan, std::span<const Dims>) {
    return Result<std::unique_ptr<Chain>>(std::make_unique<FakeChain>(plan, -1));
  };
  auto triggers = [&](const Plan& plan) {
    std::string all;
    for (const PlanStep& step : plan.steps) {
      std::string config = config_to_string(step.config);
      size_t at = config.find("trigger=");
      if (step.tactic == "cuda.gemm")
        all += at == std::string::npos ? "0" : config.substr(at + 8, 1);
    }
    return all;
  };
  constexpr std::string_view kProducts = R"(graph g(%x: f32[4,8]) {
  %w: f32[8,8] = const random 1
  %y = matmul(%x, %w)
  %z = softmax(%y)
  return %z, %x
}
)";
  EXPECT_EQ(triggers(build(kProducts).value()), "0");
  std::filesystem::remove(file);
  Plan plan = build(kProducts, false, 4).value();
  EXPECT_EQ(triggers(plan), "2");
  is_here_ = false;
  EXPECT_EQ(triggers(build(kProducts).value()), "2");
  is_here_ = true;
  std::filesystem::remove(file);
  Plan reference = build_on_cpu(kProducts);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  auto gpu = make_executor(plan).value();
  Tensor x = random_tensor(DType::kFloat32, Dims{4, 8}, 1).value();
  std::vector<HostValue> inputs = {HostValue::of(x)};
  ASSERT_TRUE(cpu->run(inputs).ok() && gpu->run(inputs).ok());
  EXPECT_TRUE(compare_tensors(cpu->output(0).tensor, gpu->output(0).tensor,
                              rounding_tolerance(DType::kFloat32, 64))
                  .ok());
}

// Weights that all ways pack are gone when the whole is timed. (A sanitizer sees them used.)
TEST_F(GpuEngineTest, TheWholeIsTimedWithoutWhatWasPacked) {
  constexpr std::string_view kProducts = R"(graph g(%x: f16[8,32]) {
  %w: f16[32,32] = const random 1
  %y = matmul(%x, %w)
  return %y, %x
}
)";
  emulator::set_span(120);
  make_chain_ = [&](const Plan& plan, std::span<const Dims>) {
    return Result<std::unique_ptr<Chain>>(std::make_unique<FakeChain>(plan, 1));
  };
  Result<Plan> plan = build(kProducts);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_GT(report_.chain.tried, 0);
  size_t packed = 0;
  for (const auto& constant : plan->constants) packed += constant->recipe.empty() ? 0 : 1;
  EXPECT_GT(packed, 0u);
  EXPECT_EQ(packed, plan->constants.size());
}

// An executor goes the ways it is told to.
TEST_F(GpuEngineTest, VariantsMayBeForced) {
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  emulator::set_span(120);
  int runs = 0;
  make_chain_ = [&](const Plan& plan, std::span<const Dims>) {
    auto gpu = make_executor(plan).value();
    for (int way : {-1, 0, 1, -1}) {
      std::vector<int> ways;
      for (const PlanStep& step : plan.steps) {
        ways.push_back(std::min(way, static_cast<int>(step.variants.size()) - 1));
      }
      gpu->use_variants(ways);
      for (int64_t n : {3, 40}) expect_same(*gpu, *cpu, ramp({n, 6}));
      ++runs;
    }
    return Result<std::unique_ptr<Chain>>(unsupported("not timed here"));
  };
  ASSERT_TRUE(build(kNetwork).ok());
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(report_.chain.tried, 0);
}

// What is half a percent faster is, where that is more than a clock's read.
TEST_F(GpuEngineTest, ThePreferredWayStaysWhereNoneIsClearlyFaster) {
  constexpr std::string_view kRows = R"(graph g(%x: f32[9,600]) {
  %y = softmax(%x)
  return %y
}
)";
  database_ = str_cat(testing::TempDir(), "alike_", getpid(), ".jsonl");
  emulator::set_span(120);
  ASSERT_TRUE(build(kRows).ok());
  // All take 100 us, but for one, unless it is the chosen one.
  auto chosen_if = [&](size_t which, double us) {
    {
      TuningDatabase known(database_, {});
      std::vector<TuningRecord> records = known.records();
      for (size_t i = 0; i < records.size(); ++i) {
        if (records[i].us == 0) continue;
        records[i].us = i == which ? us : 100;
        known.add(records[i]);
      }
    }
    Plan plan = build(kRows).value();
    EXPECT_EQ(report_.tuning.timing_seconds, 0);
    auto step = std::find_if(plan.steps.begin(), plan.steps.end(),
                             [](const PlanStep& s) { return s.us > 0; });
    return str_cat(step->tactic, " ", config_to_string(step->config));
  };
  const std::string preferred = chosen_if(SIZE_MAX, 100);
  std::vector<TuningRecord> records = TuningDatabase(database_, {}).records();
  size_t tried = 0;
  for (size_t i = 0; i < records.size(); ++i) {
    std::string way =
        str_cat(records[i].tactic.substr(0, records[i].tactic.find('@')), " ", records[i].config);
    if (records[i].us == 0 || way == preferred) continue;
    ++tried;
    EXPECT_EQ(chosen_if(i, 99.6), preferred);
    EXPECT_EQ(chosen_if(i, 99.4), way);
  }
  EXPECT_GE(tried, 2u);
  std::filesystem::remove(database_);
}

// Blocks that hand on what they know of rows number it from run to run: each session has its own.
TEST_F(GpuEngineTest, WhatAKernelKeepsIsItsSessions) {
  constexpr std::string_view kRows = R"(graph g(%x: f32[260,8]) {
  %y = softmax(%x) {axis=0}
  return %y
}
)";
  const std::string file = str_cat(testing::TempDir(), "kept_", getpid(), ".jsonl");
  database_ = file;
  emulator::set_span(120);
  ASSERT_TRUE(build(kRows, false, 5).ok());
  {
    TuningDatabase known(file, {});
    for (TuningRecord record : known.records()) {
      if (record.config.find("kernels=[17,") == std::string::npos) continue;
      record.us = 0.001;
      known.add(record);
      break;
    }
  }
  Plan plan = build(kRows, false, 5).value();
  std::filesystem::remove(file);
  ASSERT_EQ(count(plan, "cuda.rows"), 1u);
  auto step = std::find_if(plan.steps.begin(), plan.steps.end(),
                           [](const PlanStep& s) { return s.tactic == "cuda.rows"; });
  const std::string config = config_to_string(step->config);
  ASSERT_NE(config.find("kernels=[17,"), std::string::npos);
  ASSERT_NE(config.find("parts=3"), std::string::npos) << config;
  Plan reference = build_on_cpu(kRows);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::vector<std::unique_ptr<Executor>> sessions;
  for (int i = 0; i < 2; ++i) sessions.push_back(make_executor(plan).value());
  for (int i = 0; i < 3; ++i) {
    Tensor x = ramp({260, 8});
    static_cast<float*>(x.mutable_raw())[i] = 3;
    const std::vector<HostValue> inputs = {HostValue::of(x)};
    ASSERT_TRUE(cpu->run(inputs).ok());
    const auto* want = cpu->output(0).tensor.data<float>();
    for (auto& session : sessions) {
      ASSERT_TRUE(session->run(inputs).ok());
      const auto* got = session->output(0).tensor.data<float>();
      for (int64_t e = 0; e < x.count(); ++e) ASSERT_NEAR(got[e], want[e], 1e-6) << e;
    }
  }
}

TEST_F(GpuEngineTest, RunsWhatTheCpuRunsForAnySize) {
  Result<Plan> plan = build(kNetwork);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(count(*plan, kUploadTactic), 1u);
  EXPECT_EQ(count(*plan, kDownloadTactic), 2u);
  EXPECT_EQ(plan->steps[0].tactic, kUploadTactic);
  Plan reference = build_on_cpu(kNetwork);
  auto gpu = make_executor(*plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  // 3000 rows are too large for copies by a kernel.
  for (int64_t n : {3, 1, 40, 3, 0, 3000, 40}) expect_same(*gpu, *cpu, ramp({n, 6}));
  EXPECT_EQ(log_, "");
}

// A kernel does not know which unknown sizes are the same, but of those that are the first
// result's.
TEST_F(GpuEngineTest, ManyOperandsOfUnknownSize) {
  constexpr std::string_view kSums =
      R"(graph g(%x: f32[n,6], %y: f32[n,6], %z: f32[n,1], %w: f32[n,6]) {
  %p = mul(%x, %y)
  %q = add(%p, %z)
  %r = mul(%q, %w)
  %s = sub(%r, %x)
  return %s, %q
}
)";
  Plan plan = build(kSums).value();
  EXPECT_EQ(count(plan, "cuda.pointwise"), 1u);
  Plan reference = build_on_cpu(kSums);
  auto gpu = make_executor(plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  for (int64_t n : {7, 1, 40, 0}) {
    std::vector<HostValue> inputs;
    for (int64_t columns : {6, 6, 1, 6}) inputs.push_back(HostValue::of(ramp({n, columns})));
    expect_close(*gpu, *cpu, inputs, 1e-6);
  }
}

TEST_F(GpuEngineTest, ImagesOfUnknownSize) {
  constexpr std::string_view kImages = R"(graph g(%x: f32[n,h,w,8]) {
  %axes: i64[2] = const [1, 2]
  %m = reduce_mean(%x, %axes)
  %gated = mul(%x, %m)
  %scales: f32[4] = const [1, 2, 3, 1]
  %large = resize(%gated, _, %scales) {coordinate_transformation_mode="asymmetric", nearest_mode="floor"}
  %from: i64[2] = const [1, -4]
  %to: i64[2] = const [9, -1]
  %cut = slice(%large, %from, %to, %axes)
  return %cut, %large
}
)";
  Result<Plan> plan = build(kImages);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(count(*plan, "cuda.element"), 0u);
  EXPECT_EQ(count(*plan, "cuda.pointwise"), 1u);
  EXPECT_EQ(count(*plan, "cuda.resize_nearest"), 1u);
  EXPECT_EQ(count(*plan, "cuda.copy"), 1u);
  Plan reference = build_on_cpu(kImages);
  auto gpu = make_executor(*plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::vector<Dims> sizes = {{2, 5, 7, 8}, {1, 1, 1, 8}, {3, 1, 13, 8}, {1, 6, 2, 8}, {0, 5, 7, 8}};
  for (const Dims& dims : sizes) expect_same(*gpu, *cpu, ramp(dims));
  EXPECT_EQ(log_, "");
}

// What stands for unknown sizes when kernels are chosen need not add up.
TEST_F(GpuEngineTest, PartsOfUnknownSizes) {
  constexpr std::string_view kParts = R"(graph g(%x: f32[6], %sizes: i64[2]) {
  %a, %b = split(%x, %sizes)
  return %a, %b
}
)";
  Plan reference = build_on_cpu(kParts);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  for (int opt_level : {0, 1, 3}) {
    Result<Plan> plan = build(kParts, /*host_fallback=*/true, opt_level);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    auto gpu = make_executor(*plan).value();
    for (const auto& parts : {std::vector<int64_t>{2, 4}, {6, 0}, {1, 5}}) {
      Tensor sizes = Tensor::from<int64_t>(DType::kInt64, {2}, parts);
      expect_close(*gpu, *cpu, {HostValue::of(ramp({6})), HostValue::of(sizes)}, 0);
    }
  }
}

// The ends of a range have ways of their own; each is used, and right, also from a file.
TEST_F(GpuEngineTest, VariantsForOtherSizes) {
  constexpr std::string_view kHalves = R"(graph g(%x: f32[n,96]) {
  %h = cast(%x) {to=f16}
  %w: f16[96,512] = const random 1
  %p = matmul(%h, %w)
  %y = cast(%p) {to=f32}
  %z = relu(%x)
  return %y, %z
}
)";
  is_here_ = false;
  likely_ = {{"n", 32}};
  further_ = {{{"n", 1}}, {{"n", 4096}}};
  Plan plan = build(kHalves).value();
  size_t packed_otherwise = 0;
  for (const PlanStep& step : plan.steps) {
    size_t others = 0;
    for (const PlanVariant& variant : step.variants) {
      others += variant.tactic + config_to_string(variant.config) !=
                        step.tactic + config_to_string(step.config)
                    ? 1
                    : 0;
      EXPECT_FALSE(variant.kernels.empty());
      packed_otherwise += variant.inputs != step.inputs ? 1 : 0;
    }
    EXPECT_EQ(others > 0, !step.variants.empty());
  }
  EXPECT_GT(packed_otherwise, 0u);
  EngineInfo info;
  info.device = "cuda";
  std::vector<std::byte> bytes = serialize_engine(info, plan).value();
  Plan loaded = parse_engine(bytes, nullptr, *ops_).value().plan;
  EXPECT_EQ(serialize_engine(info, loaded).value(), bytes);

  Plan reference = build_on_cpu(kHalves);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  auto gpu = make_executor(loaded).value();
  for (int64_t n : {32, 1, 400, 0, 3, 32}) expect_close(*gpu, *cpu, ramp({n, 96}), 2e-2);

  auto refuses = [&](const std::function<void(PlanVariant&)>& damage) {
    Plan damaged = parse_engine(bytes, nullptr, *ops_).value().plan;
    for (PlanStep& step : damaged.steps) {
      for (PlanVariant& variant : step.variants) damage(variant);
    }
    return !make_executor(damaged).ok();
  };
  EXPECT_TRUE(refuses([](PlanVariant& variant) { variant.tactic = "cuda.none"; }));
  EXPECT_TRUE(refuses([](PlanVariant& variant) { variant.tactic = "cuda.pool"; }));
  EXPECT_TRUE(refuses([](PlanVariant& variant) { variant.inputs.push_back(0); }));
  EXPECT_TRUE(refuses([](PlanVariant& variant) { variant.inputs.at(0) = -1; }));
  EXPECT_TRUE(refuses([](PlanVariant& variant) { variant.inputs.at(0) ^= 1; }));
  EXPECT_FALSE(refuses([](PlanVariant&) {}));
}

// Inputs are taken when a run is queued; what was queued before ends first.
TEST_F(GpuEngineTest, QueuedRunsAreWaitedFor) {
  Plan plan = build(kNetwork).value();
  Plan reference = build_on_cpu(kNetwork);
  auto gpu = make_executor(plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::vector<HostValue> small = {HostValue::of(ramp({2, 6}))};
  std::vector<HostValue> large = {HostValue::of(ramp({30, 6}))};
  ASSERT_TRUE(gpu->enqueue(small).ok());
  ASSERT_TRUE(gpu->enqueue(large).ok());
  ASSERT_TRUE(gpu->wait().ok());
  ASSERT_TRUE(cpu->run(large).ok());
  ASSERT_EQ(gpu->output(1).tensor.count(), 30);
  for (int i = 0; i < 30; ++i) {
    EXPECT_NEAR(gpu->output(1).tensor.data<float>()[i], cpu->output(1).tensor.data<float>()[i],
                1e-5);
  }
  // One that nobody waits for ends with its session.
  ASSERT_TRUE(gpu->enqueue(small).ok());
  gpu.reset();
  auto again = make_executor(plan).value();
  expect_same(*again, *cpu, ramp({2, 6}));
  EXPECT_GT(again->time_kernels(3).value(), 0);
  expect_same(*again, *cpu, ramp({2, 6}));
}

TEST_F(GpuEngineTest, IsTheSameFromAFile) {
  Plan plan = build(kNetwork).value();
  EngineInfo info;
  info.device = "cuda";
  info.device_arch = "sm_90a";
  std::vector<std::byte> bytes = serialize_engine(info, plan).value();
  Result<LoadedEngine> loaded = parse_engine(bytes, nullptr, *ops_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  EXPECT_EQ(loaded->info.device_arch, "sm_90a");
  Plan reference = build_on_cpu(kNetwork);
  auto gpu = make_executor(loaded->plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  expect_same(*gpu, *cpu, ramp({5, 6}));
  // The same bytes once more: nothing depends on addresses.
  EXPECT_EQ(serialize_engine(info, loaded->plan).value(), bytes);
}

// Each run uses the workspace that the last one left.
TEST_F(GpuEngineTest, RecurrentLayersOfAnyLength) {
  constexpr std::string_view kLayers = R"(graph g(%x: f32[n,2,6]) {
  %w: f32[1,20,6] = const random 1
  %r: f32[1,20,5] = const random 2
  %b: f32[1,40] = const random 3
  %y, %h, %c = lstm(%x, %w, %r, %b)
  %one: i64[1] = const [1]
  %next = squeeze(%y, %one)
  %w2: f32[2,21,5] = const random 4
  %r2: f32[2,21,7] = const random 5
  %z = gru(%next, %w2, %r2) {direction="bidirectional"}
  return %z, %c
}
)";
  Result<Plan> plan = build(kLayers);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(count(*plan, "cuda.rnn"), 2u);
  Plan reference = build_on_cpu(kLayers);
  auto gpu = make_executor(*plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  for (int64_t n : {3, 3, 1, 4, 3, 0, 3}) expect_same(*gpu, *cpu, ramp({n, 2, 6}));
  EXPECT_EQ(log_, "");
}

// Sequences are the host's.
constexpr std::string_view kMixed = R"(graph g(%x: f32[4,6]) {
  %a = relu(%x)
  %t = exp(%a)
  %q = sequence_construct(%a, %t)
  %zero: i64[] = const [0]
  %i = sequence_at(%q, %zero)
  %axis: i64[1] = const [1]
  %c = reduce_sum(%i, %axis)
  %u = add(%t, %t)
  return %u, %c
}
)";

TEST_F(GpuEngineTest, StepsOnTheHostAreAllowedOrRefused) {
  Result<Plan> refused = build(kMixed);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("sequence_at"), std::string::npos)
      << refused.status().message();
  EXPECT_NE(refused.status().message().find("fallback"), std::string::npos);

  Result<Plan> plan = build(kMixed, /*host_fallback=*/true);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_NE(log_.find("on the host: sequence_construct"), std::string::npos) << log_;
  Plan reference = build_on_cpu(kMixed);
  auto gpu = make_executor(*plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  for (int times = 0; times < 3; ++times) expect_same(*gpu, *cpu, ramp({4, 6}));
}

TEST_F(GpuEngineTest, AViewIsOnTheSideOfItsReader) {
  constexpr std::string_view text = R"(graph g(%x: f32[4,6]) {
    %shape: i64[2] = const [6, 4]
    %v = reshape(%x, %shape)
    %a = relu(%v)
    %w = reshape(%a, %shape)
    %e = exp(%w)
    return %e, %w
  }
  )";
  Plan plan = build(text, false, 1).value();
  EXPECT_EQ(count(plan, kUploadTactic), 1u);
  Plan reference = build_on_cpu(text);
  auto gpu = make_executor(plan).value();
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  expect_same(*gpu, *cpu, ramp({4, 6}));
}

// Each call of the driver fails once: an error, and right results in the run after it.
TEST_F(GpuEngineTest, EveryFailureIsReportedAndLeavesItUsable) {
  Plan plan = build(kNetwork).value();
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  emulator::fail_call(0);
  {
    auto gpu = make_executor(plan).value();
    expect_same(*gpu, *cpu, ramp({3, 6}));
    expect_same(*gpu, *cpu, ramp({9, 6}));
  }
  int calls = emulator::fail_call(0);
  ASSERT_GT(calls, 20);
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(n);
    Result<std::unique_ptr<Executor>> gpu = make_executor(plan);
    if (!gpu.ok()) {
      EXPECT_NE(gpu.status().message(), "");
      continue;
    }
    std::vector<HostValue> inputs = {HostValue::of(ramp({3, 6}))};
    std::vector<HostValue> other = {HostValue::of(ramp({9, 6}))};
    bool failed = !(*gpu)->run(inputs).ok();
    failed |= !(*gpu)->run(other).ok();
    EXPECT_TRUE(failed) << n;
    emulator::fail_call(0);
    expect_same(**gpu, *cpu, ramp({9, 6}));
    expect_same(**gpu, *cpu, ramp({3, 6}));
  }
  emulator::fail_call(0);
}

// From some call on all fail, as on a GPU that is lost: errors in words, and what was made before
// is let go of; once the GPU answers again a session is right or says why it is not.
TEST_F(GpuEngineTest, AGpuThatIsLost) {
  Plan plan = build(kNetwork).value();
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::vector<HostValue> inputs = {HostValue::of(ramp({3, 6}))};
  emulator::fail_call(0);
  ASSERT_TRUE(make_executor(plan).value()->run(inputs).ok());
  int calls = emulator::fail_call(0);
  int usable = 0;
  for (int n = 1; n <= calls; ++n) {
    emulator::fail_call(n, true);
    Result<std::unique_ptr<Executor>> gpu = make_executor(plan);
    Status ran = gpu.ok() ? (*gpu)->run(inputs) : gpu.status();
    EXPECT_FALSE(ran.ok()) << n;
    EXPECT_NE(ran.message(), "") << n;
    emulator::fail_call(0);
    if (!gpu.ok()) continue;
    Status again = (*gpu)->run(inputs);
    if (again.ok()) {
      ++usable;
      expect_same(**gpu, *cpu, ramp({3, 6}));
    } else {
      EXPECT_NE(again.message(), "") << n;
    }
  }
  EXPECT_GT(usable, 0);
}

// Each call of the driver fails once while an engine is built, and many of those that tuning it
// takes: an engine that is right, or an error; and the database learns nothing from it.
TEST_F(GpuEngineTest, EveryFailureOfABuildEndsInARightEngineOrAnError) {
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  auto path = std::filesystem::path(testing::TempDir()) / "redline_failures.jsonl";
  auto build_with_failure = [&](int opt_level, int n) {
    std::filesystem::remove(path);
    database_ = path.string();
    emulator::fail_call(n);
    Result<Plan> plan = build(kNetwork, false, opt_level);
    emulator::fail_call(0);
    TuningDatabase learnt(database_, {});
    EXPECT_EQ(learnt.skipped_lines(), 0u) << n;
    for (const TuningRecord& record : learnt.records()) {
      EXPECT_TRUE(record.verdict == Verdict::kRight || record.verdict == Verdict::kUnchecked ||
                  record.reason.find("injected") == std::string::npos)
          << n << " " << record_to_line(record);
      EXPECT_EQ(record.reason.find("out of memory"), std::string::npos) << n;
    }
    if (!plan.ok()) {
      EXPECT_NE(plan.status().message(), "");
      return 0;
    }
    expect_same(*make_executor(*plan).value(), *cpu, ramp({3, 6}));
    return 1;
  };
  for (int opt_level : {1, 3}) {
    emulator::fail_call(0);
    ASSERT_TRUE(build(kNetwork, false, opt_level).ok());
    int calls = emulator::fail_call(0);
    ASSERT_GT(calls, opt_level == 1 ? 20 : 100);
    int built = 0;
    for (int n = 1; n <= calls; n += opt_level == 1 || n < 60 ? 1 : 19) {
      built += build_with_failure(opt_level, n);
    }
    EXPECT_GT(built, 0) << opt_level;
  }
  std::filesystem::remove(path);
}

// Each kernel in turn does not compile: a right engine of the others, or an error that says so.
TEST_F(GpuEngineTest, EveryKernelThatDoesNotCompile) {
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::atomic<int> calls = 0;
  int bad = 0;
  compile_ = [&](const cuda::KernelSource& source) -> Result<cuda::CompiledKernel> {
    if (++calls == bad) return internal_error(source.entry, ": no such instruction");
    return emulator::compile(source);
  };
  ASSERT_TRUE(build(kNetwork).ok());
  int all = calls;
  ASSERT_GT(all, 10);
  int built = 0;
  for (bad = 1; bad <= all; ++bad) {
    calls = 0;
    Result<Plan> plan = build(kNetwork);
    if (!plan.ok()) {
      EXPECT_NE(plan.status().message().find("no such instruction"), std::string::npos)
          << plan.status().message();
      continue;
    }
    ++built;
    expect_same(*make_executor(*plan).value(), *cpu, ramp({3, 6}));
  }
  EXPECT_GT(built, 0);
}

// A kernel that does not compile is a candidate less, which the log or the error names.
TEST_F(GpuEngineTest, KernelsThatDoNotCompile) {
  Plan reference = build_on_cpu(kNetwork);
  auto cpu = Executor::create(reference, *tactics_, *pool_).value();
  std::mutex mutex;
  std::string bad;  // one of the texts for the product
  compile_ = [&](const cuda::KernelSource& source) -> Result<cuda::CompiledKernel> {
    std::lock_guard lock(mutex);
    if (source.entry == "product_tiles" && bad.empty()) bad = source.text;
    if (source.text == bad) return internal_error(source.entry, ": no such instruction");
    return emulator::compile(source);
  };
  Result<Plan> plan = build(kNetwork);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_NE(bad, "");
  auto gpu = make_executor(*plan).value();
  expect_same(*gpu, *cpu, ramp({3, 6}));

  compile_ = [](const cuda::KernelSource& source) -> Result<cuda::CompiledKernel> {
    return internal_error(source.entry, ": no such instruction");
  };
  Result<Plan> none = build(kNetwork);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("no such instruction"), std::string::npos)
      << none.status().message();
}

// Products round what they multiply, and nothing else is rounded.
TEST_F(GpuEngineTest, Tf32) {
  constexpr std::string_view text = R"(graph g(%x: f32[n,6]) {
    %w: f32[6,4] = const [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2]
    %p = matmul(%x, %w)ATTRS
    %a = relu(%p)
    %b = exp(%x)
    return %a, %b
  }
  )";
  auto with = [&](const std::string& attrs) {
    std::string result(text);
    return result.replace(result.find("ATTRS"), 5, attrs);
  };
  tf32_ = true;
  Plan plan = build(with("")).value();
  EXPECT_TRUE(report_.precision.tf32);
  EXPECT_EQ(report_.precision.lowered, 1u);
  Plan rounded = build_on_cpu(with(" {tf32=1}"));
  Plan exact = build_on_cpu(with(""));
  auto gpu = make_executor(plan).value();
  auto cpu = Executor::create(rounded, *tactics_, *pool_).value();
  expect_close(*gpu, *cpu, ramp({5, 6}), 1e-6);
  auto other = Executor::create(exact, *tactics_, *pool_).value();
  std::vector<HostValue> inputs = {HostValue::of(ramp({5, 6}))};
  ASSERT_TRUE(other->run(inputs).ok());
  EXPECT_FALSE(compare_tensors(other->output(0).tensor, gpu->output(0).tensor, {0, 1e-5}).ok());
}

// Kernels would read the other side's memory.
TEST_F(GpuEngineTest, ValuesOnTheWrongSideAreRefused) {
  for (size_t v = 0; v < build(kNetwork)->values.size(); ++v) {
    Plan plan = build(kNetwork).value();
    PlanValue& value = plan.values[v];
    bool read = false;
    for (const PlanStep& step : plan.steps) {
      for (int input : step.inputs) read |= input == static_cast<int>(v);
      for (int output : step.outputs) read |= output == static_cast<int>(v);
    }
    if (!read) continue;
    value.space = value.space == Space::kHost ? Space::kDevice : Space::kHost;
    Result<std::unique_ptr<Executor>> gpu = make_executor(plan);
    EXPECT_FALSE(gpu.ok()) << "value " << v << " " << value.name;
  }
  Plan plan = build(kNetwork).value();
  EXPECT_FALSE(Executor::create(plan, *tactics_, *pool_).ok());
}

}  // namespace
}  // namespace redline
