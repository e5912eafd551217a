// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"
#include "ops/attention.h"
#include "ops/host_values.h"
#include "ops/split.h"
#include "passes/pass.h"

namespace redline {
namespace {

constexpr size_t kPastK = 4;

// The split whose only results are this attention's queries, keys and values in that order; null
// where there is none.
Node* split_of(const Node& attention) {
  Node* split = attention.input(0)->producer;
  if (split == nullptr || !split->is("split") || split->num_outputs() != 3) return nullptr;
  for (size_t i = 0; i < 3; ++i) {
    const Value* part = split->output(i);
    if (attention.input(i) != part || part->single_user() != &attention) return nullptr;
  }
  return split;
}

// What is split; null where it is not along rows.
Value* packed_by_split(const Node& attention) {
  Node* split = split_of(attention);
  if (split == nullptr) return nullptr;
  int64_t axis = split->attrs<SplitAttrs>().axis;
  return axis == 2 || axis == -1 ? split->input(0) : nullptr;
}

// x w + b, of which only the attention reads the result. Without b: null.
struct Projection {
  Node* product = nullptr;
  Value* bias = nullptr;

  const Tensor& weights() const { return product->input(1)->constant; }
  int64_t columns() const { return weights().dims()[1]; }
};

bool is_bias(const Value* value, const Projection& of) {
  return value != nullptr && value->is_constant() && value->dtype() == of.weights().dtype() &&
         value->constant.count() == of.columns() && value->constant.rank() >= 1 &&
         value->constant.dims().back() == of.columns();
}

std::optional<Projection> projection_of(const Node& attention, size_t operand) {
  Value* result = attention.input(operand);
  Node* last = result->producer;
  if (last == nullptr || result->single_user() != &attention) return std::nullopt;
  Projection made{.product = last};
  for (size_t i = 0; last->is("add") && i < 2; ++i) {
    Node* product = last->input(i)->producer;
    if (product == nullptr || !product->is("matmul") || sole_user(last->input(i), "add") != last) {
      continue;
    }
    made = {product, last->input(1 - i)};
  }
  if (!made.product->is("matmul")) return std::nullopt;
  const Value* weights = made.product->input(1);
  if (!weights->is_constant() || weights->constant.rank() != 2 || weights->constant.count() == 0 ||
      dtype_bits(weights->dtype()) < 8) {
    return std::nullopt;
  }
  if (made.bias != nullptr && !is_bias(made.bias, made)) return std::nullopt;
  return made;
}

// One product instead of the three; null where they are not alike.
Result<Value*> packed_by_product(Node* attention) {
  std::vector<Projection> all;
  for (size_t i = 0; i < 3; ++i) {
    std::optional<Projection> one = projection_of(*attention, i);
    if (!one) return nullptr;
    all.push_back(*one);
  }
  const Projection& q = all[0];
  for (const Projection& other : all) {
    bool same = other.product->input(0) == q.product->input(0) &&
                other.product->graph() == attention->graph() &&
                other.product->attrs() == q.product->attrs() &&
                other.weights().dtype() == q.weights().dtype() &&
                other.weights().dims()[0] == q.weights().dims()[0] &&
                (other.bias == nullptr) == (q.bias == nullptr);
    if (!same) return nullptr;
  }
  std::vector<Tensor> weights;
  std::vector<Tensor> biases;
  for (const Projection& one : all) {
    weights.push_back(one.weights());
    if (one.bias != nullptr) biases.push_back(one.bias->constant.reshaped({one.columns()}));
  }
  Graph& graph = *attention->graph();
  REDLINE_ASSIGN(Tensor joined, concat_tensors(weights, 1));
  Value* w = graph.add_constant(std::move(joined), q.product->input(1)->name);
  REDLINE_ASSIGN(Value * result,
                 insert(attention, "matmul", {q.product->input(0), w}, q.product->attrs()));
  if (q.bias == nullptr) return result;
  REDLINE_ASSIGN(joined, concat_tensors(biases, 0));
  return insert(attention, "add", {result, graph.add_constant(std::move(joined))});
}

// Queries, keys and values of the same rows, heads of one size, and no past.
bool can_be_packed(const Node& node) {
  if (!node.is("attention") || node.attrs<AttentionAttrs>().packed) return false;
  const auto& attrs = node.attrs<AttentionAttrs>();
  bool has_past = node.num_inputs() > kPastK && node.input(kPastK) != nullptr;
  if (has_past || attrs.q_heads < 1 || attrs.kv_heads < 1) return false;
  std::optional<int64_t> size;
  for (size_t i = 0; i < 3; ++i) {
    const Shape& shape = node.input(i)->shape();
    if (!shape.has_rank() || shape.rank() != 3) return false;
    std::optional<int64_t> row = shape[2].as_const();
    int64_t heads = operand_heads(attrs, i);
    if (!row || *row % heads != 0 || (size && *size != *row / heads)) return false;
    size = *row / heads;
  }
  return true;
}

// attention(split(x)) = attention(x, x, x) {packed=1}, which reads the parts where they lie; so
// the products of one x become one.
Result<bool> rewrite(Node* node) {
  if (!can_be_packed(*node)) return false;
  Value* packed = packed_by_split(*node);
  if (packed == nullptr) {
    REDLINE_ASSIGN(packed, packed_by_product(node));
  }
  if (packed == nullptr) return false;
  AttentionAttrs attrs = node->attrs<AttentionAttrs>();
  attrs.packed = true;
  for (size_t i = 0; i < 3; ++i) node->set_input(i, packed);
  node->set_attrs(Attrs::of(attrs));
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_pack_attention(PassRegistry& registry) {
  registry.add(
      {"pack_attention", "queries, keys and values are one product, read where they lie", run});
}

}  // namespace redline
