// SPDX-License-Identifier: Apache-2.0
#include "passes/half_rules.h"

#include <algorithm>
#include <iterator>

#include "ops/batch_norm.h"
#include "ops/scatter.h"

namespace redline {
namespace {

constexpr std::string_view kGaining[] = {
    "matmul", "gemm", "conv", "conv_transpose", "einsum", "attention", "lstm", "gru", "rnn"};

constexpr std::string_view kCarrying[] = {
    // Norms, softmax and pools, which compute in f32 inside.
    "batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm", "mean_variance_norm",
    "lp_norm", "lrn", "softmax", "log_softmax", "hardmax", "max_pool", "average_pool",
    "global_max_pool", "global_average_pool", "reduce_mean", "reduce_max", "reduce_min",
    "rotary_embedding", "resize", "grid_sample",
    // Pointwise ops whose results are about as large as their operands, or bounded.
    "abs", "neg", "sign", "floor", "ceil", "round", "trunc", "sqrt", "erf", "tanh", "sigmoid",
    "relu", "leaky_relu", "elu", "selu", "celu", "hard_sigmoid", "hard_swish", "softplus",
    "softsign", "gelu", "swish", "mish", "thresholded_relu", "shrink", "add", "sub", "mul", "div",
    "max", "min", "prelu", "clip", "where",
    // Movement without the trait.
    "trilu", "depth_to_space", "space_to_depth", "scatter_elements", "scatter_nd",
    "gather_elements", "gather_nd", "flatten", "unsqueeze"};

constexpr std::string_view kFollowing[] = {"shape", "size", "arg_max", "arg_min"};

struct Kept {
  std::string_view op;
  std::string_view reason;
};

constexpr std::string_view kLeavesRange = "its results spread too far for 16 bits";
constexpr std::string_view kAccumulates = "rounding adds up along the axis";
constexpr std::string_view kCoordinates = "its operands are coordinates";
constexpr std::string_view kAngles = "large angles need every bit";

constexpr Kept kKept[] = {
    {"exp", kLeavesRange},
    {"expm1", kLeavesRange},
    {"pow", kLeavesRange},
    {"square", kLeavesRange},
    {"reciprocal", kLeavesRange},
    {"rsqrt", kLeavesRange},
    {"sinh", kLeavesRange},
    {"cosh", kLeavesRange},
    {"tan", kLeavesRange},
    {"reduce_sum", kLeavesRange},
    {"reduce_prod", kLeavesRange},
    {"reduce_l1", kLeavesRange},
    {"reduce_l2", kLeavesRange},
    {"reduce_sum_square", kLeavesRange},
    {"reduce_log_sum", kLeavesRange},
    {"reduce_log_sum_exp", kLeavesRange},
    {"lp_pool", kLeavesRange},
    {"global_lp_pool", kLeavesRange},
    {"det", kLeavesRange},
    {"cum_sum", kAccumulates},
    {"cum_prod", kAccumulates},
    {"linear_attention", kAccumulates},
    {"causal_conv_with_state", kAccumulates},
    {"sin", kAngles},
    {"cos", kAngles},
    {"mod", kAngles},
    {"range", kCoordinates},
    {"affine_grid", kCoordinates},
    {"deform_conv", kCoordinates},
    {"roi_align", kCoordinates},
    {"max_roi_pool", kCoordinates},
    {"non_max_suppression", kCoordinates},
    {"nll_loss", "losses are compared with small differences"},
    {"softmax_cross_entropy_loss", "losses are compared with small differences"},
    {"quantize_linear", "a rounded scale moves the steps of integers"},
    {"dequantize_linear", "a rounded scale moves the steps of integers"},
    {"dynamic_quantize_linear", "a rounded scale moves the steps of integers"},
    {"cast", "it makes f32 of another type"},
    {"if", "the types of nested graphs stay"},
    {"loop", "the types of nested graphs stay"},
    {"scan", "the types of nested graphs stay"}};

constexpr std::string_view kSettling[] = {
    "softmax",           "log_softmax", "hardmax", "sigmoid",    "tanh",     "hard_sigmoid",
    "softsign",          "erf",         "sign",    "layer_norm", "rms_norm", "group_norm",
    "lp_norm",           "arg_max",     "arg_min", "shape",      "size",     "instance_norm",
    "mean_variance_norm"};

bool is_in(std::span<const std::string_view> names, const Node& node) {
  return std::find(names.begin(), names.end(), node.op().name) != names.end();
}

// Operands beyond the list repeat its last entry, which is variadic.
bool is_named(const Node& node, size_t operand, std::string_view name) {
  return operand < node.op().inputs.size() && node.op().inputs[operand].name == name;
}

std::string_view kept_by_attributes(const Node& node) {
  if (node.is("batch_norm") && node.attrs<BatchNormAttrs>().training_mode) {
    return "training computes statistics";
  }
  if (node.is("scatter_elements") &&
      node.attrs<ScatterElementsAttrs>().reduction != ScatterReduction::kNone) {
    return kAccumulates;
  }
  if (node.is("scatter_nd") && node.attrs<ScatterNdAttrs>().reduction != ScatterReduction::kNone) {
    return kAccumulates;
  }
  if (node.is("attention") && node.num_outputs() > 3 && !node.output(3)->uses.empty()) {
    return "its scores are read";
  }
  if (node.is("mul") && node.input(0) == node.input(1)) return kLeavesRange;
  if (node.is("div") && !node.input(1)->is_constant()) return "its divisor may vanish";
  return "";
}

}  // namespace

HalfRule half_rule(const Node& node) {
  if (std::string_view reason = kept_by_attributes(node); !reason.empty()) {
    return {HalfUse::kKeeps, reason};
  }
  if (is_in(kGaining, node)) return {HalfUse::kGains, ""};
  if (is_in(kFollowing, node)) return {HalfUse::kFollows, ""};
  if (is_in(kCarrying, node) || node.op().has(kTraitMovement)) return {HalfUse::kCarries, ""};
  const auto* kept = std::find_if(std::begin(kKept), std::end(kKept),
                                  [&](const Kept& k) { return node.is(k.op); });
  return {HalfUse::kKeeps,
          kept != std::end(kKept) ? kept->reason : "it is not known to be safe in 16 bits"};
}

bool is_half_operand(const Node& node, size_t operand) {
  if (operand == 0) return true;
  return !node.is("batch_norm") && !node.is("resize") && !node.is("grid_sample");
}

bool may_saturate(const Node& node, size_t operand) {
  if (node.is("clip")) return operand > 0;
  return node.is("attention") && is_named(node, operand, "mask");
}

bool is_added(const Node& node, size_t operand) {
  bool is_bias = is_named(node, operand, "bias") || (operand == 2 && is_named(node, operand, "b"));
  return is_bias || node.is("add") || node.is("sub");
}

bool is_final_step(const Node& node) {
  constexpr std::string_view kFinal[] = {"softmax", "log_softmax", "sigmoid", "hard_sigmoid"};
  return is_in(kFinal, node) || node.op().has(kTraitView);
}

bool settles(const Node& node) { return is_in(kSettling, node); }

}  // namespace redline
