// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

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

TEST(Engine, LoadsWithoutPackedWeights) {
  Result<Engine> engine = load(engine_built_with(""));
  EXPECT_TRUE(engine.ok()) << engine.status().to_string();
}

}  // namespace
}  // namespace redline
