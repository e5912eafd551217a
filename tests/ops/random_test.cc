// SPDX-License-Identifier: Apache-2.0
#include "ops/random.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

const OpRegistry& ops() {
  static const std::unique_ptr<OpRegistry> registry = make_op_registry();
  return *registry;
}

std::vector<Tensor> run(std::string_view op, Attrs attrs, std::vector<Tensor> tensors = {},
                        size_t num_outputs = 1) {
  std::vector<HostValue> values;
  for (Tensor& t : tensors) values.push_back(HostValue::of(t));
  std::vector<const HostValue*> inputs;
  for (HostValue& v : values) inputs.push_back(&v);
  auto results = run_reference(ops().get(op), attrs, inputs, num_outputs);
  EXPECT_TRUE(results.ok()) << results.status().to_string();
  std::vector<Tensor> out;
  if (results.ok()) {
    for (HostValue& v : *results) out.push_back(v.tensor);
  }
  return out;
}

struct Moments {
  double mean = 0;
  double deviation = 0;
};

Moments moments(const Tensor& t) {
  std::vector<double> x = read_elements<double>(t.view());
  double sum = 0;
  double squares = 0;
  for (double v : x) sum += v, squares += v * v;
  double n = static_cast<double>(x.size());
  return {sum / n, std::sqrt(squares / n - sum / n * (sum / n))};
}

TEST(Random, NormalHasItsMoments) {
  Tensor t = run("random_normal",
                 Attrs::of(RandomNormalAttrs{
                     .shape = SymDims{100, 200}, .mean = 3, .scale = 2, .seed = 1.0f}))[0];
  EXPECT_EQ(t.dims(), (Dims{100, 200}));
  EXPECT_NEAR(moments(t).mean, 3, 0.06);
  EXPECT_NEAR(moments(t).deviation, 2, 0.04);
}

TEST(Random, UniformStaysInRange) {
  Attrs attrs = Attrs::of(RandomUniformAttrs{
      .shape = SymDims{20000}, .dtype = DType::kFloat64, .low = -1, .high = 5, .seed = 7.0f});
  Tensor t = run("random_uniform", attrs)[0];
  for (double v : t.span<double>()) ASSERT_TRUE(v >= -1 && v < 5);
  EXPECT_NEAR(moments(t).mean, 2, 0.05);
  EXPECT_NEAR(moments(t).deviation, 6 / std::sqrt(12.0), 0.05);
}

TEST(Random, SeedDecidesValues) {
  auto draw = [](std::optional<float> seed) {
    return run("random_uniform",
               Attrs::of(RandomUniformAttrs{.shape = SymDims{16}, .seed = seed}))[0];
  };
  EXPECT_TRUE(identical(draw(3.0f), draw(3.0f)));
  EXPECT_FALSE(identical(draw(3.0f), draw(4.0f)));
  EXPECT_FALSE(identical(draw(std::nullopt), draw(std::nullopt)));
}

TEST(Random, BernoulliFollowsProbability) {
  std::vector<float> p(10000, 0.25f);
  p[0] = 0;
  p[1] = 1;
  Tensor in = Tensor::from<float>(DType::kFloat32, {10000}, p);
  Tensor t = run("bernoulli", Attrs::of(BernoulliAttrs{DType::kInt32, 5.0f}), {in})[0];
  EXPECT_EQ(t.dtype(), DType::kInt32);
  EXPECT_EQ(t.data<int32_t>()[0], 0);
  EXPECT_EQ(t.data<int32_t>()[1], 1);
  EXPECT_NEAR(moments(t).mean, 0.25, 0.02);
}

TEST(Random, MultinomialFollowsLogWeights) {
  std::vector<float> logs = {std::log(1.0f), std::log(3.0f), -INFINITY};
  Tensor in = Tensor::from<float>(DType::kFloat32, {1, 3}, logs);
  Tensor t = run("multinomial", Attrs::of(MultinomialAttrs{DType::kInt64, 10000, 2.0f}), {in})[0];
  EXPECT_EQ(t.dims(), (Dims{1, 10000}));
  for (int64_t v : t.span<int64_t>()) ASSERT_TRUE(v == 0 || v == 1);
  EXPECT_NEAR(moments(t).mean, 0.75, 0.02);
}

TEST(Random, DropoutScalesWhatItKeeps) {
  std::vector<float> ones(10000, 1.0f);
  Tensor in = Tensor::from<float>(DType::kFloat32, {10000}, ones);
  uint8_t yes = 1;
  Tensor training = Tensor::from<uint8_t>(DType::kBool, {}, std::span<const uint8_t>(&yes, 1));
  auto out =
      run("dropout", Attrs::of(DropoutAttrs{9}), {in, Tensor::scalar_float(0.75f), training}, 2);
  double kept = 0;
  for (size_t i = 0; i < 10000; ++i) {
    bool keep = out[1].data<uint8_t>()[i] != 0;
    ASSERT_EQ(out[0].data<float>()[i], keep ? 4.0f : 0.0f);
    kept += keep;
  }
  EXPECT_NEAR(kept / 10000, 0.25, 0.02);
}

TEST(Random, DropoutPassesThroughInInference) {
  std::vector<float> values = {1, 2, 3};
  Tensor in = Tensor::from<float>(DType::kFloat32, {3}, values);
  auto out = run("dropout", Attrs::of(DropoutAttrs{}), {in}, 2);
  EXPECT_TRUE(identical(out[0], in));
  EXPECT_EQ(out[1].data<uint8_t>()[2], 1);
}

}  // namespace
}  // namespace redline
