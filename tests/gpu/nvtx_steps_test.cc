// SPDX-License-Identifier: Apache-2.0
// Ranges of NVTX around the steps of an engine for a GPU, on the emulator: around what is launched
// step by step in every run, and while a graph is captured around what becomes its nodes.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "base/nvtx.h"
#include "build/build.h"
#include "emulator.h"
#include "ir/text.h"
#include "runtime/step_timer.h"

namespace redline {
namespace {

constexpr std::string_view kNetwork = R"(graph g(%x: f32[4,8]) {
  %a = softmax(%x) {axis=-1} @"in the graph"
  %i = nonzero(%a) @"on the way"
  return %i
}
)";

std::string events() {
  using Take = const char* (*)();
  static auto take = reinterpret_cast<Take>(dlsym(dlopen(NVTX_RECORDER, RTLD_LAZY), "take_events"));
  return take();
}

size_t count_of(const std::string& text, const std::string& what) {
  size_t count = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++count;
  return count;
}

TEST(NvtxStepsTest, StepsOutsideGraphsInEachRunAndOthersWhenCaptured) {
  setenv(nvtx::kLibraryVariable, NVTX_RECORDER, 1);
  auto ops = make_op_registry();
  auto tactics = make_tactic_registry();
  auto pool = ThreadPool::create(2).value();
  cuda::ContextPtr context = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler compiler{emulator::compile};
  auto graph = parse_graph(*ops, kNetwork).value();
  BuildOptions options;
  options.device = "cuda";
  options.gpu = &context->info();
  options.compiler = &compiler;
  Plan plan = build_plan(*graph, *tactics, *pool, options).value();
  DeviceImagePtr image = DeviceImage::create(plan, context).value();
  auto executor = Executor::create(plan, *tactics, *pool, image).value();
  const std::string name = "a run";
  executor->name_runs(name);
  std::vector<float> values(32, 1);
  std::vector<HostValue> x = {
      HostValue::of(Tensor::from<float>(DType::kFloat32, Dims{4, 8}, values))};
  static_cast<void>(events());
  ASSERT_TRUE(executor->run(x).ok());
  std::string first = events();
  EXPECT_EQ(count_of(first, "+in the graph\n"), 1u) << first;
  EXPECT_EQ(count_of(first, "+on the way\n"), 1u) << first;
  ASSERT_TRUE(executor->run(x).ok());
  std::string second = events();
  EXPECT_EQ(second.substr(0, 7), "+a run\n");
  EXPECT_EQ(count_of(second, "+in the graph\n"), 0u) << second;
  EXPECT_EQ(count_of(second, "+on the way\n"), 1u) << second;
  EXPECT_EQ(count_of(second, "+"), count_of(second, "-\n")) << second;
}

}  // namespace
}  // namespace redline
