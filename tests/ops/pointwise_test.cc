// SPDX-License-Identifier: Apache-2.0
#include "ops/pointwise.h"

#include <gtest/gtest.h>

#include <cmath>

namespace redline {
namespace {

const OpRegistry& ops() {
  static const std::unique_ptr<OpRegistry> registry = make_op_registry();
  return *registry;
}

// The symbolic elements that an op's shape rule gives for operands with these elements.
std::optional<SymDims> contents_of(std::string_view name, std::vector<SymDims> operands,
                                   std::vector<DType> dtypes = {}, Attrs attrs = {}) {
  const OpDef& op = ops().get(name);
  std::vector<Type> types;
  for (size_t i = 0; i < operands.size(); ++i) {
    DType dtype = i < dtypes.size() ? dtypes[i] : DType::kInt64;
    types.push_back(Type::tensor(dtype, SymDims{Dim(static_cast<int64_t>(operands[i].size()))}));
  }
  std::vector<InferInput> inputs;
  for (size_t i = 0; i < operands.size(); ++i) {
    inputs.push_back({&types[i], nullptr, &operands[i]});
  }
  InferContext context(op, attrs, inputs, 1);
  EXPECT_TRUE(op.infer(context).ok()) << name;
  return context.output_contents()[0];
}

std::string text(const std::optional<SymDims>& dims) {
  if (!dims) return "unknown";
  std::string result;
  for (const Dim& dim : *dims) result += (result.empty() ? "" : " ") + dim.to_string();
  return result;
}

const Dim kH = Dim::symbol("h");

TEST(PointwiseTable, EachRowIsAnOp) {
  for (const PointwiseRow& row : pointwise_rows()) {
    const OpDef& op = ops().get(row.name);
    EXPECT_EQ(op.max_inputs(), static_cast<size_t>(row.arity)) << row.name;
    EXPECT_EQ(&pointwise_row(row.id), &row);
    EXPECT_EQ(find_pointwise(row.name), &row);
    EXPECT_EQ(op.has(kTraitCommutative), row.has(kPointwiseCommutative));
    EXPECT_FALSE(row.formula.empty());
  }
  EXPECT_EQ(find_pointwise("matmul"), nullptr);
}

TEST(PointwiseTable, DescribesFormulaAndParameters) {
  const PointwiseRow& row = *find_pointwise("hard_sigmoid");
  Attrs attrs = Attrs::of(HardSigmoidAttrs{.alpha = 0.25f, .beta = 2});

  std::vector<PointwiseParam> params = row.params(attrs);

  EXPECT_EQ(row.formula, "minimum(maximum(alpha * x + beta, T(0)), T(1))");
  ASSERT_EQ(params.size(), 2u);
  EXPECT_EQ(params[0].name, "alpha");
  EXPECT_EQ(params[0].value, 0.25);
  EXPECT_EQ(params[1].value, 2);
  EXPECT_TRUE(std::isnan(row.identity));
  EXPECT_EQ(find_pointwise("mul")->identity, 1);
}

// f(x, identity) = x, by the reference.
TEST(PointwiseTable, IdentitiesHold) {
  for (const PointwiseRow& row : pointwise_rows()) {
    if (!row.has_identity()) continue;
    bool logical = row.types == PointwiseTypes::kBool;
    DType dtype = logical ? DType::kBool : DType::kInt32;
    Tensor x = Tensor::create(dtype, {2}).value();
    Tensor e = Tensor::create(dtype, {1}).value();
    if (logical) {
      x.mutable_data<uint8_t>()[1] = 1;
      e.mutable_data<uint8_t>()[0] = static_cast<uint8_t>(row.identity);
    } else {
      x.mutable_data<int32_t>()[0] = -7;
      x.mutable_data<int32_t>()[1] = 6;
      e.mutable_data<int32_t>()[0] = static_cast<int32_t>(row.identity);
    }
    HostValue a = HostValue::of(x);
    HostValue b = HostValue::of(e);
    std::vector<const HostValue*> inputs = {&a, &b};
    Attrs attrs = Attrs::load(row.attrs, {}).value();
    auto result = run_reference(ops().get(row.name), attrs, inputs, 1);
    ASSERT_TRUE(result.ok()) << row.name << ": " << result.status().to_string();
    EXPECT_TRUE(identical((*result)[0].tensor, x)) << row.name;
  }
}

TEST(PointwiseContents, Arithmetic) {
  EXPECT_EQ(text(contents_of("add", {{kH, 3}, {2}})), "h + 2 5");
  EXPECT_EQ(text(contents_of("mul", {{kH}, {4}})), "h*4");
  EXPECT_EQ(text(contents_of("div", {{kH, -7}, {2}})), "floordiv(h, 2) -3");
  EXPECT_EQ(text(contents_of("div", {{kH - 3}, {2}})), "unknown");
  EXPECT_EQ(text(contents_of("div", {{kH}, {0}})), "unknown");
  EXPECT_EQ(text(contents_of("min", {{kH}, {8}})), "min(8, h)");
  EXPECT_EQ(text(contents_of("abs", {{kH, -2}})), "h 2");
}

TEST(PointwiseContents, Comparisons) {
  EXPECT_EQ(text(contents_of("equal", {{kH, -1, kH}, {-1, -1, kH}})), "0 1 1");
  EXPECT_EQ(text(contents_of("equal", {{kH}, {5}})), "unknown");
  EXPECT_EQ(text(contents_of("less", {{kH}, {0}})), "0");
  EXPECT_EQ(text(contents_of("greater_or_equal", {{kH + 1}, {1}})), "1");
  EXPECT_EQ(text(contents_of("not", {{0, 1}}, {DType::kBool})), "1 0");
}

TEST(PointwiseContents, WhereChoosesByKnownCondition) {
  EXPECT_EQ(text(contents_of("where", {{1, 0}, {kH, 5}, {7, kH}}, {DType::kBool})), "h h");
  EXPECT_EQ(text(contents_of("where", {{kH}, {5}, {7}}, {DType::kBool})), "unknown");
}

}  // namespace
}  // namespace redline
