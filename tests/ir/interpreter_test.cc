// SPDX-License-Identifier: Apache-2.0
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/text.h"
#include "ops/compare.h"
#include "ops/elements.h"
#include "test_ops.h"

namespace redline {
namespace {

Tensor floats(std::vector<float> values) {
  return Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(values.size())}, values);
}

class InterpreterTest : public testing::Test {
 protected:
  Result<std::vector<HostValue>> run(std::string_view text, std::vector<Tensor> inputs) {
    auto graph = parse_graph(*registry_, text);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    std::vector<HostValue> values;
    for (Tensor& input : inputs) values.push_back(HostValue::of(std::move(input)));
    return interpret(**graph, values);
  }
  std::unique_ptr<OpRegistry> registry_ = make_test_registry();
};

TEST_F(InterpreterTest, TellsAnObserverWhatEachNodeMakes) {
  constexpr std::string_view kText = R"(graph g(%x: f32[2]) {
    %a = add(%x, %x)
    %b = mul(%a, %x)
    return %b
  })";
  auto graph = parse_graph(*registry_, kText);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  std::vector<std::pair<std::string, float>> seen;
  std::vector<HostValue> inputs = {HostValue::of(floats({3, 4}))};
  auto results = interpret(**graph, inputs, [&](const Value& value, const HostValue& made) {
    seen.emplace_back(value.name, made.tensor.data<float>()[1]);
  });
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_EQ(seen, (std::vector<std::pair<std::string, float>>{{"a", 8}, {"b", 32}}));
}

TEST_F(InterpreterTest, RunsNodesConstantsAndSubgraphs) {
  constexpr std::string_view kText = R"(graph g(%c: bool[], %x: f32[n]) {
    %k: f32[1] = const [10]
    %t = add(%x, %k)
    %y = choose(%c) a() {
      %u = mul(%t, %k)
      return %u
    } b() {
      return %k
    }
    return %y, %x, %k })";
  uint8_t flag = 1;
  Tensor yes = Tensor::from<uint8_t>(DType::kBool, {}, std::span(&flag, 1));
  auto results = run(kText, {yes, floats({1, 2})});
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_TRUE(identical((*results)[0].tensor, floats({110, 120})));
  EXPECT_TRUE(identical((*results)[1].tensor, floats({1, 2})));
  EXPECT_TRUE(identical((*results)[2].tensor, floats({10})));
  flag = 0;
  Tensor no = Tensor::from<uint8_t>(DType::kBool, {}, std::span(&flag, 1));
  results = run(kText, {no, floats({1, 2})});
  ASSERT_TRUE(results.ok()) << results.status().message();
  EXPECT_TRUE(identical((*results)[0].tensor, floats({10})));
}

TEST_F(InterpreterTest, RefusesWrongInputs) {
  constexpr std::string_view kText = "graph g(%x: f32[n]) { %y = relu(%x) return %y }";
  EXPECT_FALSE(run(kText, {}).ok());
  EXPECT_FALSE(run(kText, {Tensor::scalar_int64(1)}).ok());
}

TEST_F(InterpreterTest, RandomInputsFollowTypesAndSeed) {
  auto graph = parse_graph(*registry_, R"(graph g(%x: f32[n,m + 1], %i: i64[5], %s: seq(f16[2])) {
    return %x, %i, %s })");
  ASSERT_TRUE(graph.ok());
  auto a = random_inputs(**graph, {{"n", 4}}, 1);
  auto b = random_inputs(**graph, {{"n", 4}}, 1);
  auto c = random_inputs(**graph, {{"n", 4}}, 2);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ((*a)[0].tensor.dims(), (Dims{4, 4}));
  EXPECT_TRUE(identical((*a)[0].tensor, (*b)[0].tensor));
  EXPECT_FALSE(identical((*a)[0].tensor, (*c)[0].tensor));
  for (int64_t v : (*a)[1].tensor.span<int64_t>()) EXPECT_TRUE(v == 0 || v == 1);
  EXPECT_EQ((*a)[2].elements.size(), 2u);
}

TEST(CompareTest, SaysWhatDiffers) {
  Tensor a = floats({1, 2, NAN, INFINITY, 0});
  EXPECT_TRUE(compare_tensors(a, a, {}).ok());
  EXPECT_TRUE(compare_tensors(a, floats({1, 2.00001f, NAN, INFINITY, 0}), {1e-5, 0}).ok());
  Status status = compare_tensors(a, floats({1, 2.1f, NAN, INFINITY, 0}), {1e-5, 0});
  EXPECT_EQ(status.message(), "1 of 5 elements differ, most of all at [1]: 2.0999999, expected 2");
  EXPECT_FALSE(compare_tensors(a, floats({1, 2, 0, INFINITY, 0}), {1, 1}).ok());
  EXPECT_FALSE(compare_tensors(a, floats({1, 2, NAN, -INFINITY, 0}), {1, 1}).ok());
  EXPECT_FALSE(compare_tensors(a, floats({1, 2}), {1, 1}).ok());
  EXPECT_FALSE(compare_tensors(Tensor::scalar_int64(1), Tensor::scalar_int64(2), {1, 1}).ok());
}

TEST(CompareTest, SubnormalNumbersMayMissByTheirStep) {
  auto halfs = [](double a, double b) {
    Tensor t = Tensor::create(DType::kFloat16, Dims{2}).value();
    write_elements(std::vector<double>{a, b}, t.view());
    return t;
  };
  Tolerance tolerance = rounding_tolerance(DType::kFloat16);
  Tensor want = halfs(300 * 0x1p-24, 0.125);
  EXPECT_TRUE(compare_tensors(want, halfs(301 * 0x1p-24, 0.125), tolerance).ok());
  EXPECT_FALSE(compare_tensors(want, halfs(302 * 0x1p-24, 0.125), tolerance).ok());
  EXPECT_TRUE(compare_tensors(want, halfs(300 * 0x1p-24, 0.125 + 0x1p-13), tolerance).ok());
  EXPECT_FALSE(compare_tensors(want, halfs(300 * 0x1p-24, 0.125 + 0x1p-12), tolerance).ok());
  EXPECT_FALSE(
      compare_tensors(floats({1e-30f}), floats({2e-30f}), rounding_tolerance(DType::kFloat32))
          .ok());
}

}  // namespace
}  // namespace redline
