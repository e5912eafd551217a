// SPDX-License-Identifier: Apache-2.0
#include "tune/check.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/compare.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "ops/gather.h"
#include "tune/sample.h"
#include "tune/trial.h"

namespace redline {
namespace {

OperandDesc f32(Dims dims) {
  OperandDesc operand;
  operand.dims = dims;
  return operand;
}

class CheckTest : public testing::Test {
 protected:
  Problem problem(std::string_view op, std::vector<OperandDesc> inputs, OperandDesc output) {
    Problem result;
    result.op = &ops_->get(op);
    result.attrs = Attrs::load(result.op->attrs, {}).value();
    result.inputs = std::move(inputs);
    result.outputs = {std::move(output)};
    return result;
  }

  // conv -> + bias of the channels -> relu, over [1,24,40,40]: too large to be computed whole.
  Problem region() {
    auto body = std::make_shared<Body>();
    body->num_inputs = 3;
    const OpDef& conv = ops_->get("conv");
    const OpDef& add = ops_->get("add");
    const OpDef& relu = ops_->get("relu");
    body->nodes = {{&conv, Attrs::load(conv.attrs, {}).value(), {0, 1}},
                   {&add, Attrs::load(add.attrs, {}).value(), {3, 2}},
                   {&relu, Attrs::load(relu.attrs, {}).value(), {4}}};
    body->outputs = {5};
    Problem result = problem("fused", {f32({1, 16, 40, 40}), f32({24, 16, 1, 1}), f32({24, 1, 1})},
                             f32({1, 24, 40, 40}));
    result.attrs = Attrs::of(FusedAttrs{body});
    return result;
  }

  // The whole reference, after which `spoil` may change it.
  CheckResult check(const Problem& problem, const std::function<void(Tensor&)>& spoil) {
    Expectation expected = make_expectation(problem, 3).value();
    std::vector<HostValue> values;
    for (const Tensor& input : expected.inputs) values.push_back(HostValue::of(input));
    std::vector<const HostValue*> pointers;
    for (const HostValue& value : values) pointers.push_back(&value);
    Tensor result = run_reference(*problem.op, problem.attrs, pointers, 1).value()[0].tensor;
    spoil(result);
    TensorView view = result.view();
    return compare_to(expected, {&view, 1});
  }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
};

TEST_F(CheckTest, TheReferenceOfARegionIsRight) {
  CheckResult result = check(region(), [](Tensor&) {});
  EXPECT_EQ(result.verdict, Verdict::kRight) << result.reason;
  EXPECT_LT(result.error, 1e-7);
}

TEST_F(CheckTest, RoundingIsRightAndMoreIsWrong) {
  auto shift_by = [](float by) {
    return [by](Tensor& t) {
      for (int64_t i = 0; i < t.count(); ++i) t.mutable_data<float>()[i] *= 1 + by;
    };
  };
  EXPECT_EQ(check(region(), shift_by(3e-7f)).verdict, Verdict::kRight);
  EXPECT_EQ(check(region(), shift_by(1e-4f)).verdict, Verdict::kWrong);
}

TEST_F(CheckTest, OneWrongElementAtTheEndIsFound) {
  CheckResult result =
      check(region(), [](Tensor& t) { t.mutable_data<float>()[t.count() - 1] = 77; });
  EXPECT_EQ(result.verdict, Verdict::kWrong);
  EXPECT_NE(result.reason.find("[0, 23, 39, 39]: 77"), std::string::npos) << result.reason;
}

TEST_F(CheckTest, NotANumberIsWrong) {
  CheckResult result = check(region(), [](Tensor& t) { t.mutable_data<float>()[0] = NAN; });
  EXPECT_EQ(result.verdict, Verdict::kWrong);
}

TEST_F(CheckTest, AnErrorThatTheTailEnlargesIsCarriedThroughIt) {
  // exp(8 * a): rounding of a moves the result by far more than rounding of the result does.
  auto body = std::make_shared<Body>();
  body->num_inputs = 2;
  const OpDef& matmul = ops_->get("matmul");
  const OpDef& square = ops_->get("square");
  const OpDef& exp = ops_->get("exp");
  body->nodes = {{&matmul, Attrs::load(matmul.attrs, {}).value(), {0, 1}},
                 {&square, Attrs::load(square.attrs, {}).value(), {2}},
                 {&exp, Attrs::load(exp.attrs, {}).value(), {3}}};
  body->outputs = {4};
  Problem p = problem("fused", {f32({64, 32}), f32({32, 64})}, f32({64, 64}));
  p.attrs = Attrs::of(FusedAttrs{body});
  Expectation expected = make_expectation(p, 3).value();
  std::vector<double> values = read_elements<double>(expected.outputs[0].values.view());
  double plain = rounding_tolerance(DType::kFloat32).relative;
  for (size_t i = 0; i < values.size(); ++i) {
    EXPECT_GE(expected.outputs[0].limits[i], plain * values[i]);
    if (values[i] < 1e3) continue;
    EXPECT_GT(expected.outputs[0].limits[i], 5 * plain * values[i]);
  }
}

TEST_F(CheckTest, MovesOfTwoOpsDoNotHideEachOther) {
  // a * b + c where the sum cancels: the kernel rounds the product once less than the reference.
  auto body = std::make_shared<Body>();
  body->num_inputs = 4;
  const OpDef& mul = ops_->get("mul");
  const OpDef& add = ops_->get("add");
  body->nodes = {{&mul, Attrs::load(mul.attrs, {}).value(), {0, 1}},
                 {&mul, Attrs::load(mul.attrs, {}).value(), {4, 2}},
                 {&add, Attrs::load(add.attrs, {}).value(), {5, 3}}};
  body->outputs = {6};
  OperandDesc f16 = f32({64, 64});
  f16.dtype = DType::kFloat16;
  Problem p = problem("fused", {f16, f16, f16, f16}, f16);
  p.attrs = Attrs::of(FusedAttrs{body});
  Expectation expected = make_expectation(p, 3).value();
  std::vector<std::vector<double>> inputs;
  for (const Tensor& input : expected.inputs) {
    inputs.push_back(read_elements_at<double>(input.view(), expected.outputs[0].elements));
  }
  std::vector<double> limits = expected.outputs[0].limits;
  for (size_t i = 0; i < limits.size(); ++i) {
    // The root of the squares of a step of either product.
    double product = std::abs(inputs[0][i] * inputs[1][i] * inputs[2][i]);
    EXPECT_GE(limits[i], 1.4 * 0x1p-10 * product) << i;
  }
}

TEST_F(CheckTest, InputsAreLargeEnoughToPassAnActivation) {
  Problem p = region();
  std::vector<float> bias(24, -60);
  Tensor low = Tensor::from<float>(DType::kFloat32, {24, 1, 1}, bias);
  p.inputs[2].constant = &low;
  Expectation expected = make_expectation(p, 3).value();
  std::vector<double> values = read_elements<double>(expected.outputs[0].values.view());
  EXPECT_GT(std::count_if(values.begin(), values.end(), [](double v) { return v > 0; }),
            static_cast<int64_t>(values.size() / 4));
}

TEST_F(CheckTest, IndicesOfAGatherAreValid) {
  OperandDesc indices = f32({50});
  indices.dtype = DType::kInt64;
  Problem p = problem("gather", {f32({3, 7}), indices}, f32({50, 7}));
  EXPECT_EQ(check(p, [](Tensor&) {}).verdict, Verdict::kRight);
}

TEST_F(CheckTest, SaysWhatItCannotCheck) {
  Problem unsized = problem("relu", {f32({kDynamicDim})}, f32({kDynamicDim}));
  EXPECT_EQ(make_expectation(unsized, 1).status().code(), StatusCode::kUnsupported);
  OperandDesc axes = f32({1});
  axes.dtype = DType::kInt64;
  // The sizes of the output follow from values that random ones cannot meet.
  Problem expand = problem("expand", {f32({1, 3}), axes}, f32({9, 3}));
  Result<Expectation> expected = make_expectation(expand, 1);
  ASSERT_FALSE(expected.ok());
  EXPECT_EQ(expected.status().code(), StatusCode::kUnsupported);
  EXPECT_FALSE(expected.status().message().empty());
}

TEST(Sample, HasCornersEdgesAndNoElementTwice) {
  Dims dims{1, 24, 40, 41};
  std::vector<int64_t> sample = sample_elements(dims, 5);
  EXPECT_LT(sample.size(), 400u);
  EXPECT_EQ(sample.front(), 0);
  EXPECT_EQ(sample.back(), dims.count() - 1);
  EXPECT_TRUE(std::is_sorted(sample.begin(), sample.end()));
  EXPECT_EQ(std::adjacent_find(sample.begin(), sample.end()), sample.end());
  for (int64_t last = 33; last < 41; ++last) {
    auto hits = std::count_if(sample.begin(), sample.end(),
                              [&](int64_t flat) { return flat % 41 == last; });
    EXPECT_GT(hits, 0) << last;
  }
  EXPECT_EQ(sample_elements(Dims{10, 3}, 5).size(), 30u);
}

}  // namespace
}  // namespace redline
