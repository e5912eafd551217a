// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ir/rewrite.h"
#include "ops/batch_norm.h"
#include "ops/conv.h"
#include "ops/elements.h"
#include "passes/pass.h"

namespace redline {
namespace {

// y = x * scale + shift for each channel.
struct Affine {
  std::vector<double> scale;
  std::vector<double> shift;
};

std::vector<double> numbers(const Value* value) {
  return read_elements<double>(value->constant.view());
}

// Does a constant operand have one value, or one for each channel of images of this rank?
std::optional<std::vector<double>> per_channel(const Value* value, int rank, int64_t channels) {
  if (!value->is_constant() || !is_float(value->dtype())) return std::nullopt;
  const Dims& dims = value->constant.dims();
  int channel_axis = dims.rank() - (rank - 1);
  if (dims.rank() > rank) return std::nullopt;
  for (int i = 0; i < dims.rank(); ++i) {
    int64_t size = dims[static_cast<size_t>(i)];
    if (size != 1 && (i != channel_axis || size != channels)) return std::nullopt;
  }
  std::vector<double> values = numbers(value);
  if (values.size() == 1) values.resize(static_cast<size_t>(channels), values[0]);
  return values;
}

std::optional<Affine> affine_of_batch_norm(const Node* node) {
  const auto& attrs = node->attrs<BatchNormAttrs>();
  if (attrs.training_mode || node->num_outputs() != 1) return std::nullopt;
  for (size_t i = 1; i < 5; ++i) {
    if (node->input(i) == nullptr || !node->input(i)->is_constant()) return std::nullopt;
  }
  std::vector<double> scale = numbers(node->input(1));
  std::vector<double> shift = numbers(node->input(2));
  std::vector<double> mean = numbers(node->input(3));
  std::vector<double> variance = numbers(node->input(4));
  for (size_t i = 0; i < scale.size(); ++i) {
    scale[i] /= std::sqrt(variance[i] + static_cast<double>(attrs.epsilon));
    shift[i] -= mean[i] * scale[i];
  }
  return Affine{std::move(scale), std::move(shift)};
}

// The node as an affine map of the image `x`.
std::optional<Affine> affine_of(const Node* node, const Value* x, int64_t channels) {
  if (node->is("batch_norm") && node->input(0) == x) return affine_of_batch_norm(node);
  bool add = node->is("add");
  bool sub = node->is("sub");
  bool mul = node->is("mul");
  bool div = node->is("div");
  if (!add && !sub && !mul && !div) return std::nullopt;
  Value* other = other_operand(node, x);
  if (other == nullptr || other == x) return std::nullopt;
  if ((sub || div) && node->input(0) != x) return std::nullopt;
  if (node->output()->type != x->type) return std::nullopt;
  std::optional<std::vector<double>> values = per_channel(other, x->shape().rank(), channels);
  if (!values) return std::nullopt;
  Affine affine{std::vector<double>(values->size(), 1), std::vector<double>(values->size(), 0)};
  for (size_t i = 0; i < values->size(); ++i) {
    double v = (*values)[i];
    if (add) affine.shift[i] = v;
    if (sub) affine.shift[i] = -v;
    if (mul) affine.scale[i] = v;
    if (div) affine.scale[i] = 1 / v;
  }
  return affine;
}

Result<Value*> constant_like(Graph& graph, DType dtype, const Dims& dims,
                             const std::vector<double>& values) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  write_elements(values, tensor.view());
  return graph.add_constant(std::move(tensor));
}

// conv(x, w, b) * scale + shift = conv(x, w * scale, b * scale + shift)
Result<bool> fold_behind(Node* conv) {
  Value* w = conv->input(1);
  Value* b = conv->input(2);
  if (!w->is_constant() || (b != nullptr && !b->is_constant())) return false;
  if (!is_float(w->dtype()) || !conv->output()->shape().has_rank()) return false;
  Node* user = conv->output()->single_user();
  if (user == nullptr || user->graph() != conv->graph()) return false;
  bool transposed = conv->is("conv_transpose");
  const Dims& dims = w->constant.dims();
  int64_t group =
      transposed ? conv->attrs<ConvTransposeAttrs>().group : conv->attrs<ConvAttrs>().group;
  bool last = transposed ? conv->attrs<ConvTransposeAttrs>().channels_last
                         : conv->attrs<ConvAttrs>().channels_last;
  if (last) return false;
  int64_t channels = transposed ? dims[1] * group : dims[0];
  std::optional<Affine> affine = affine_of(user, conv->output(), channels);
  if (!affine || static_cast<int64_t>(affine->scale.size()) != channels) return false;
  for (int64_t i = 0; i < channels; ++i) {
    auto at = static_cast<size_t>(i);
    if (!std::isfinite(affine->scale[at]) || !std::isfinite(affine->shift[at])) return false;
  }
  std::vector<double> weights = numbers(w);
  int64_t area = dims.count(2, dims.rank());
  int64_t rows = dims[0] / group;
  for (size_t i = 0; i < weights.size(); ++i) {
    auto position = static_cast<int64_t>(i);
    int64_t channel = position / (area * dims[1]);
    if (transposed) channel = channel / rows * dims[1] + position / area % dims[1];
    weights[i] *= affine->scale[static_cast<size_t>(channel)];
  }
  std::vector<double> bias = affine->shift;
  if (b != nullptr) {
    std::vector<double> before = numbers(b);
    for (size_t i = 0; i < bias.size(); ++i) bias[i] += before[i] * affine->scale[i];
  }
  Graph& graph = *conv->graph();
  REDLINE_ASSIGN(Value * new_w, constant_like(graph, w->dtype(), dims, weights));
  REDLINE_ASSIGN(Value * new_b, constant_like(graph, w->dtype(), {channels}, bias));
  new_w->name = w->name;
  conv->set_inputs({conv->input(0), new_w, new_b});
  conv->output()->name = user->output()->name;  // that is what it computes now
  replace(user, conv->output());
  return true;
}

// A batch_norm that stands elsewhere is a product and a sum, which join a region.
Result<bool> expand_batch_norm(Node* node) {
  std::optional<Affine> affine = affine_of_batch_norm(node);
  const Value* x = node->input(0);
  if (!affine || !x->shape().has_rank() || x->shape().rank() < 2 || !is_float(x->dtype())) {
    return false;
  }
  Dims dims = {static_cast<int64_t>(affine->scale.size())};
  for (int i = 2; i < x->shape().rank(); ++i) dims.push_back(1);
  Graph& graph = *node->graph();
  REDLINE_ASSIGN(Value * scale, constant_like(graph, x->dtype(), dims, affine->scale));
  REDLINE_ASSIGN(Value * shift, constant_like(graph, x->dtype(), dims, affine->shift));
  REDLINE_ASSIGN(Value * product, insert(node, "mul", {node->input(0), scale}));
  REDLINE_ASSIGN(Value * sum, insert(node, "add", {product, shift}));
  replace(node, sum);
  return true;
}

Result<bool> fold(Node* node) {
  for (Value* input : node->inputs()) {
    Node* conv = producer(input, "conv");
    if (conv == nullptr) conv = producer(input, "conv_transpose");
    if (conv != nullptr && conv->output()->single_user() == node) return fold_behind(conv);
  }
  return false;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_nodes(graph, [](Node* node) -> Result<bool> {
    REDLINE_ASSIGN(bool folded, fold(node));
    if (folded) return true;
    return node->is("batch_norm") ? expand_batch_norm(node) : Result<bool>(false);
  });
}

}  // namespace

void register_pass_fold_affine(PassRegistry& registry) {
  registry.add(
      {"fold_affine", "scales and shifts of channels go into the convolution before", run});
}

}  // namespace redline
