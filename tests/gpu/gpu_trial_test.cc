// SPDX-License-Identifier: Apache-2.0
// GPU tactics that leave some of their output unwritten, or write behind their memory, are no
// choice of the tuner.
#include <gtest/gtest.h>

#include "emulator.h"
#include "kernels/cuda/sources.h"
#include "tactics/cuda/kernel_launch.h"
#include "tune/tuner.h"

namespace redline {
namespace {

constexpr int kElements = 200;
constexpr size_t kWorkspaceBytes = 64;

// relu(x) by a kernel that does what the "then" of its config says too.
constexpr const char* kText = R"(
extern "C" __global__ void relu(const float* x, float* y, char* workspace, long long, void*) {
  wait_for_former();
  release_next();
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < N) y[i] = x[i] > 0 ? x[i] : 0;
  if (i == 0) THEN;
})";

Result<std::vector<cuda::KernelSource>> kernels(const Problem&, const Config& config,
                                                const cuda::DeviceInfo& device) {
  int64_t count = std::get<int64_t>(config[0].value);
  const auto& then = std::get<std::string>(config[1].value);
  return std::vector<cuda::KernelSource>{
      {"relu",
       str_cat(kernels::cuda::source("arch/pdl.cuh"), "#define N ", count, "\n#define THEN ", then,
               kText),
       device.arch(),
       {}}};
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(KernelLaunch::Step step, KernelLaunch::step(args, 0, "relu", 1, 256));
  return KernelLaunch::create(problem, "relu", {step}, {},
                              KernelLaunch::Parts{1, kWorkspaceBytes, 0, {}});
}

// Best first: three that are wrong, and one that is right.
std::vector<Config> configs(const Problem&) {
  auto config = [](int64_t count, std::string then) {
    return Config{{"count", count}, {"then", std::move(then)}};
  };
  return {config(kElements - 1, "workspace[0] = 0"), config(kElements, "y[N] = 0"),
          config(kElements, "workspace[64] = 0"), config(kElements, "workspace[63] = 0")};
}

TEST(GpuTrial, FindsWhatIsNotWrittenAndWhatShouldNotBe) {
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  Problem problem;
  problem.op = &ops->get("relu");
  problem.attrs = Attrs::load(problem.op->attrs, {}).value();
  problem.inputs.resize(1);
  problem.inputs[0].dims = {kElements};
  problem.outputs = problem.inputs;
  TacticRegistry tactics;
  tactics.add({.name = "cuda.fake",
               .device = "cuda",
               .ops = {"relu"},
               .supports = [](const Problem&) { return Status(); },
               .configs = configs,
               .kernels = kernels,
               .prepare = prepare});
  auto pool = ThreadPool::create(1).value();
  auto context = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler compiler(emulator::compile);
  PrepareArgs args;
  args.pool = pool.get();
  args.context = context;
  args.gpu = &context->info();
  args.compiler = &compiler;
  TuningDatabase database("", {});
  TuneOptions options;
  options.device = "cuda";
  options.level = 1;
  Tuner tuner(tactics, args, database, options);

  tuner.choose(problem, problem);
  const ProblemReport& report = tuner.report().problems.at(0);
  const std::vector<CandidateReport>& tried = report.candidates;
  EXPECT_EQ(report.chosen, 3);
  ASSERT_EQ(tried.size(), 4u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(tried[i].verdict, Verdict::kWrong) << i;
  EXPECT_NE(tried[0].reason.find("at [199]: -nan, expected "), std::string::npos)
      << tried[0].reason;
  EXPECT_NE(tried[0].reason.find("; as it was before the run"), std::string::npos)
      << tried[0].reason;
  EXPECT_EQ(tried[1].reason, "wrote behind output 0");
  EXPECT_EQ(tried[2].reason, "wrote behind its workspace");
  EXPECT_EQ(tried[3].verdict, Verdict::kRight) << tried[3].reason;
}

}  // namespace
}  // namespace redline
