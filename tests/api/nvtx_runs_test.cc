// SPDX-License-Identifier: Apache-2.0
// What a profiler that reads NVTX sees of runs and of profiles.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "api/build_graph.h"
#include "base/nvtx_api.h"
#include "ir/text.h"
#include "redline/redline.h"

namespace redline {
namespace {

constexpr std::string_view kNetwork = R"(graph g(%x: f32[4,8]) {
  %axis: i64[] = const [1]
  %p = softmax(%x) {axis=-1} @"first"
  %q = cum_sum(%p, %axis) @"second"
  return %q
}
)";

class NvtxTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { setenv(nvtx::kLibraryVariable, NVTX_RECORDER, 1); }

  Session make_session(const std::string& model) {
    auto ops = make_op_registry();
    auto graph = parse_graph(*ops, kNetwork).value();
    EngineInfo info;
    info.model = model;
    BuildSettings settings;
    settings.device = "cpu";
    settings.tuning_database = "";
    Engine engine = build_graph(std::move(ops), *graph, info, settings).value();
    Session session = engine.create_session().value();
    std::vector<float> values(32, 1);
    Tensor x = Tensor::from<float>(DType::kFloat32, Dims{4, 8}, values);
    EXPECT_TRUE(session.bind("x", HostValue::of(x)).ok());
    return session;
  }
  static std::string events() {
    using Take = const char* (*)();
    static auto take =
        reinterpret_cast<Take>(dlsym(dlopen(NVTX_RECORDER, RTLD_LAZY), "take_events"));
    return take();
  }
};

TEST_F(NvtxTest, ARunHasItsModelsNameAndItsStepsTheirs) {
  Session session = make_session("model.onnx");
  static_cast<void>(events());
  ASSERT_TRUE(session.run().ok());
  EXPECT_EQ(events(), "+model.onnx\n+first\n-\n+second\n-\n-\n");
  ASSERT_TRUE(session.enqueue().ok());
  EXPECT_EQ(events(), "+model.onnx\n+first\n-\n+second\n-\n-\n");
  ASSERT_TRUE(session.wait().ok());
  EXPECT_EQ(events(), "");
}

TEST_F(NvtxTest, AModelWithoutANameHasOurs) {
  Session session = make_session("");
  static_cast<void>(events());
  ASSERT_TRUE(session.run().ok());
  EXPECT_EQ(events().substr(0, 9), "+redline\n");
}

TEST_F(NvtxTest, AProfilesStepsHaveTheirNames) {
  Session session = make_session("m");
  ASSERT_TRUE(session.run().ok());
  static_cast<void>(events());
  ProfileOptions options;
  options.runs = 1;
  ASSERT_TRUE(session.profile(options).ok());
  std::string seen = events();
  // The serial pass runs the steps one by one, in no run.
  EXPECT_NE(seen.find("-\n-\n+first\n-\n+second\n-\n+first\n"), std::string::npos) << seen;
}

}  // namespace
}  // namespace redline
