// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <optional>

#include "ir/rewrite.h"
#include "ops/conv.h"
#include "ops/elements.h"
#include "passes/pass.h"

namespace redline {
namespace {

// A factor for each index of one axis of the weights, or one for all.
using Factors = std::vector<double>;

std::vector<double> numbers(const Value* value) {
  return read_elements<double>(value->constant.view());
}

// Narrower types would be rounded once more, or overflow.
bool is_weight(const Value* value) {
  return value != nullptr && value->is_constant() && value->uses.size() == 1 &&
         (value->dtype() == DType::kFloat32 || value->dtype() == DType::kFloat64);
}

// What the node multiplies `x` by: a constant that has one element, or one for each index of
// `axis` (counted from the last) of x.
std::optional<Factors> factors_of(const Node* node, const Value* x, int axis) {
  bool div = node->is("div");
  if (!div && !node->is("mul")) return std::nullopt;
  Value* other = other_operand(node, x);
  if (other == nullptr || other == x || !other->is_constant() || !is_float(other->dtype())) {
    return std::nullopt;
  }
  if (div && node->input(0) != x) return std::nullopt;
  if (node->output()->type != x->type || !x->shape().has_rank()) return std::nullopt;
  const Dims& dims = other->constant.dims();
  if (dims.rank() > x->shape().rank()) return std::nullopt;
  for (int i = 0; i < dims.rank(); ++i) {
    if (dims[static_cast<size_t>(i)] != 1 && dims.rank() - 1 - i != axis) return std::nullopt;
  }
  Factors factors = numbers(other);
  for (double& factor : factors) {
    if (div) factor = 1 / factor;
    if (!std::isfinite(factor)) return std::nullopt;
  }
  return factors;
}

// A constant whose element i is that of `value` times factor(i).
template <class Factor>
Result<Value*> scaled(Value* value, Factor&& factor) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(value->dtype(), value->constant.dims()));
  std::vector<double> elements = numbers(value);
  for (size_t i = 0; i < elements.size(); ++i) elements[i] *= factor(static_cast<int64_t>(i));
  write_elements(elements, tensor.view());
  return value->graph->add_constant(std::move(tensor), value->name);
}

double pick(const Factors& factors, int64_t index) {
  return factors[factors.size() == 1 ? 0 : static_cast<size_t>(index)];
}

// matmul(x, w) * s = matmul(x, w * s), and with a bias: (matmul(x, w) + b) * s =
// matmul(x, w * s) + b * s. One factor goes into weights on either side.
Result<bool> fold_behind_matmul(Node* scale) {
  Value* x = nullptr;
  Node* product = nullptr;
  Node* sum = nullptr;
  for (Value* input : scale->inputs()) {
    if (input == nullptr) continue;
    sum = sole_producer(input, "add");
    product = sole_producer(input, "matmul");
    for (size_t i = 0; sum != nullptr && i < 2 && product == nullptr; ++i) {
      product = sole_producer(sum->input(i), "matmul");
    }
    x = input;
    if (product != nullptr) break;
  }
  if (product == nullptr) return false;
  size_t side = is_weight(product->input(1)) ? 1 : 0;
  Value* weights = product->input(side);
  std::optional<Factors> factors = factors_of(scale, x, 0);
  if (!factors || !is_weight(weights) || weights->shape().rank() < 2) return false;
  int64_t columns = weights->constant.dims().back();
  if (factors->size() != 1 && (side == 0 || static_cast<int64_t>(factors->size()) != columns)) {
    return false;
  }
  Value* bias = sum == nullptr ? nullptr : other_operand(sum, product->output());
  Value* scaled_bias = nullptr;
  if (sum != nullptr) {
    // Its rows have the length of the factors', or it is one number that they would widen.
    if (!is_weight(bias) || sum->output()->type != product->output()->type) return false;
    int64_t length = bias->shape().rank() == 0 ? 1 : bias->constant.dims().back();
    if (factors->size() != 1 && length != columns) return false;
    REDLINE_ASSIGN(scaled_bias,
                   scaled(bias, [&](int64_t i) { return pick(*factors, i % length); }));
  }
  REDLINE_ASSIGN(Value * scaled_weights,
                 scaled(weights, [&](int64_t i) { return pick(*factors, i % columns); }));
  product->set_input(side, scaled_weights);
  if (sum != nullptr) sum->set_input(sum->input(0) == bias ? 0 : 1, scaled_bias);
  x->name = scale->output()->name;  // that is what it computes now
  replace(scale, x);
  return true;
}

// matmul(x * s, w) = matmul(x, s * w) for s along the axis that is summed over, or one number.
Result<bool> fold_before_matmul(Node* product) {
  for (size_t side : {size_t{0}, size_t{1}}) {
    Value* weights = product->input(1 - side);
    Value* factor = product->input(side);
    if (!is_weight(weights) || weights->shape().rank() < 2) continue;
    Node* scale = sole_producer(factor, "mul");
    if (scale == nullptr) scale = sole_producer(factor, "div");
    if (scale == nullptr) continue;
    for (Value* x : scale->inputs()) {
      if (x == nullptr || x->is_constant()) continue;
      // On the right of the weights the summed axis is the last but one.
      std::optional<Factors> factors = factors_of(scale, x, side == 0 ? 0 : 1);
      if (!factors) continue;
      const Dims& dims = weights->constant.dims();
      int64_t columns = dims.back();
      int64_t rows = dims[dims.size() - 2];
      int64_t length = side == 0 ? rows : columns;
      if (factors->size() != 1 && static_cast<int64_t>(factors->size()) != length) continue;
      REDLINE_ASSIGN(Value * scaled_weights, scaled(weights, [&](int64_t i) {
                       return pick(*factors, side == 0 ? i / columns % rows : i % columns);
                     }));
      product->set_input(side, x);
      product->set_input(1 - side, scaled_weights);
      return true;
    }
  }
  return false;
}

// conv(x * s, w) = conv(x, w * s): padding is zeros before and after.
Result<bool> fold_before_conv(Node* conv) {
  const auto& attrs = conv->attrs<ConvAttrs>();
  Value* weights = conv->input(1);
  if (attrs.channels_last || !is_weight(weights) || weights->shape().rank() < 3) return false;
  Node* scale = sole_producer(conv->input(0), "mul");
  if (scale == nullptr) scale = sole_producer(conv->input(0), "div");
  if (scale == nullptr) return false;
  const Dims& dims = weights->constant.dims();
  int64_t area = dims.count(2, dims.rank());
  int64_t channels = dims[1];
  int64_t rows = dims[0] / attrs.group;  // of one group
  for (Value* x : scale->inputs()) {
    if (x == nullptr || x->is_constant()) continue;
    std::optional<Factors> factors = factors_of(scale, x, dims.rank() - 2);
    if (!factors) continue;
    if (factors->size() != 1 && static_cast<int64_t>(factors->size()) != channels * attrs.group) {
      continue;
    }
    REDLINE_ASSIGN(Value * scaled_weights, scaled(weights, [&](int64_t i) {
                     int64_t group = i / (area * channels) / rows;
                     return pick(*factors, group * channels + i / area % channels);
                   }));
    conv->set_input(0, x);
    conv->set_input(1, scaled_weights);
    return true;
  }
  return false;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_and_sweep(graph, [](Node* node) -> Result<bool> {
    if (node->num_outputs() != 1 || node->output()->uses.empty()) return false;
    if (node->is("matmul")) return fold_before_matmul(node);
    if (node->is("conv")) return fold_before_conv(node);
    return fold_behind_matmul(node);
  });
}

}  // namespace

void register_pass_fold_scale(PassRegistry& registry) {
  registry.add({"fold_scale", "factors beside a product go into its constant weights", run});
}

}  // namespace redline
