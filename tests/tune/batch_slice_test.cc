// SPDX-License-Identifier: Apache-2.0
#include "tune/batch_slice.h"

#include <gtest/gtest.h>

#include "ir/fuse.h"
#include "ir/text.h"
#include "ops/compare.h"
#include "ops/fused.h"
#include "ops/random_tensor.h"
#include "tune/check.h"

namespace redline {
namespace {

class BatchSliceTest : public testing::Test {
 protected:
  // A graph of one node, or the region of all of them.
  Problem problem(const std::string& text) {
    graph_ = parse_graph(*ops_, text).value();
    std::vector<Node*> nodes;
    for (const auto& node : graph_->nodes()) nodes.push_back(node.get());
    Problem result;
    const Node* only = nodes.size() == 1 ? nodes[0] : nullptr;
    std::vector<Value*> inputs = graph_->inputs();
    std::vector<Value*> outputs = graph_->outputs();
    if (only != nullptr) {
      result.op = &only->op();
      result.attrs = only->attrs();
      inputs = only->inputs();
      outputs = only->outputs();
    } else {
      RegionDraft draft = draft_region(nodes).value();
      result.op = &ops_->get("fused");
      result.attrs = Attrs::of(FusedAttrs{draft.body});
      inputs = draft.inputs;
      outputs = draft.outputs;
    }
    for (const Value* value : inputs) result.inputs.push_back(describe(value));
    for (const Value* value : outputs) result.outputs.push_back(describe(value));
    return result;
  }
  static OperandDesc describe(const Value* value) {
    OperandDesc operand;
    operand.present = value != nullptr;
    if (!operand.present) return operand;
    operand.dtype = value->type.dtype;
    operand.dims = *value->type.shape.as_static();
    operand.constant = value->is_constant() ? &value->constant : nullptr;
    return operand;
  }
  static std::vector<Tensor> run(const Problem& problem, const std::vector<Tensor>& inputs) {
    std::vector<HostValue> values;
    for (const Tensor& input : inputs) values.push_back(HostValue::of(input));
    std::vector<const HostValue*> pointers;
    for (const HostValue& value : values) {
      pointers.push_back(value.tensor.defined() ? &value : nullptr);
    }
    std::vector<Tensor> results;
    auto made = run_reference(*problem.op, problem.attrs, pointers, problem.outputs.size());
    for (HostValue& value : made.value()) results.push_back(value.tensor);
    return results;
  }
  // The samples' results are the whole's.
  void expect_slices(const std::string& text, const std::vector<bool>& sliced) {
    SCOPED_TRACE(text);
    Problem whole = problem(text);
    std::vector<Tensor> inputs;
    for (size_t i = 0; i < whole.inputs.size(); ++i) {
      const OperandDesc& input = whole.inputs[i];
      inputs.push_back(input.constant != nullptr
                           ? *input.constant
                           : random_tensor(input.dtype, input.dims, i).value());
    }
    for (int64_t count : {1, 2, 3}) {
      std::optional<BatchSlice> slice = slice_batch(whole, count, 7);
      ASSERT_TRUE(slice);
      EXPECT_EQ(slice->sliced, sliced);
      ASSERT_EQ(static_cast<int64_t>(slice->samples.size()), count);
      std::vector<Tensor> some = inputs;
      for (size_t i = 0; i < some.size(); ++i) {
        if (sliced[i]) some[i] = take_samples(some[i], slice->samples).value();
      }
      std::vector<Tensor> all = run(whole, inputs);
      std::vector<Tensor> got = run(slice->problem, some);
      for (size_t i = 0; i < all.size(); ++i) {
        Tensor want = take_samples(all[i], slice->samples).value();
        EXPECT_TRUE(compare_tensors(want, got[i], {0, 0}).ok());
        EXPECT_EQ(got[i].dims(), slice->problem.outputs[i].dims);
      }
    }
  }
  bool slices(const std::string& text) { return slice_batch(problem(text), 2, 7).has_value(); }

  std::unique_ptr<OpRegistry> ops_ = make_op_registry();
  std::unique_ptr<Graph> graph_;
};

TEST_F(BatchSliceTest, SamplesHaveTheWholesResults) {
  expect_slices("graph g(%x: f32[6,4,5]) {\n  %y = softmax(%x)\n  return %y\n}\n", {true});
  expect_slices(
      "graph g(%x: f32[6,4,8,8]) {\n  %y = max_pool(%x) {kernel_shape=[3,3]}\n"
      "  return %y\n}\n",
      {true});
  expect_slices(
      "graph g(%x: f32[6,5], %s: f32[5], %b: f32[5]) {\n"
      "  %y = layer_norm(%x, %s, %b)\n  return %y\n}\n",
      {true, false, false});
  expect_slices(
      "graph g(%x: f32[6,4,5], %y: f32[6,4,5], %z: f32[1,4,5], %s: f32[5]) {\n"
      "  %p = add(%x, %y)\n  %q = mul(%p, %z)\n  %r = rms_norm(%q, %s)\n"
      "  %t = relu(%r)\n  return %t, %q\n}\n",
      {true, true, false, false});
  expect_slices(
      "graph g(%x: f32[6,4,5]) {\n  %a: i64[2] = const [1, -1]\n"
      "  %y = reduce_mean(%x, %a)\n  return %y\n}\n",
      {true, false});
  expect_slices(
      "graph g(%q: f32[6,2,3,4], %k: f32[6,2,5,4], %v: f32[6,2,5,4], %m: f32[3,5]) {\n"
      "  %y = attention(%q, %k, %v, %m)\n  return %y\n}\n",
      {true, true, true, false});
  // As many filters as samples.
  expect_slices(
      "graph g(%x: f32[6,4,5,5], %w: f32[6,4,3,3]) {\n  %y = conv(%x, %w)\n"
      "  %z = relu(%y)\n  return %z\n}\n",
      {true, false});
}

TEST_F(BatchSliceTest, WhatMixesSamplesIsLeftWhole) {
  EXPECT_FALSE(slices("graph g(%x: f32[6,4]) {\n  %y = softmax(%x) {axis=0}\n  return %y\n}\n"));
  EXPECT_FALSE(slices("graph g(%x: f32[6,4]) {\n  %y = softmax(%x) {axis=-2}\n  return %y\n}\n"));
  EXPECT_FALSE(
      slices("graph g(%x: f32[6,6]) {\n  %a: i64[1] = const [0]\n"
             "  %y = reduce_sum(%x, %a) {keepdims=0}\n  return %y\n}\n"));
  EXPECT_FALSE(
      slices("graph g(%x: f32[6,6]) {\n  %y = transpose(%x) {perm=[1,0]}\n  return %y\n}\n"));
  EXPECT_FALSE(
      slices("graph g(%x: f32[6,4]) {\n  %a: i64[] = const [0]\n"
             "  %y = cum_sum(%x, %a)\n  return %y\n}\n"));
  // One operand as samples and as a whole.
  EXPECT_FALSE(
      slices("graph g(%x: f32[4,4,3,3]) {\n  %p = relu(%x)\n  %y = conv(%p, %x)\n"
             "  return %y\n}\n"));
  // No more samples than are wanted.
  EXPECT_FALSE(slices("graph g(%x: f32[2,4]) {\n  %y = softmax(%x)\n  return %y\n}\n"));
}

TEST_F(BatchSliceTest, ALargeBatchIsCheckedBySamples) {
  Problem large = problem(
      "graph g(%x: f16[24,768,1024], %y: f16[24,768,1024]) {\n  %p = add(%x, %y)\n"
      "  %z = softmax(%p)\n  return %z\n}\n");
  Expectation expected = make_expectation(large, 3).value();
  EXPECT_EQ(expected.outputs[0].elements.back(), large.outputs[0].dims.count() - 1);
  EXPECT_EQ(expected.outputs[0].elements.size(), size_t{3} * 768 * 1024);
  Tensor result = run(large, expected.inputs)[0];
  TensorView view = result.view();
  EXPECT_EQ(compare_to(expected, {&view, 1}).verdict, Verdict::kRight);
  result.mutable_data<uint16_t>()[result.count() - 1] = 0x3c00;
  EXPECT_EQ(compare_to(expected, {&view, 1}).verdict, Verdict::kWrong);
}

}  // namespace
}  // namespace redline
