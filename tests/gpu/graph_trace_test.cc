// SPDX-License-Identifier: Apache-2.0
// The times of steps in their graph, from a CUPTI that the tests bring: its records, what tells
// which step they are of, and what stands in the way.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "build/build.h"
#include "device/cupti.h"
#include "emulator.h"
#include "fake_cupti.h"
#include "ir/text.h"
#include "prof/profile.h"

namespace redline {
namespace {

using cuda::Activity;
using emulator::FakeCupti;

// Two products of the same kernel, with another between and behind them.
constexpr std::string_view kNetwork = R"(graph g(%x: f32[32,64]) {
  %v: f32[64,64] = const random 1
  %w: f32[64,64] = const random 2
  %p = matmul(%x, %v)
  %q = softmax(%p) {axis=-1}
  %r = matmul(%q, %w)
  %s = softmax(%r) {axis=-1}
  return %s
}
)";
// Two products of the same kernel that may run side by side.
constexpr std::string_view kBranches = R"(graph g(%x: f32[32,64]) {
  %v: f32[64,64] = const random 1
  %w: f32[64,64] = const random 2
  %p = matmul(%x, %v)
  %q = matmul(%x, %w)
  return %p, %q
}
)";
constexpr int kNs = 1000;

class GraphTraceTest : public testing::Test {
 protected:
  void SetUp() override {
    setenv("REDLINE_CUPTI", FAKE_CUPTI, 1);
    void* library = dlopen(FAKE_CUPTI, RTLD_NOW);
    ASSERT_NE(library, nullptr) << dlerror();
    fake_ = reinterpret_cast<emulator::FakeCuptiState>(dlsym(library, emulator::kFakeCuptiState))();
    *fake_ = FakeCupti();
    auto clone =
        reinterpret_cast<emulator::FakeCuptiClone>(dlsym(library, emulator::kFakeCuptiClone));
    // Each kernel takes as many microseconds as there were before it, and the next begins 2 later.
    auto ran = [this](cuda::GraphNodeHandle node, const emulator::GraphWork& work) {
      now_ns_ += 2 * kNs;
      ++ran_;
      FakeCupti::Record record;
      record.begin_ns = now_ns_;
      record.end_ns = now_ns_ += static_cast<uint64_t>(ran_) * kNs;
      record.node = reinterpret_cast<uintptr_t>(node);
      record.name = work.kernel;
      if (work.kernel.empty())
        record.kind = work.copy ? cuda::cupti::kMemcpy : cuda::cupti::kMemset;
      if (change_) change_(record);
      fake_->records.push_back(record);
    };
    emulator::watch_graphs({clone, ran});
    plan_ = build();
  }
  void TearDown() override {
    emulator::watch_graphs({});
    emulator::set_graph_order(emulator::GraphOrder::kFirstFirst);
    EXPECT_EQ(fake_->subscribers, 0);
    for (const auto& [kind, enabled] : fake_->enabled) EXPECT_FALSE(enabled) << kind;
  }
  Plan build(std::string_view network = kNetwork) {
    auto graph = parse_graph(*ops_, network).value();
    BuildOptions options;
    options.device = "cuda";
    options.gpu = &context_->info();
    options.compiler = &compiler_;
    options.side_streams = true;
    options.disabled_passes = {"merge_siblings"};
    return build_plan(*graph, *tactics_, *pool_, options).value();
  }
  Profile profile() {
    DeviceImagePtr image = DeviceImage::create(plan_, context_).value();
    auto executor = Executor::create(plan_, *tactics_, *pool_, std::move(image)).value();
    std::vector<float> values(size_t{32} * 64, 0.5F);
    std::vector<HostValue> x = {
        HostValue::of(Tensor::from<float>(DType::kFloat32, Dims{32, 64}, values))};
    auto open = [this] {
      // What ran before is none of the trace's business.
      fake_->records.clear();
      return cuda::open_cupti();
    };
    Result<Profile> profile = make_profile(*executor, plan_, *pool_, context_, x, 1, {}, open);
    EXPECT_TRUE(profile.ok()) << profile.status().message();
    return profile.ok() ? *std::move(profile) : Profile();
  }
  std::string left_out() {
    Profile result = profile();
    EXPECT_FALSE(result.graph.has_value());
    EXPECT_EQ(result.steps.size(), 6u);  // the rest is there
    for (const StepProfile& step : result.steps) EXPECT_FALSE(step.graph.has_value());
    return result.graph_left_out;
  }

  FakeCupti* fake_ = nullptr;
  uint64_t now_ns_ = uint64_t{1000000} * kNs;
  int ran_ = 0;
  std::function<void(FakeCupti::Record&)> change_;
  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<TacticRegistry> tactics_ = make_tactic_registry();
  std::unique_ptr<ThreadPool> pool_ = ThreadPool::create(2).value();
  cuda::ContextPtr context_ = cuda::Context::create(emulator::driver(), 0).value();
  cuda::KernelCompiler compiler_{emulator::compile};
  Plan plan_;
};

// Six nodes: a copy in, four kernels, a copy out.
void expect_the_chain(const Profile& profile) {
  ASSERT_TRUE(profile.graph.has_value()) << profile.graph_left_out;
  EXPECT_EQ(profile.graph->traced_by, "CUPTI 13.0");
  EXPECT_EQ(profile.graph->graphs, 1u);
  ASSERT_EQ(profile.steps.size(), 6u);
  double before = 0;
  double sum = 0;
  for (size_t i = 0; i < 6; ++i) {
    ASSERT_TRUE(profile.steps[i].graph.has_value()) << i;
    const GraphTimes& times = *profile.steps[i].graph;
    EXPECT_EQ(times.us, i == 0 ? times.us : before + 1) << i;
    EXPECT_EQ(times.gap_us, i == 0 ? 0 : 2) << i;
    EXPECT_EQ(times.begin_us, sum + times.gap_us);
    before = times.us;
    sum += times.us + times.gap_us;
  }
  EXPECT_EQ(profile.graph->us, sum);
  EXPECT_EQ(profile.graph->gaps_us, 10);
}

TEST_F(GraphTraceTest, StepsByTheirNodes) {
  Profile result = profile();
  expect_the_chain(result);
  EXPECT_EQ(result.graph_left_out, "");
}

// By the nodes even where time says otherwise: as two branches, of which the later one is faster.
TEST_F(GraphTraceTest, NodesTellStepsOfOtherOrders) {
  change_ = [this](FakeCupti::Record& record) {
    size_t place = static_cast<size_t>(ran_ - 1) % 6;
    if (place != 2 && place != 3) return;
    uint64_t base = record.begin_ns - (place == 3 ? 500 : 0) * kNs;
    record.begin_ns = base;
    record.end_ns = base + kNs;
  };
  Profile result = profile();
  ASSERT_TRUE(result.graph.has_value()) << result.graph_left_out;
  EXPECT_LT(result.steps[3].graph->begin_us, result.steps[2].graph->begin_us);
  EXPECT_EQ(result.steps[3].graph->us, 1);
}

// Each kernel takes longer than those that ran before it, so times tell who came first; names do
// not tell who it was.
TEST_F(GraphTraceTest, BranchesByTheirNodes) {
  plan_ = build(kBranches);
  for (bool first : {true, false}) {
    emulator::set_graph_order(first ? emulator::GraphOrder::kFirstFirst
                                    : emulator::GraphOrder::kLastFirst);
    Profile result = profile();
    ASSERT_TRUE(result.graph.has_value()) << result.graph_left_out;
    std::vector<GraphTimes> products;
    for (const StepProfile& step : result.steps) {
      const PlanStep& planned = plan_.steps[step.index];
      if (planned.op->name != "matmul") continue;
      ASSERT_TRUE(step.graph.has_value());
      EXPECT_EQ(planned.stream, static_cast<int>(products.size()));
      products.push_back(*step.graph);
    }
    ASSERT_EQ(products.size(), 2u);
    EXPECT_EQ(products[0].us < products[1].us, first);
    EXPECT_EQ(products[0].begin_us < products[1].begin_us, first);
  }
  fake_->has_graph_nodes = false;
  Profile result = profile();
  EXPECT_FALSE(result.graph.has_value());
  EXPECT_NE(result.graph_left_out.find("whose steps run side by side"), std::string::npos);
}

TEST_F(GraphTraceTest, AChainByItsOrderWhereNodesAreNotTold) {
  fake_->has_graph_nodes = false;
  expect_the_chain(profile());
}

TEST_F(GraphTraceTest, AChainByItsOrderWhereClonesAreNotTold) {
  fake_->tells_clones = false;
  expect_the_chain(profile());
}

TEST_F(GraphTraceTest, OverlapIsNoGap) {
  change_ = [this](FakeCupti::Record& record) {
    if (ran_ % 6 == 3) record.begin_ns -= 5 * kNs;
  };
  Profile result = profile();
  ASSERT_TRUE(result.graph.has_value()) << result.graph_left_out;
  EXPECT_EQ(result.steps[2].graph->gap_us, 0);
  EXPECT_EQ(result.steps[2].graph->early_us, 3);
  EXPECT_EQ(result.graph->gaps_us, 8);
}

TEST_F(GraphTraceTest, OtherWorkOfTheProcessIsNotOurs) {
  change_ = [this](FakeCupti::Record& record) {
    FakeCupti::Record other = record;
    other.graph = 0;
    other.node = 0;
    other.name = "of_others";
    fake_->records.push_back(other);
  };
  expect_the_chain(profile());
}

TEST_F(GraphTraceTest, NoLibrary) {
  setenv("REDLINE_CUPTI", "/nowhere/libcupti.so", 1);
  std::string reason = left_out();
  EXPECT_NE(reason.find("pip install nvidia-cuda-cupti"), std::string::npos) << reason;
  EXPECT_NE(reason.find("/nowhere/libcupti.so"), std::string::npos) << reason;
}

TEST_F(GraphTraceTest, AnotherLibrary) {
  setenv("REDLINE_CUPTI", "libm.so.6", 1);
  std::string reason = left_out();
  EXPECT_NE(reason.find("libm.so.6 is no CUPTI that Redline can use: it has no cuptiGetVersion"),
            std::string::npos)
      << reason;
}

TEST_F(GraphTraceTest, RecordsThatWeDoNotKnow) {
  for (uint32_t version : {18u, 29u, 139900u, 140000u}) {
    fake_->version = version;
    std::string reason = left_out();
    EXPECT_NE(reason.find(str_cat("version ", version, " are not known")), std::string::npos)
        << reason;
  }
}

TEST_F(GraphTraceTest, NoVersion) {
  fake_->fails["cuptiGetVersion"] = cuda::cupti::kNotInitialized;
  EXPECT_NE(left_out().find("does not tell its version (15)"), std::string::npos);
}

TEST_F(GraphTraceTest, NoLeave) {
  fake_->fails["cuptiActivityEnable"] = cuda::cupti::kInsufficientPrivileges;
  std::string reason = left_out();
  EXPECT_NE(reason.find("CUPTI 13.0: cuptiActivityEnable"), std::string::npos) << reason;
  EXPECT_NE(reason.find("administrators alone"), std::string::npos) << reason;
}

TEST_F(GraphTraceTest, AnotherProfiler) {
  fake_->fails["cuptiSubscribe"] = cuda::cupti::kMultipleSubscribers;
  std::string reason = left_out();
  EXPECT_NE(reason.find("another profiler is attached"), std::string::npos) << reason;
}

TEST_F(GraphTraceTest, EachCallMayFail) {
  for (const char* call : {"cuptiSubscribe", "cuptiActivityRegisterCallbacks",
                           "cuptiActivityEnable", "cuptiActivityFlushAll"}) {
    fake_->fails = {{call, 999}};
    std::string reason = left_out();
    EXPECT_NE(reason.find(call), std::string::npos) << reason;
    EXPECT_EQ(fake_->subscribers, 0) << call;
  }
  for (const char* call : {"cuptiEnableCallback", "cuptiGetGraphNodeId"}) {
    fake_->fails = {{call, 999}};
    Profile result = profile();
    EXPECT_TRUE(result.graph.has_value()) << call << ": " << result.graph_left_out;
  }
  fake_->fails = {{"cuptiActivityGetNextRecord", 1}};
  EXPECT_NE(left_out().find("lost"), std::string::npos);
}

TEST_F(GraphTraceTest, RecordsThatAreMissing) {
  change_ = [this](FakeCupti::Record& record) {
    if (ran_ % 6 == 3) record.graph = 0, record.node = 0;
  };
  EXPECT_EQ(left_out(), "a graph has 6 kernels and copies, but the trace 5");
  change_ = [this](FakeCupti::Record&) { fake_->drops = 2; };
  EXPECT_NE(left_out().find("lost"), std::string::npos);
}

TEST_F(GraphTraceTest, RecordsOfNoTime) {
  change_ = [](FakeCupti::Record& record) { record.begin_ns = record.end_ns = 0; };
  EXPECT_NE(left_out().find("has no time for"), std::string::npos);
  change_ = [](FakeCupti::Record& record) { record.end_ns = record.begin_ns - 1; };
  EXPECT_NE(left_out().find("has no time for"), std::string::npos);
}

TEST_F(GraphTraceTest, KernelsOfOtherNames) {
  change_ = [this](FakeCupti::Record& record) {
    if (ran_ % 6 == 3) record.name = "of_others";
  };
  std::string reason = left_out();
  EXPECT_NE(reason.find("the trace has of_others where a graph has "), std::string::npos) << reason;
}

// Without nodes' ids, kernels in another order are seen by their names.
TEST_F(GraphTraceTest, AnotherOrderWithoutNodes) {
  fake_->has_graph_nodes = false;
  change_ = [this](FakeCupti::Record& record) {
    if (ran_ % 6 == 3) record.begin_ns -= 500 * kNs;
  };
  EXPECT_NE(left_out().find("the trace has "), std::string::npos);
}

TEST_F(GraphTraceTest, OneTraceAtATime) {
  auto one = cuda::open_cupti().value();
  auto other = cuda::open_cupti().value();
  ASSERT_TRUE(one->start().ok());
  EXPECT_EQ(other->start().message(), "the process traces its GPU already");
  one->stop();
  EXPECT_TRUE(other->start().ok());
  EXPECT_EQ(fake_->subscribers, 1);
  other.reset();
  EXPECT_EQ(fake_->subscribers, 0);
}

TEST(MatchNodesTest, BranchesNeedTheirNodes) {
  TracedGraph graph;
  graph.chain = false;
  graph.nodes = {{0, Activity::Kind::kKernel, "k", 5}, {1, Activity::Kind::kKernel, "k", 6}};
  std::vector<Activity> activities = {{Activity::Kind::kKernel, 1, 2, 6, "k"},
                                      {Activity::Kind::kKernel, 3, 4, 5, "k"}};
  EXPECT_EQ(match_nodes(graph, activities).value(), (std::vector<size_t>{1, 0}));
  activities[1].node = 6;  // twice the same
  EXPECT_EQ(match_nodes(graph, activities).status().code(), StatusCode::kIncompatible);
  graph.chain = true;
  EXPECT_EQ(match_nodes(graph, activities).value(), (std::vector<size_t>{0, 1}));
}

TEST(MatchNodesTest, NodesOfAStepMayBeInAnyOrderAndThoseOfTwoStepsNot) {
  TracedGraph graph;
  graph.nodes = {{0, Activity::Kind::kKernel, "a", 0},
                 {1, Activity::Kind::kKernel, "c", 0},
                 {1, Activity::Kind::kFill, "", 0},
                 {2, Activity::Kind::kCopy, "", 0}};
  std::vector<Activity> activities = {{Activity::Kind::kKernel, 1, 2, 0, "a"},
                                      {Activity::Kind::kFill, 3, 4, 0, ""},
                                      {Activity::Kind::kKernel, 5, 6, 0, "c"},
                                      {Activity::Kind::kCopy, 7, 8, 0, ""}};
  EXPECT_EQ(match_nodes(graph, activities).value(), (std::vector<size_t>{0, 2, 1, 3}));
  std::swap(activities[0], activities[1]);
  EXPECT_EQ(match_nodes(graph, activities).status().message(),
            "the trace has a fill where a graph has a");
}

}  // namespace
}  // namespace redline
