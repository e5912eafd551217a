// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "ir/rewrite.h"
#include "ops/elements.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "passes/pass.h"

namespace redline {
namespace {

// y[c] = x * scale[c] + bias[c]
struct ChannelAffine {
  std::vector<double> scale, bias;
};

// A norm of [n, groups, ...] over all that is not a sample or a group, by constants for each group.
struct GroupedNorm {
  int64_t groups = 0;
  float epsilon = 0;
  std::vector<double> scale, bias;  // for each group
};

std::optional<GroupedNorm> read_norm(const Node* node) {
  if (node == nullptr || !node->input(0)->shape().has_rank()) return std::nullopt;
  const Shape& shape = node->input(0)->shape();
  if (shape.rank() < 3 || !shape[1].is_const() || shape[1].value() < 1) return std::nullopt;
  GroupedNorm norm;
  norm.groups = shape[1].value();
  auto count = static_cast<size_t>(norm.groups);
  if (node->is("instance_norm")) {
    if (!node->input(1)->is_constant() || !node->input(2)->is_constant()) return std::nullopt;
    norm.epsilon = node->attrs<InstanceNormAttrs>().epsilon;
    norm.scale = read_elements<double>(node->input(1)->constant.view());
    norm.bias = read_elements<double>(node->input(2)->constant.view());
    return norm;
  }
  if (!node->is("layer_norm")) return std::nullopt;
  const auto& attrs = node->attrs<LayerNormAttrs>();
  int64_t axis = attrs.axis < 0 ? attrs.axis + shape.rank() : attrs.axis;
  std::optional<double> scale = splat_constant(node->input(1));
  std::optional<double> bias = node->input(2) == nullptr ? 0.0 : splat_constant(node->input(2));
  if (axis != 2 || !scale || !bias) return std::nullopt;
  norm.epsilon = attrs.epsilon;
  norm.scale.assign(count, *scale);
  norm.bias.assign(count, *bias);
  return norm;
}

// The constant operand of the only reader, when it has one number for each channel of [n, c, ...],
// or one for all.
std::optional<std::vector<double>> channel_operand(const Value* value, std::string_view op,
                                                   int64_t channels) {
  Node* user = sole_user(value, op);
  if (user == nullptr || !same_type(user->output(), value)) return std::nullopt;
  const Value* other = other_operand(user, value);
  if (other == value || !other->is_constant()) return std::nullopt;
  const Dims& dims = other->constant.dims();
  int64_t rank = value->shape().rank();
  int64_t count = other->constant.count();
  std::vector<double> numbers = read_elements<double>(other->constant.view());
  if (count == 1) return std::vector<double>(static_cast<size_t>(channels), numbers[0]);
  int64_t at = dims.rank() - (rank - 1);  // of the channels' axis
  if (at < 0 || count != channels || dims[static_cast<size_t>(at)] != channels) return std::nullopt;
  return numbers;
}

Result<Value*> channel_constant(Graph& graph, DType dtype, const std::vector<double>& numbers) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, Dims{static_cast<int64_t>(numbers.size())}));
  write_elements(numbers, tensor.view());
  return graph.add_constant(std::move(tensor));
}

// reshape(norm(reshape(x, [n, groups, ...])), sizes of x), then a scale and a bias for each
// channel.
Result<bool> rewrite(Node* node) {
  if (!node->is("reshape") || node->input(0)->uses.size() != 1) return false;
  Node* inner = node->input(0)->producer;
  if (inner == nullptr || node->input(0)->index != 0) return false;
  std::optional<GroupedNorm> norm = read_norm(inner);
  Node* cut = norm ? producer(inner->input(0), "reshape") : nullptr;
  if (cut == nullptr) return false;
  Value* x = cut->input(0);
  if (!same_type(x, node->output()) || !x->shape().has_rank() || x->shape().rank() < 2) {
    return false;
  }
  std::optional<int64_t> channels = x->shape()[1].as_const();
  bool grouped = channels && *channels > 0 && *channels % norm->groups == 0 &&
                 x->shape()[0] == cut->output()->shape()[0];
  if (!grouped) return false;
  for (const Value* output : inner->outputs()) {
    if (output->index > 0 && !output->uses.empty()) return false;
  }
  ChannelAffine affine;
  for (int64_t c = 0; c < *channels; ++c) {
    auto group = static_cast<size_t>(c / (*channels / norm->groups));
    affine.scale.push_back(norm->scale[group]);
    affine.bias.push_back(norm->bias[group]);
  }
  Node* last = node;
  if (auto scale = channel_operand(last->output(), "mul", *channels)) {
    for (size_t c = 0; c < scale->size(); ++c) {
      affine.scale[c] *= (*scale)[c];
      affine.bias[c] *= (*scale)[c];
    }
    last = last->output()->single_user();
  }
  if (auto bias = channel_operand(last->output(), "add", *channels)) {
    for (size_t c = 0; c < bias->size(); ++c) affine.bias[c] += (*bias)[c];
    last = last->output()->single_user();
  }
  Graph& graph = *node->graph();
  REDLINE_ASSIGN(Value * scale, channel_constant(graph, x->dtype(), affine.scale));
  REDLINE_ASSIGN(Value * bias, channel_constant(graph, x->dtype(), affine.bias));
  REDLINE_ASSIGN(Value * y, insert(last, "group_norm", {x, scale, bias},
                                   GroupNormAttrs{norm->groups, norm->epsilon}));
  graph.replace_uses(last->output(), y);  // what is then dead goes at the end
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_group_norm(PassRegistry& registry) {
  registry.add({"recognise_group_norm",
                "GroupNorm from a norm of reshaped channels with an affine part behind it", run});
}

}  // namespace redline
