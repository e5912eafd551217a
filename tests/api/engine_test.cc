// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "build/lower.h"
#include "ir/text.h"
#include "plan/engine_file.h"
#include "redline/redline.h"

namespace redline {
namespace {

std::vector<std::byte> engine_built_with(const std::string& libraries) {
  std::unique_ptr<OpRegistry> ops = make_op_registry();
  Result<std::unique_ptr<Graph>> graph =
      parse_graph(*ops, "graph g(%x: f32[2]) {\n  %y = relu(%x)\n  return %y\n}\n");
  Result<Plan> plan = lower_graph(**graph);
  EngineInfo info;
  info.libraries = libraries;
  return serialize_engine(info, *plan).value();
}

TEST(Engine, IsRefusedWhenItsWeightsWerePackedByAnotherLibrary) {
  Result<Engine> engine = load(engine_built_with("onednn 0.0.1 abacus"));
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.status().code(), StatusCode::kIncompatible);
  EXPECT_NE(engine.status().message().find("onednn 0.0.1 abacus"), std::string::npos);
}

// Sessions of one engine share its pool, its plan and its weights.
TEST(Engine, SessionsOnSeveralThreads) {
  Result<Engine> engine = load(engine_built_with(""));
  ASSERT_TRUE(engine.ok()) << engine.status().to_string();
  std::atomic<int> wrong = 0;
  auto use = [&](float value) {
    Result<Session> session = engine->create_session();
    const float values[] = {value, -value};
    Tensor x = Tensor::from<float>(DType::kFloat32, {2}, values);
    for (int i = 0; i < 50; ++i) {
      bool good = session->bind("x", HostValue::of(x)).ok() && session->run().ok();
      const float* y = good ? (*session->output(0))->tensor.data<float>() : nullptr;
      if (y == nullptr || y[0] != value || y[1] != 0) ++wrong;
    }
  };
  std::vector<std::thread> threads;
  for (float value : {1.0f, 2.0f, 3.0f, 4.0f}) threads.emplace_back(use, value);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Engine, LoadsWithoutPackedWeights) {
  Result<Engine> engine = load(engine_built_with(""));
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
}

}  // namespace
}  // namespace redline
