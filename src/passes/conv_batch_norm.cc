// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "ir/rewrite.h"
#include "ops/batch_norm.h"
#include "ops/conv.h"
#include "ops/elements.h"
#include "ops/gemm.h"
#include "passes/pass.h"

namespace redline {
namespace {

// y = x * scale[channel] + shift[channel]
struct Affine {
  std::vector<double> scale;
  std::vector<double> shift;
};

std::optional<std::vector<double>> constant_vector(const Value* value) {
  if (value == nullptr || !value->is_constant() || value->constant.rank() != 1) {
    return std::nullopt;
  }
  return read_elements<double>(value->constant.view());
}

std::optional<Affine> affine_of_batch_norm(const Node* node) {
  const auto& attrs = node->attrs<BatchNormAttrs>();
  if (attrs.training_mode || node->num_outputs() != 1) return std::nullopt;
  auto scale = constant_vector(node->input(1));
  auto bias = constant_vector(node->input(2));
  auto mean = constant_vector(node->input(3));
  auto var = constant_vector(node->input(4));
  if (!scale || !bias || !mean || !var) return std::nullopt;
  Affine result;
  for (size_t i = 0; i < scale->size(); ++i) {
    double factor = (*scale)[i] / std::sqrt((*var)[i] + static_cast<double>(attrs.epsilon));
    if (!std::isfinite(factor)) return std::nullopt;
    result.scale.push_back(factor);
    result.shift.push_back((*bias)[i] - (*mean)[i] * factor);
  }
  return result;
}

// A constant that has one value a channel (axis 1 of `rank`), or one for all.
std::optional<std::vector<double>> per_channel(const Value* constant, int rank, int64_t channels) {
  if (!constant->is_constant() || !is_float(constant->dtype())) return std::nullopt;
  const Tensor& tensor = constant->constant;
  if (tensor.rank() > rank) return std::nullopt;
  for (int i = 0; i < tensor.rank(); ++i) {
    int axis = rank - tensor.rank() + i;
    int64_t size = tensor.dims()[static_cast<size_t>(i)];
    if (size != 1 && !(axis == 1 && size == channels)) return std::nullopt;
  }
  std::vector<double> values = read_elements<double>(tensor.view());
  if (values.empty()) return std::nullopt;
  if (values.size() == 1) values.resize(static_cast<size_t>(channels), values[0]);
  return values;
}

// What the node does to the channels of operand `x`; none when it does something else.
std::optional<Affine> affine_of(const Node* node, const Value* x, int rank, int64_t channels) {
  if (node->is("batch_norm")) {
    if (node->input(0) != x) return std::nullopt;
    std::optional<Affine> affine = affine_of_batch_norm(node);
    if (!affine || static_cast<int64_t>(affine->scale.size()) != channels) return std::nullopt;
    return affine;
  }
  bool add = node->is("add") || (node->is("sub") && node->input(0) == x);
  bool mul = node->is("mul") || (node->is("div") && node->input(0) == x);
  if (!add && !mul) return std::nullopt;
  auto values = per_channel(other_operand(node, x), rank, channels);
  if (!values) return std::nullopt;
  auto count = static_cast<size_t>(channels);
  Affine result{std::vector<double>(count, 1), std::vector<double>(count, 0)};
  for (size_t i = 0; i < count; ++i) {
    double v = (*values)[i];
    if (node->is("sub")) v = -v;
    if (node->is("div")) v = 1 / v;
    if (!std::isfinite(v)) return std::nullopt;
    (add ? result.shift : result.scale)[i] = v;
  }
  return result;
}

Result<Value*> constant_like(Graph& graph, const Value* like, const Dims& dims,
                             const std::vector<double>& values) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(like->dtype(), dims));
  write_elements(values, tensor.view());
  return graph.add_constant(std::move(tensor), like->name);
}

// Multiplies element i of the weights by scale[channel_of(i)].
template <class Fn>
Result<Value*> scaled(Graph& graph, const Value* weights, const Affine& affine, Fn&& channel_of) {
  std::vector<double> values = read_elements<double>(weights->constant.view());
  for (size_t i = 0; i < values.size(); ++i) values[i] *= affine.scale[channel_of(i)];
  return constant_like(graph, weights, weights->constant.dims(), values);
}

Result<Value*> new_bias(Graph& graph, const Value* bias, const Value* weights,
                        const Affine& affine) {
  std::vector<double> values(affine.scale.size(), 0);
  if (bias != nullptr) values = read_elements<double>(bias->constant.view());
  if (values.size() == 1) values.resize(affine.scale.size(), values[0]);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = values[i] * affine.scale[i] + affine.shift[i];
  }
  REDLINE_ASSIGN(Value * result, constant_like(graph, bias != nullptr ? bias : weights,
                                               {static_cast<int64_t>(values.size())}, values));
  if (bias == nullptr && !weights->name.empty()) result->name = weights->name + ".bias";
  return result;
}

// Output channels of a convolution or product with constant weights; none when it is neither.
std::optional<int64_t> channels_of(const Node* anchor) {
  const Value* w = anchor->input(1);
  if (w == nullptr || !w->is_constant() || !is_float(w->dtype())) return std::nullopt;
  const Dims& dims = w->constant.dims();
  const Value* bias = anchor->input(2);
  if (anchor->is("conv")) {
    if (bias != nullptr && !bias->is_constant()) return std::nullopt;
    return dims[0];
  }
  if (anchor->is("conv_transpose")) {
    if (bias != nullptr && !bias->is_constant()) return std::nullopt;
    return dims[1] * anchor->attrs<ConvTransposeAttrs>().group;
  }
  if (anchor->is("gemm")) {
    const auto& attrs = anchor->attrs<GemmAttrs>();
    int64_t n = dims[attrs.trans_b ? 0 : 1];
    // A bias of one row.
    if (bias != nullptr && (attrs.beta != 1 || !per_channel(bias, 2, n))) return std::nullopt;
    return n;
  }
  return std::nullopt;
}

Result<bool> fold(Node* tail) {
  for (size_t i = 0; i < std::min<size_t>(2, tail->num_inputs()); ++i) {
    Value* x = tail->input(i);
    Node* anchor = x == nullptr || x->uses.size() != 1 ? nullptr : x->producer;
    if (anchor == nullptr || x->index != 0 || !x->shape().has_rank()) continue;
    std::optional<int64_t> channels = channels_of(anchor);
    if (!channels || !same_type(x, tail->output())) continue;
    std::optional<Affine> affine = affine_of(tail, x, x->shape().rank(), *channels);
    if (!affine) continue;
    Graph& graph = *tail->graph();
    Value* w = anchor->input(1);
    const Dims& dims = w->constant.dims();
    Value* weights = nullptr;
    if (anchor->is("conv")) {
      auto block = static_cast<size_t>(std::max<int64_t>(1, dims.count(1, dims.rank())));
      REDLINE_ASSIGN(weights, scaled(graph, w, *affine, [&](size_t e) { return e / block; }));
    } else if (anchor->is("conv_transpose")) {
      // w is [c, m/group, ...]; the channels of c's group g follow those of g - 1.
      auto area = static_cast<size_t>(std::max<int64_t>(1, dims.count(2, dims.rank())));
      auto per_group = static_cast<size_t>(dims[1]);
      auto group = static_cast<size_t>(anchor->attrs<ConvTransposeAttrs>().group);
      auto inputs_per_group = std::max<size_t>(1, static_cast<size_t>(dims[0]) / group);
      REDLINE_ASSIGN(weights, scaled(graph, w, *affine, [&](size_t e) {
                       size_t row = e / area;
                       return row / per_group / inputs_per_group * per_group + row % per_group;
                     }));
    } else {
      const auto& attrs = anchor->attrs<GemmAttrs>();
      auto n = static_cast<size_t>(*channels);
      auto k = static_cast<size_t>(dims[attrs.trans_b ? 1 : 0]);
      REDLINE_ASSIGN(weights, scaled(graph, w, *affine,
                                     [&](size_t e) { return attrs.trans_b ? e / k : e % n; }));
    }
    Value* bias = anchor->input(2);
    bool shifts = std::any_of(affine->shift.begin(), affine->shift.end(),
                              [](double shift) { return shift != 0; });
    if (bias != nullptr || shifts) {
      REDLINE_ASSIGN(bias, new_bias(graph, bias, w, *affine));
    }
    std::vector<Value*> inputs = {anchor->input(0), weights};
    if (bias != nullptr) inputs.push_back(bias);
    anchor->set_inputs(std::move(inputs));
    if (!tail->output()->name.empty()) x->name = tail->output()->name;
    replace(tail, x);
    return true;
  }
  return false;
}

// batch_norm with constant statistics that nothing took: two pointwise ops, which fuse.
Result<bool> spell_out(Node* node) {
  std::optional<Affine> affine = affine_of_batch_norm(node);
  const Shape& shape = node->input(0)->shape();
  if (!affine || !shape.has_rank() || shape.rank() < 2) return false;
  Value* x = node->input(0);
  Dims dims;
  dims.push_back(static_cast<int64_t>(affine->scale.size()));
  for (int i = 2; i < shape.rank(); ++i) dims.push_back(1);
  Graph& graph = *node->graph();
  REDLINE_ASSIGN(Tensor scale, Tensor::create(x->dtype(), dims));
  REDLINE_ASSIGN(Tensor shift, Tensor::create(x->dtype(), dims));
  write_elements(affine->scale, scale.view());
  write_elements(affine->shift, shift.view());
  REDLINE_ASSIGN(Value * product, insert(node, "mul", {x, graph.add_constant(scale)}));
  REDLINE_ASSIGN(Value * sum, insert(node, "add", {product, graph.add_constant(shift)}));
  if (!same_type(sum, node->output())) {
    graph.erase(sum->producer);
    graph.erase(product->producer);
    return false;
  }
  replace(node, sum);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  REDLINE_ASSIGN(bool folded, rewrite_nodes(graph, [](Node* node) -> Result<bool> {
                   if (node->num_outputs() != 1 || node->output()->uses.empty()) return false;
                   return fold(node);
                 }));
  REDLINE_ASSIGN(bool spelt, rewrite_nodes(graph, [](Node* node) -> Result<bool> {
                   return node->is("batch_norm") ? spell_out(node) : Result<bool>(false);
                 }));
  return folded || spelt;
}

}  // namespace

void register_pass_conv_batch_norm(PassRegistry& registry) {
  registry.add({"conv_batch_norm",
                "convolutions and products take the scales and shifts of channels behind them",
                run});
}

}  // namespace redline
