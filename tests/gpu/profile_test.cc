// SPDX-License-Identifier: Apache-2.0
// Profiles of engines for a GPU, on the emulator. Its events are always a millisecond apart; its
// time stamps are real.

#include "prof/profile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "build/build.h"
#include "build/stamp_kernels.h"
#include "emulator.h"
#include "ir/text.h"

namespace redline {
namespace {

// Two products of the same kernel, then one of another.
constexpr std::string_view kNetwork = R"(graph g(%x: f32[n,64]) {
  %v: f32[64,64] = const random 1
  %w: f32[64,64] = const random 2
  %p = matmul(%x, %v)
  %q = softmax(%p) {axis=-1}
  %r = matmul(%q, %w)
  %s = softmax(%r) {axis=-1}
  return %s
}
)";

class ProfileTest : public testing::Test {
 protected:
  Result<Plan> build(bool timestamps, std::string_view network = kNetwork) {
    REDLINE_ASSIGN(auto graph, parse_graph(*ops_, network));
    BuildOptions options;
    options.device = "cuda";
    options.gpu = &context_->info();
    options.compiler = &compiler_;
    options.timestamps = timestamps;
    options.symbol_values = {{"n", 32}};
    return build_plan(*graph, *tactics_, *pool_, options);
  }
  Result<std::unique_ptr<Executor>> make_executor(const Plan& plan) {
    REDLINE_ASSIGN(DeviceImagePtr image, DeviceImage::create(plan, context_));
    return Executor::create(plan, *tactics_, *pool_, std::move(image));
  }
  static std::vector<HostValue> inputs() {
    std::vector<float> values(size_t{32} * 64);
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7 % 11) / 5 - 1;
    return {HostValue::of(Tensor::from<float>(DType::kFloat32, Dims{32, 64}, values))};
  }
  static double sum_of_parts(const RunTimes& times) {
    using Part = RunTimes::Part;
    double sum = 0;
    for (Part part : {Part::kPrepare, Part::kStage, Part::kLaunch, Part::kWait, Part::kHostStep}) {
      sum += times.us_in(part);
    }
    return sum;
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler compiler_{emulator::compile};
};

TEST_F(ProfileTest, StepsByThemselvesAndPartsOfARun) {
  Plan plan = build(false).value();
  auto executor = make_executor(plan).value();
  std::vector<HostValue> x = inputs();
  Result<Profile> profile = make_profile(*executor, plan, *pool_, context_, x, 3);
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  ASSERT_EQ(profile->steps.size(), 6u);  // with a copy at each end
  for (const StepProfile& step : profile->steps) {
    EXPECT_TRUE(step.on_gpu);
    EXPECT_EQ(step.us.least, 1000);
    EXPECT_EQ(step.us.median, 1000);
    EXPECT_FALSE(step.chain.has_value());
  }
  const StepProfile& product = profile->steps[1];
  EXPECT_EQ(product.work.bytes, 4.0 * (32 * 64 + 64 * 64 + 32 * 64));
  EXPECT_EQ(product.work.matrix_flops, 2.0 * 32 * 64 * 64);
  EXPECT_GT(product.floor.us, 0);
  EXPECT_EQ(profile->steps[0].floor.us, 0);  // a copy from the host
  EXPECT_EQ(profile->parts.us_in(RunTimes::Part::kCopyIn), 1000);
  EXPECT_EQ(profile->parts.us_in(RunTimes::Part::kKernels), 1000);
  EXPECT_EQ(profile->parts.us_in(RunTimes::Part::kCopyOut), 1000);
  EXPECT_NEAR(sum_of_parts(profile->parts), profile->parts.total_us,
              0.1 * profile->parts.total_us + 50);
  EXPECT_EQ(profile->chain_us, 0);
}

TEST_F(ProfileTest, StampsChangeNoResult) {
  Plan plain = build(false).value();
  Plan stamped = build(true).value();
  auto one = make_executor(plain).value();
  auto other = make_executor(stamped).value();
  std::vector<HostValue> x = inputs();
  ASSERT_TRUE(one->run(x).ok());
  ASSERT_TRUE(other->run(x).ok());
  const Tensor& want = one->output(0).tensor;
  const Tensor& got = other->output(0).tensor;
  ASSERT_EQ(want.bytes(), got.bytes());
  EXPECT_EQ(std::memcmp(want.raw(), got.raw(), want.bytes()), 0);
  for (size_t s = 0; s < plain.steps.size(); ++s) {
    EXPECT_EQ(plain.steps[s].tactic, stamped.steps[s].tactic);
    EXPECT_EQ(config_to_string(plain.steps[s].config), config_to_string(stamped.steps[s].config));
  }
}

TEST_F(ProfileTest, TheChainAddsUp) {
  Plan plan = build(true).value();
  auto executor = make_executor(plan).value();
  std::vector<HostValue> x = inputs();
  Result<Profile> profile = make_profile(*executor, plan, *pool_, context_, x, 3);
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  double sum = 0;
  double begin = -1;
  size_t stamped = 0;
  for (const StepProfile& step : profile->steps) {
    // Copies are kernels too, for they are small.
    ASSERT_TRUE(step.chain.has_value()) << plan.steps[step.index].tactic;
    ++stamped;
    EXPECT_GT(step.chain->us, 0);
    EXPECT_GT(step.chain->blocks, 0u);
    EXPECT_GT(step.chain->begin_us, begin);
    begin = step.chain->begin_us;
    sum += step.chain->us + step.chain->gap_us;
    const ChainTimes& times = *step.chain;
    EXPECT_GE(times.hand_off_us, 0);
    if (plan.steps[step.index].op->name != "matmul") continue;
    EXPECT_GE(times.load_us, 0);
    EXPECT_GT(times.multiply_us, 0);
    EXPECT_GT(times.store_us, 0);
    EXPECT_LE(times.load_us + times.multiply_us + times.store_us, times.us * (1 + 1e-9));
  }
  EXPECT_EQ(stamped, 6u);
  EXPECT_LT(profile->kernel_gaps_us, profile->gaps_us);
  EXPECT_GT(profile->chain_us, 0);
  EXPECT_NEAR(sum, profile->chain_us, 1e-6 * profile->chain_us);
}

TEST_F(ProfileTest, AttentionAndRecurrencesHaveParts) {
  constexpr std::string_view kBoth = R"(graph g(%x: f32[n,64]) {
  %four: i64[4] = const [1, 1, -1, 64]
  %three: i64[3] = const [-1, 1, 64]
  %w: f32[1,64,64] = const random 2
  %r: f32[1,64,64] = const random 3
  %heads = reshape(%x, %four)
  %y = attention(%heads, %heads, %heads)
  %steps = reshape(%y, %three)
  %l, %h = rnn(%steps, %w, %r)
  return %h
}
)";
  Plan plan = build(true, kBoth).value();
  auto executor = make_executor(plan).value();
  std::vector<HostValue> x = inputs();
  Result<Profile> profile = make_profile(*executor, plan, *pool_, context_, x, 3);
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  int found = 0;
  for (const StepProfile& step : profile->steps) {
    std::string_view op = plan.steps[step.index].op->name;
    if (op != "attention" && op != "rnn") continue;
    ++found;
    ASSERT_TRUE(step.chain.has_value());
    EXPECT_GE(step.chain->load_us, 0) << op;
    EXPECT_GT(step.chain->multiply_us, 0) << op;
    EXPECT_GE(step.chain->store_us, 0) << op;
  }
  EXPECT_EQ(found, 2);
}

// Such steps are in no graph: they are timed one by one, and stamp like others.
TEST_F(ProfileTest, StepsWhoseSizesTheRunTells) {
  constexpr std::string_view kFound = R"(graph g(%x: f32[n,64]) {
  %a = relu(%x)
  %i = nonzero(%a)
  return %i
}
)";
  Plan plan = build(true, kFound).value();
  auto executor = make_executor(plan).value();
  std::vector<HostValue> x = inputs();
  Result<Profile> profile = make_profile(*executor, plan, *pool_, context_, x, 2);
  ASSERT_TRUE(profile.ok()) << profile.status().message();
  size_t found = 0;
  for (const StepProfile& step : profile->steps) {
    if (plan.steps[step.index].op->name != "nonzero") continue;
    ++found;
    EXPECT_TRUE(step.on_gpu);
    EXPECT_GT(step.us.median, 0);
    auto results = static_cast<double>(executor->output(0).tensor.bytes());
    EXPECT_GT(results, 0);
    EXPECT_EQ(step.work.bytes, 4.0 * 32 * 64 + results);
    EXPECT_TRUE(step.chain.has_value());
  }
  EXPECT_EQ(found, 1u);
  EXPECT_GT(profile->parts.us_in(RunTimes::Part::kHostStep), 0);
}

TEST_F(ProfileTest, AFailureOfTheDriverIsReported) {
  Plan plan = build(true).value();
  auto executor = make_executor(plan).value();
  std::vector<HostValue> x = inputs();
  emulator::fail_call(0);
  ASSERT_TRUE(make_profile(*executor, plan, *pool_, context_, x, 1).ok());
  int calls = emulator::fail_call(0);
  ASSERT_GT(calls, 20);
  for (int at = 1; at <= calls; at += 31) {
    auto fresh = make_executor(plan).value();
    emulator::fail_call(at);
    Result<Profile> profile = make_profile(*fresh, plan, *pool_, context_, x, 1);
    emulator::fail_call(0);
    EXPECT_FALSE(profile.ok()) << "call " << at;
    Result<Profile> again = make_profile(*fresh, plan, *pool_, context_, x, 1);
    EXPECT_TRUE(again.ok()) << "call " << at << ": " << again.status().message();
  }
}

TEST(TimestampsTest, StampsAreSummedOverRows) {
  std::vector<cuda::StampCell> cells(cuda::kStampSlots * cuda::kStampMarks);
  cells[cuda::kStampStart] = {2, 300, 200, ~uint64_t{100}};
  cells[3 * cuda::kStampMarks + cuda::kStampStart] = {1, 60, 60, ~uint64_t{60}};
  auto stamps = cuda::sum_up_stamps(cells);
  EXPECT_EQ(stamps[cuda::kStampStart].count, 3u);
  EXPECT_EQ(stamps[cuda::kStampStart].least, 60u);
  EXPECT_EQ(stamps[cuda::kStampStart].most, 200u);
  EXPECT_EQ(stamps[cuda::kStampStart].mean, 120);
  EXPECT_EQ(stamps[cuda::kStampEnd].count, 0u);
}

TEST(KernelStamperTest, NotesWhatSeveralThreadsCompile) {
  cuda::KernelCompiler compiler(
      [](const cuda::KernelSource& source) -> Result<cuda::CompiledKernel> {
        cuda::CompiledKernel kernel;
        kernel.cubin.assign(64, std::byte{source.text.find("redline_scope") != std::string::npos});
        return kernel;
      });
  KernelStamper stamper(compiler);
  auto pool = ThreadPool::create(8).value();
  std::vector<cuda::KernelSource> sources;
  for (int i = 0; i < 2000; ++i) {
    std::string entry = str_cat("k", i);
    sources.push_back(
        {entry, str_cat("extern \"C\" __global__ void ", entry, "() {\n}\n"), "sm_90a", {}});
  }
  ASSERT_TRUE(cuda::KernelCompiler::Ahead(stamper.compiler(), sources, 7).help({}).ok());
  Plan plan;
  PlanStep& step = plan.steps.emplace_back();
  for (const cuda::KernelSource& source : sources) {
    auto compiled = stamper.compiler().get(source).value();
    auto kernel = std::make_shared<PlanKernel>();
    kernel->entry = source.entry;
    kernel->cubin = Tensor::wrap(DType::kUInt8, Dims{64}, compiled->cubin.data(), compiled);
    step.kernels.push_back(std::move(kernel));
  }
  Status stamped = stamper.stamp(plan, *pool, {}, {});
  ASSERT_TRUE(stamped.ok()) << stamped.message();
  for (const auto& kernel : step.kernels) {
    EXPECT_EQ(kernel->cubin.data<uint8_t>()[0], 1) << kernel->entry;
  }
}

TEST(TimestampsTest, FindsTheKernelAmongFunctions) {
  cuda::KernelSource source;
  source.entry = "k";
  source.text =
      "__device__ int k(int x) { return x; }\n"
      "extern \"C\" __global__ void __launch_bounds__(32, (1)) k(int (*f)(int)) {\n  return;\n}\n";
  std::string text = cuda::with_timestamps(source).value().text;
  EXPECT_NE(text.find("k(int (*f)(int)) {\n  redline_scope"), std::string::npos);
  source.entry = "other";
  EXPECT_EQ(cuda::with_timestamps(source).status().code(), StatusCode::kInternal);
}

}  // namespace
}  // namespace redline
