// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "onnx/import_rule.h"
#include "ops/batch_norm.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/reshape.h"

namespace redline {
namespace {

Result<Value*> reshape(ImportContext& c, Value* value, SymDims sizes) {
  return c.emit("reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

// Opset 7 and 8 have spatial=0: statistics for each position, not for each channel. With the
// positions taken for channels that is the op of today.
Status import_non_spatial(ImportContext& c, BatchNormAttrs attrs) {
  Value* x = c.input(0);
  if (!x->shape().has_rank() || x->shape().rank() < 2) {
    return c.unsupported_here("spatial=0 on data of unknown rank");
  }
  if (c.num_outputs() > 1) return c.unsupported_here("spatial=0 with running statistics");
  const SymDims dims = x->shape().dims();
  Dim positions(1);
  for (size_t d = 1; d < dims.size(); ++d) positions *= dims[d];
  std::vector<Value*> operands;
  REDLINE_ASSIGN(Value * flat, reshape(c, x, {dims[0], positions}));
  operands.push_back(flat);
  for (size_t i = 1; i < 5; ++i) {
    REDLINE_ASSIGN(Value * parameter, reshape(c, c.input(i), {positions}));
    operands.push_back(parameter);
  }
  REDLINE_ASSIGN(Value * y, c.emit("batch_norm", std::move(operands), attrs));
  REDLINE_ASSIGN(Value * out, reshape(c, y, dims));
  c.set_output(0, out);
  return {};
}

// Before opset 14 more than one output means training; outputs 3 and 4 are then the statistics of
// the batch itself, which a momentum of 0 gives.
Status import_batch_norm(ImportContext& c) {
  REDLINE_ASSIGN(Attrs loaded,
                 c.load_attrs(attrs_type<BatchNormAttrs>(), {}, {"spatial", "is_test"}));
  auto attrs = loaded.as<BatchNormAttrs>();
  for (size_t i = 0; i < 5; ++i) {
    if (c.input(i) == nullptr) return c.unsupported_here("one of its five inputs is missing");
  }
  if (c.opset() < 9 && c.int_attr("spatial", 1) == 0) return import_non_spatial(c, attrs);
  if (c.opset() < 14) {
    attrs.training_mode = c.num_outputs() > 1;
    if (c.opset() == 6 && c.int_attr("is_test", 0) != 0) attrs.training_mode = false;
  }
  size_t outputs = attrs.training_mode ? std::min<size_t>(c.num_outputs(), 3) : 1;
  REDLINE_ASSIGN(Node * node, c.emit_node("batch_norm", c.inputs(), Attrs::of(attrs), outputs));
  c.set_outputs(node);
  if (!attrs.training_mode || c.num_outputs() <= 3) return {};
  attrs.momentum = 0;
  REDLINE_ASSIGN(Node * batch, c.emit_node("batch_norm", c.inputs(), Attrs::of(attrs), 3));
  c.set_output(3, batch->output(1));
  c.set_output(4, batch->output(2));
  return {};
}

Result<LayerNormAttrs> layer_norm_attrs(ImportContext& c) {
  REDLINE_ASSIGN(Attrs loaded, c.load_attrs(attrs_type<LayerNormAttrs>(), {}, {"stash_type"}));
  auto attrs = loaded.as<LayerNormAttrs>();
  attrs.stash_dtype = c.dtype_attr("stash_type", DType::kFloat32);
  return attrs;
}

// layer_norm and rms_norm have the operands of their ONNX ops.
Status import_layer_norm(ImportContext& c, std::string_view op) {
  REDLINE_ASSIGN(LayerNormAttrs attrs, layer_norm_attrs(c));
  REDLINE_ASSIGN(Node * node, c.emit_node(op, c.inputs(), Attrs::of(attrs), c.num_outputs()));
  c.set_outputs(node);
  return {};
}

// Opset 18 gives scale and bias for each group, from 21 on they are for each channel.
Result<Value*> for_each_channel(ImportContext& c, Value* parameter, int64_t groups,
                                int64_t channels) {
  REDLINE_ASSIGN(Value * column, reshape(c, parameter, {groups, 1}));
  const int64_t sizes[] = {groups, channels / groups};
  REDLINE_ASSIGN(Value * spread, c.emit("expand", {column, c.constant_ints(sizes)}));
  return reshape(c, spread, {channels});
}

Status import_group_norm(ImportContext& c) {
  REDLINE_ASSIGN(Attrs loaded, c.load_attrs(attrs_type<GroupNormAttrs>(), {}, {"stash_type"}));
  const auto& attrs = loaded.as<GroupNormAttrs>();
  std::vector<Value*> operands = c.inputs();
  if (c.opset() < 21) {
    if (operands.size() != 3 || operands[0] == nullptr || !operands[0]->shape().has_rank() ||
        operands[0]->shape().rank() < 2 || !operands[0]->shape()[1].is_const()) {
      return c.unsupported_here("the number of channels is not known");
    }
    int64_t channels = operands[0]->shape()[1].value();
    if (attrs.num_groups < 1 || channels % attrs.num_groups != 0) {
      return invalid_argument("num_groups ", attrs.num_groups, " does not divide ", channels,
                              " channels");
    }
    for (size_t i : {1, 2}) {
      REDLINE_ASSIGN(operands[i], for_each_channel(c, operands[i], attrs.num_groups, channels));
    }
  }
  REDLINE_ASSIGN(Value * out, c.emit("group_norm", std::move(operands), attrs));
  c.set_output(0, out);
  return {};
}

// com.microsoft: the norm of input + skip (+ bias), and that sum as output 3.
Status import_skip_norm(ImportContext& c, std::string_view op, size_t bias_at) {
  LayerNormAttrs attrs{.epsilon = c.float_attr("epsilon", 1e-12f)};
  bool rms = op == "rms_norm";
  REDLINE_ASSIGN(Value * sum, c.emit("add", {c.input(0), c.input(1)}));
  if (Value* bias = c.input(bias_at)) {
    REDLINE_ASSIGN(sum, c.emit("add", {sum, bias}));
  }
  std::vector<Value*> operands = {sum, c.input(2)};
  if (!rms && c.input(3) != nullptr) operands.push_back(c.input(3));
  if (rms && c.wants_output(1)) return c.unsupported_here("RMS normalisation has no mean");
  bool statistics = c.wants_output(1) || c.wants_output(2);
  size_t outputs = !statistics ? 1 : rms ? 2 : 3;
  REDLINE_ASSIGN(Node * node, c.emit_node(op, std::move(operands), Attrs::of(attrs), outputs));
  c.set_output(0, node->output());
  if (statistics && !rms) c.set_output(1, node->output(1));
  if (statistics) c.set_output(2, node->output(outputs - 1));
  c.set_output(3, sum);
  return {};
}

Status import_skip_layer_norm(ImportContext& c) { return import_skip_norm(c, "layer_norm", 4); }
Status import_skip_rms_norm(ImportContext& c) { return import_skip_norm(c, "rms_norm", 3); }

}  // namespace

void register_import_norm(ImportRegistry& registry) {
  auto layer_norm = [](ImportContext& c) { return import_layer_norm(c, "layer_norm"); };
  auto rms_norm = [](ImportContext& c) { return import_layer_norm(c, "rms_norm"); };
  registry.add("BatchNormalization", import_batch_norm);
  registry.add("LayerNormalization", layer_norm);
  registry.add("RMSNormalization", rms_norm);
  // ONNX Runtime writes it in either domain.
  registry.add("SimplifiedLayerNormalization", rms_norm);
  registry.add({"com.microsoft", "SimplifiedLayerNormalization", rms_norm});
  registry.add({"com.microsoft", "LayerNormalization", layer_norm});
  registry.add({"com.microsoft", "SkipLayerNormalization", import_skip_layer_norm});
  registry.add({"com.microsoft", "SkipSimplifiedLayerNormalization", import_skip_rms_norm});
  registry.add("GroupNormalization", import_group_norm);
  registry.add("InstanceNormalization",
               [](ImportContext& c) { return c.import_same("instance_norm"); });
  registry.add("LpNormalization", [](ImportContext& c) { return c.import_same("lp_norm"); });
  registry.add("MeanVarianceNormalization",
               [](ImportContext& c) { return c.import_same("mean_variance_norm"); });
  registry.add("LRN", [](ImportContext& c) { return c.import_same("lrn"); });
  registry.add("NegativeLogLikelihoodLoss",
               [](ImportContext& c) { return c.import_same("nll_loss"); });
  registry.add("SoftmaxCrossEntropyLoss",
               [](ImportContext& c) { return c.import_same("softmax_cross_entropy_loss"); });
  registry.add("Det", [](ImportContext& c) { return c.import_same("det"); });
}

}  // namespace redline
