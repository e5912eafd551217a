// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ir/rewrite.h"
#include "ops/conv.h"
#include "ops/host_values.h"
#include "ops/split.h"
#include "passes/pass.h"

namespace redline {
namespace {

// A product or convolution with constant weights, and the addition of a constant behind it.
struct Sibling {
  Node* anchor = nullptr;
  Node* add = nullptr;    // none: no bias, or the convolution's own
  Value* bias = nullptr;  // null: none
  int64_t channels = 0;

  Value* result() const { return (add != nullptr ? add : anchor)->output(); }
};

bool is_weight(const Value* value, int min_rank) {
  return value != nullptr && value->is_constant() && value->dtype() == DType::kFloat32 &&
         value->constant.rank() >= min_rank;
}

// Splitting the result copies it, unless it has one row: then the parts lie together. Three
// products of 384x384 side by side took 31 us instead of 38 with 8 rows, 338 instead of 316 with
// 128; of 512x512, 35 instead of 91 with one. 1x1 convolutions of 28x28 and 14x14 images lost 3 to
// 10 %.
constexpr int64_t kFewRows = 8;

bool has_rows(const Value* result, int axis, int64_t most) {
  if (!result->shape().has_rank() || result->dtype() != DType::kFloat32) return false;
  int64_t rows = 1;
  for (int i = 0; i < axis; ++i) {
    const Dim& dim = result->shape()[i];
    if (!dim.is_const() || dim.value() > most) return false;
    rows *= dim.value();
  }
  return rows <= most;
}

// A part that goes on through pointwise ops had them in its own step, and would lose them.
bool ends_here(const Value* value) {
  for (const Use& use : value->uses) {
    if (use.node == nullptr) return false;  // outputs have memory of their own: a copy
  }
  const Node* user = value->single_user();
  return user == nullptr || !user->op().has(kTraitPointwise);
}

bool is_list(const Value* value, int64_t length) {
  return value != nullptr && value->is_constant() && value->dtype() == DType::kFloat32 &&
         value->constant.count() == length && value->constant.rank() >= 1 &&
         value->constant.dims().back() == length;
}

std::optional<Sibling> as_sibling(Node* node) {
  Sibling sibling{.anchor = node};
  Value* weights = node->input(1);
  Value* y = node->output();
  if (node->is("matmul")) {
    if (!is_weight(weights, 2) || weights->constant.rank() != 2) return std::nullopt;
    if (!y->shape().has_rank() || !has_rows(y, y->shape().rank() - 1, kFewRows)) {
      return std::nullopt;
    }
    sibling.channels = weights->constant.dims()[1];
    Node* add = sole_user(y, "add");
    Value* bias = add == nullptr ? nullptr : other_operand(add, y);
    if (is_list(bias, sibling.channels) && add->output()->type == y->type) {
      sibling.add = add;
      sibling.bias = bias;
    }
  } else if (node->is("conv")) {
    const auto& attrs = node->attrs<ConvAttrs>();
    sibling.bias = node->input(2);
    if (!is_weight(weights, 3) || attrs.group != 1) return std::nullopt;
    int axis = attrs.channels_last ? weights->constant.rank() - 1 : 1;
    if (!has_rows(y, axis, 1)) return std::nullopt;
    sibling.channels = weights->constant.dims()[0];
    if (sibling.bias != nullptr && !is_list(sibling.bias, sibling.channels)) return std::nullopt;
  } else {
    return std::nullopt;
  }
  return ends_here(sibling.result()) ? std::optional(sibling) : std::nullopt;
}

bool alike(const Sibling& a, const Sibling& b) {
  if (&a.anchor->op() != &b.anchor->op() || a.anchor->input(0) != b.anchor->input(0) ||
      a.anchor->graph() != b.anchor->graph() || !(a.anchor->attrs() == b.anchor->attrs())) {
    return false;
  }
  if (a.anchor->is("matmul")) return (a.bias == nullptr) == (b.bias == nullptr);
  const Dims& v = a.anchor->input(1)->constant.dims();
  const Dims& w = b.anchor->input(1)->constant.dims();
  return v.rank() == w.rank() && std::equal(v.begin() + 1, v.end(), w.begin() + 1);
}

// The weights side by side: rows of a convolution's, columns of a product's.
Result<Value*> join_weights(Graph& graph, const std::vector<Sibling>& siblings) {
  std::vector<Tensor> parts;
  for (const Sibling& sibling : siblings) parts.push_back(sibling.anchor->input(1)->constant);
  int axis = siblings[0].anchor->is("matmul") ? 1 : 0;
  REDLINE_ASSIGN(Tensor joined, concat_tensors(parts, axis));
  return graph.add_constant(std::move(joined), siblings[0].anchor->input(1)->name);
}

Result<Value*> join_biases(Graph& graph, const std::vector<Sibling>& siblings, int64_t channels) {
  bool any = std::any_of(siblings.begin(), siblings.end(),
                         [](const Sibling& sibling) { return sibling.bias != nullptr; });
  if (!any) return nullptr;
  REDLINE_ASSIGN(Tensor joined, Tensor::create(DType::kFloat32, {channels}));
  float* to = joined.mutable_data<float>();
  std::fill_n(to, channels, 0.0f);
  for (const Sibling& sibling : siblings) {
    if (sibling.bias != nullptr) {
      std::copy_n(sibling.bias->constant.data<float>(), sibling.channels, to);
    }
    to += sibling.channels;
  }
  return graph.add_constant(std::move(joined));
}

Status merge(const std::vector<Sibling>& siblings) {
  Node* first = siblings[0].anchor;
  Graph& graph = *first->graph();
  std::vector<int64_t> sizes;
  int64_t channels = 0;
  for (const Sibling& sibling : siblings) {
    sizes.push_back(sibling.channels);
    channels += sibling.channels;
  }
  REDLINE_ASSIGN(Value * weights, join_weights(graph, siblings));
  REDLINE_ASSIGN(Value * bias, join_biases(graph, siblings, channels));
  std::vector<Value*> inputs = {first->input(0), weights};
  bool conv = first->is("conv");
  if (conv && bias != nullptr) inputs.push_back(bias);
  REDLINE_ASSIGN(Value * merged, insert(first, first->op().name, inputs, first->attrs()));
  if (!conv && bias != nullptr) {
    REDLINE_ASSIGN(merged, insert(first, "add", {merged, bias}));
  }
  bool in_front = conv && !first->attrs<ConvAttrs>().channels_last;
  SplitAttrs attrs{.axis = in_front ? 1 : merged->shape().rank() - 1, .num_outputs = {}};
  Value* lengths = graph.add_constant(Tensor::from_int64(sizes));
  REDLINE_ASSIGN(Value * part, insert(first, "split", {merged, lengths}, attrs, sizes.size()));
  Node* split = part->producer;
  for (size_t i = 0; i < siblings.size(); ++i) {
    Node* last = siblings[i].add != nullptr ? siblings[i].add : siblings[i].anchor;
    replace(last, split->output(i));
  }
  return {};
}

Result<bool> run(Graph& graph, PassContext&) {
  bool changed = false;
  REDLINE_TRY(for_each_graph(graph, [&](Graph& g) -> Result<bool> {
                std::vector<Sibling> open;
                for (Node* node : g.node_snapshot()) {
                  std::optional<Sibling> sibling =
                      node->num_outputs() == 1 ? as_sibling(node) : std::nullopt;
                  if (sibling) open.push_back(*sibling);
                }
                while (!open.empty()) {
                  std::vector<Sibling> family;
                  std::vector<Sibling> others;
                  for (const Sibling& s : open) (alike(open[0], s) ? family : others).push_back(s);
                  open = std::move(others);
                  if (family.size() < 2) continue;
                  REDLINE_TRY(merge(family));
                  changed = true;
                }
                return changed;
              }).status());
  if (changed) graph.erase_dead();
  return changed;
}

}  // namespace

void register_pass_merge_siblings(PassRegistry& registry) {
  registry.add({"merge_siblings", "products and convolutions of one operand become one", run});
}

}  // namespace redline
