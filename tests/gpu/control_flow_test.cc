// SPDX-License-Identifier: Apache-2.0
// If, loop and scan in engines for a GPU, on the emulator: what the host must not see it cannot.

#include "both_engines.h"
#include "plan/control_step.h"

namespace redline {
namespace {

struct Copies {
  size_t up = 0, down = 0;  // bytes by the copy engines
};
Copies g_copies;

const cuda::DriverApi& counting_driver() {
  static const cuda::DriverApi counting = [] {
    cuda::DriverApi api = emulator::driver();
    api.cuMemcpyHtoDAsync_v2 = [](cuda::DevicePtr to, const void* from, size_t bytes,
                                  cuda::StreamHandle stream) {
      g_copies.up += bytes;
      return emulator::driver().cuMemcpyHtoDAsync_v2(to, from, bytes, stream);
    };
    api.cuMemcpyDtoHAsync_v2 = [](void* to, cuda::DevicePtr from, size_t bytes,
                                  cuda::StreamHandle stream) {
      g_copies.down += bytes;
      return emulator::driver().cuMemcpyDtoHAsync_v2(to, from, bytes, stream);
    };
    return api;
  }();
  return counting;
}

class ControlFlowTest : public BothEngines {
 protected:
  static Tensor truth(bool value) {
    uint8_t byte = value;
    return Tensor::from<uint8_t>(DType::kBool, {}, {&byte, 1});
  }
  const PlanStep& control_step(std::string_view op) const {
    auto step = std::find_if(gpu_plan_.steps.begin(), gpu_plan_.steps.end(),
                             [&](const PlanStep& s) { return s.op->name == op; });
    EXPECT_TRUE(is_control_step(gpu_plan_, *step));
    return *step;
  }
  Space space_of(int value) const { return gpu_plan_.values[static_cast<size_t>(value)].space; }
};

TEST_F(ControlFlowTest, SubgraphsRunOnTheGpu) {
  load(R"(graph g(%p: bool[], %n: i64[], %x: f32[2,3]) {
    %w: f32[3,3] = const random 1
    %a = matmul(%x, %w)
    %y = if(%p) then() {
      %b = exp(%a)
      return %b
    } else() {
      %c = neg(%x)
      return %c
    }
    %true: bool[] = const [1]
    %z, %all = loop(%n, %true, %y) body(%i: i64[], %q: bool[], %s: f32[2,3]) {
      %t = matmul(%s, %w)
      %u = tanh(%t)
      return %q, %u, %t
    }
    return %z, %all
  }
  )");
  for (const PlanStep& step : gpu_plan_.steps) {
    for (const auto& subplan : step.subplans) {
      EXPECT_TRUE(
          std::any_of(subplan->steps.begin(), subplan->steps.end(),
                      [](const PlanStep& inner) { return inner.tactic.starts_with("cuda."); }));
    }
  }
  uint8_t yes = 1, no = 0;
  for (int64_t trips : {3, 0, 1, 3}) {
    for (uint8_t* p : {&yes, &no}) {
      expect_same({Tensor::from<uint8_t>(DType::kBool, {}, {p, 1}), Tensor::scalar_int64(trips),
                   floats({2, 3}, 5)});
    }
  }
}

// Larger than what a kernel copies: the copy engines would be seen.
TEST_F(ControlFlowTest, StatesAndCapturesStayOnTheGpu) {
  context_ = cuda::Context::create(counting_driver(), 0).value();
  load(R"(graph g(%n: i64[], %x: f32[20000], %p: bool[]) {
    %bias = exp(%x)
    %s0 = neg(%x)
    %true: bool[] = const [1]
    %z = loop(%n, %true, %s0) body(%i: i64[], %q: bool[], %s: f32[20000]) {
      %t = add(%s, %bias)
      %u = tanh(%t)
      return %q, %u
    }
    %y = if(%p) then() {
      %b = add(%z, %bias)
      return %b
    } else() {
      %c = mul(%z, %bias)
      return %c
    }
    %o = neg(%y)
    return %o
  }
  )");
  const PlanStep& loop = control_step("loop");
  EXPECT_EQ(space_of(loop.inputs[kFirstState]), Space::kDevice);
  EXPECT_EQ(space_of(loop.captures[0][0]), Space::kDevice);
  EXPECT_EQ(space_of(loop.outputs[0]), Space::kDevice);
  const PlanStep& choice = control_step("if");
  for (const std::vector<int>& captures : choice.captures) {
    for (int value : captures) EXPECT_EQ(space_of(value), Space::kDevice);
  }
  EXPECT_EQ(space_of(choice.outputs[0]), Space::kDevice);
  std::vector<size_t> up, down;
  for (int64_t trips : {3, 1, 7, 0, 7}) {
    for (bool p : {true, false}) {
      g_copies = {};
      expect_same({Tensor::scalar_int64(trips), floats({20000}, 5), truth(p)});
      up.push_back(g_copies.up);
      down.push_back(g_copies.down);
    }
  }
  // x goes in and o comes out, however often the loop turns.
  for (size_t i = 0; i < up.size(); ++i) {
    EXPECT_LT(up[i], 20000 * 4 + 256u) << i;
    EXPECT_LT(down[i], 20000 * 4 + 256u) << i;
  }
}

TEST_F(ControlFlowTest, StatesThatStayTheSameAreNotCopied) {
  context_ = cuda::Context::create(counting_driver(), 0).value();
  load(R"(graph g(%n: i64[], %x: f32[20000]) {
    %bias = exp(%x)
    %s0 = neg(%x)
    %true: bool[] = const [1]
    %same, %z = loop(%n, %true, %bias, %s0) body(%i: i64[], %q: bool[], %b: f32[20000], %s: f32[20000]) {
      %t = add(%s, %b)
      return %q, %b, %t
    }
    %o = add(%same, %z)
    return %o
  }
  )");
  EXPECT_EQ(control_step("loop").inputs.size(), kFirstState + 1);
  for (int64_t trips : {3, 1, 0, 7}) {
    g_copies = {};
    expect_same({Tensor::scalar_int64(trips), floats({20000}, 5)});
    EXPECT_LT(g_copies.up + g_copies.down, 2 * 20000 * 4 + 512u) << trips;
  }
}

TEST_F(ControlFlowTest, StatesOfGrowingSizes) {
  load(R"(graph g(%n: i64[], %x: f32[2,3]) {
    %true: bool[] = const [1]
    %e = exp(%x)
    %z, %w, %sizes, %all = loop(%n, %true, %e, %x) body(%i: i64[], %q: bool[], %s: f32[r,3], %h: f32[2,3]) {
      %t = concat(%s, %h) {axis=0}
      %u = tanh(%t)
      %v = neg(%h)
      %d = shape(%u)
      return %q, %u, %v, %d, %v
    }
    %y = exp(%z)
    return %y, %w, %sizes, %all
  }
  )");
  const PlanStep& loop = control_step("loop");
  EXPECT_EQ(space_of(loop.outputs[0]), Space::kDevice);
  for (int64_t trips : {3, 0, 1, 5, 5}) {
    expect_same({Tensor::scalar_int64(trips), floats({2, 3}, static_cast<uint64_t>(trips))});
  }
}

// The condition is the GPU's; states change places; one is made by the host.
TEST_F(ControlFlowTest, ConditionsAndStatesOfEitherSide) {
  load(R"(graph g(%x: f32[4], %k: i64[]) {
    %true: bool[] = const [1]
    %none: i64[] = const [20]
    %a = exp(%x)
    %p, %r, %count = loop(%none, %true, %a, %x, %k) body(%i: i64[], %q: bool[], %s: f32[4], %t: f32[4], %c: i64[]) {
      %half: f32[] = const [0.5]
      %one: i64[] = const [1]
      %u = mul(%s, %half)
      %m = reduce_max(%u) {keepdims=0}
      %go = greater(%m, %half)
      %d = add(%c, %one)
      %inner = if(%go) then() {
        %g = add(%u, %t)
        return %g
      } else() {
        return %t
      }
      return %go, %inner, %u, %d
    }
    return %p, %r, %count
  }
  )",
       true);
  for (uint64_t seed : {1, 2, 3}) expect_same({floats({4}, seed), Tensor::scalar_int64(7)});
}

// Whatever a file says of where values lie: refused, or right.
TEST_F(ControlFlowTest, OtherSidesAreRefusedOrRight) {
  constexpr std::string_view kText = R"(graph g(%n: i64[], %x: f32[2,3]) {
    %true: bool[] = const [1]
    %e = exp(%x)
    %z, %all = loop(%n, %true, %e) body(%i: i64[], %q: bool[], %s: f32[2,3]) {
      %t = add(%s, %e)
      return %q, %t, %t
    }
    %y = exp(%z)
    return %y, %all
  }
  )";
  load(kText);
  std::vector<Tensor> inputs = {Tensor::scalar_int64(2), floats({2, 3}, 3)};
  size_t values = gpu_plan_.values.size();
  int right = 0;
  for (size_t v = 0; v < values; ++v) {
    load(kText);
    Space& space = gpu_plan_.values[v].space;
    space = space == Space::kHost ? Space::kDevice : Space::kHost;
    Result<DeviceImagePtr> image = DeviceImage::create(gpu_plan_, context_);
    ASSERT_TRUE(image.ok());
    auto executor = Executor::create(gpu_plan_, *tactics_, *pool_, *image);
    if (!executor.ok()) continue;
    gpu_ = *std::move(executor);
    expect_same(inputs);
    ++right;
  }
  EXPECT_LT(right, static_cast<int>(values));
}

TEST_F(ControlFlowTest, EveryFailureLeavesItUsable) {
  load(R"(graph g(%n: i64[], %x: f32[2,3]) {
    %true: bool[] = const [1]
    %e = exp(%x)
    %z, %all = loop(%n, %true, %e) body(%i: i64[], %q: bool[], %s: f32[r,3]) {
      %t = concat(%s, %e) {axis=0}
      %u = neg(%e)
      return %q, %t, %u
    }
    %y = exp(%z)
    return %y, %all
  }
  )");
  int calls = 0, failures = 0;
  fail_each_call({Tensor::scalar_int64(3), floats({2, 3}, 3)}, calls, failures);
  EXPECT_GT(failures, calls / 2);
}

}  // namespace
}  // namespace redline
