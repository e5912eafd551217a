// SPDX-License-Identifier: Apache-2.0
#include "ops/conv.h"

#include "onnx/import_rule.h"
#include "ops/causal_conv.h"
#include "ops/pointwise.h"

namespace redline {
namespace {

// The attribute only repeats the sizes of the weights; where both are known they must agree.
Status check_kernel_shape(ImportContext& c, size_t weights) {
  std::vector<int64_t> kernel = c.ints_attr("kernel_shape");
  const Value* w = c.input(weights);
  if (kernel.empty() || w == nullptr || !w->shape().has_rank()) return {};
  const Shape& shape = w->shape();
  bool same = static_cast<int>(kernel.size()) + 2 == shape.rank();
  for (int i = 2; same && i < shape.rank(); ++i) {
    same = !shape[i].is_const() || shape[i] == Dim(kernel[static_cast<size_t>(i - 2)]);
  }
  if (same) return {};
  return invalid_argument("kernel_shape does not agree with the weights ", w->type.to_string());
}

template <size_t weights>
Status import_conv(ImportContext& c, std::string_view op) {
  REDLINE_TRY(check_kernel_shape(c, weights));
  return c.import_same(op, {}, {"kernel_shape"});
}

// com.microsoft: conv(x, w, b?), then + z?, then an activation.
Status import_fused_conv(ImportContext& c) {
  REDLINE_TRY(check_kernel_shape(c, 1));
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<ConvAttrs>(), {},
                                           {"kernel_shape", "activation", "activation_params"}));
  REDLINE_ASSIGN(Value * y, c.emit("conv", {c.input(0), c.input(1), c.input(2)}, attrs));
  if (c.input(3) != nullptr) {
    REDLINE_ASSIGN(y, c.emit("add", {y, c.input(3)}));
  }
  std::string activation = c.string_attr("activation");
  std::vector<float> p = c.floats_attr("activation_params");
  size_t expected = activation == "LeakyRelu"                             ? 1
                    : activation == "Clip" || activation == "HardSigmoid" ? 2
                                                                          : 0;
  if (p.size() < expected) return invalid_argument("activation_params needs ", expected, " values");
  if (activation == "Relu") {
    REDLINE_ASSIGN(y, c.emit("relu", {y}));
  } else if (activation == "Sigmoid") {
    REDLINE_ASSIGN(y, c.emit("sigmoid", {y}));
  } else if (activation == "Tanh") {
    REDLINE_ASSIGN(y, c.emit("tanh", {y}));
  } else if (activation == "LeakyRelu") {
    REDLINE_ASSIGN(y, c.emit("leaky_relu", {y}, LeakyReluAttrs{p[0]}));
  } else if (activation == "HardSigmoid") {
    REDLINE_ASSIGN(y, c.emit("hard_sigmoid", {y}, HardSigmoidAttrs{p[0], p[1]}));
  } else if (activation == "Clip") {
    Value* low = c.constant_scalar(y->dtype(), p[0]);
    Value* high = c.constant_scalar(y->dtype(), p[1]);
    REDLINE_ASSIGN(y, c.emit("clip", {y, low, high}));
  } else if (!activation.empty()) {
    return c.unsupported_here("activation '" + activation + "'; nearest: Relu");
  }
  c.set_output(0, y);
  return {};
}

Status import_causal_conv(ImportContext& c) {
  std::string activation = c.string_attr("activation", "none");
  bool silu = activation == "silu" || activation == "swish";
  if (!silu && activation != "none") {
    return c.unsupported_here("activation '" + activation + "'; nearest: silu");
  }
  CausalConvAttrs attrs{silu ? CausalActivation::kSilu : CausalActivation::kNone};
  REDLINE_ASSIGN(Node * node, c.emit_node("causal_conv_with_state", c.inputs(), Attrs::of(attrs),
                                          c.num_outputs()));
  c.set_outputs(node);
  return {};
}

}  // namespace

void register_import_conv(ImportRegistry& registry) {
  registry.add("Conv", [](ImportContext& c) { return import_conv<1>(c, "conv"); });
  registry.add("ConvTranspose",
               [](ImportContext& c) { return import_conv<1>(c, "conv_transpose"); });
  registry.add("ConvInteger", [](ImportContext& c) { return import_conv<1>(c, "conv_integer"); });
  registry.add("DeformConv", [](ImportContext& c) { return import_conv<1>(c, "deform_conv"); });
  registry.add("CausalConvWithState", import_causal_conv);
  registry.add({"com.microsoft", "FusedConv", import_fused_conv});
}

}  // namespace redline
