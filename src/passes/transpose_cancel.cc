// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "ir/rewrite.h"
#include "ops/elements.h"
#include "ops/reshape.h"
#include "ops/transpose.h"
#include "passes/pass.h"
#include "passes/reshape_groups.h"

namespace redline {
namespace {

using Perm = std::vector<int64_t>;

// Written out; empty when the rank is unknown.
Perm perm_of(const Node* node) {
  Perm perm = node->attrs<TransposeAttrs>().perm;
  const Shape& shape = node->input(0)->shape();
  if (!perm.empty() || !shape.has_rank()) return perm;
  for (int i = shape.rank(); i-- > 0;) perm.push_back(i);
  return perm;
}

// transpose(transpose(x, p), q) = transpose(x, p[q])
Result<bool> join_transposes(Node* node) {
  Node* inner = producer(node->input(0), "transpose");
  if (inner == nullptr) return false;
  Perm first = perm_of(inner);
  Perm second = perm_of(node);
  if (first.empty() || first.size() != second.size()) return false;
  Perm joined;
  bool identity = true;
  for (size_t i = 0; i < second.size(); ++i) {
    joined.push_back(first[static_cast<size_t>(second[i])]);
    identity &= joined[i] == static_cast<int64_t>(i);
  }
  Value* x = inner->input(0);
  if (identity) {
    replace(node, x);
  } else {
    node->set_input(0, x);
    node->set_attrs(Attrs::of(TransposeAttrs{joined}));
  }
  return true;
}

// A reshape to known sizes does not care how its operand was cut before.
bool skip_view(Node* node) {
  if (!node->attrs<ReshapeAttrs>().sizes) return false;
  Node* view = node->input(0)->producer;
  if (view == nullptr || !view->op().has(kTraitView) || view->num_outputs() != 1) return false;
  if (view->is("bit_cast") || view->input(0)->dtype() != node->output()->dtype()) return false;
  node->set_input(0, view->input(0));
  return true;
}

// reshape(transpose(x, p)) = transpose(reshape(x), q) where each axis is cut, or those are joined
// that lie together in x: towards the inputs, where reshapes meet others.
Result<bool> reshape_before(Node* node) {
  Node* transpose = sole_producer(node->input(0), "transpose");
  if (transpose == nullptr) return false;
  const std::optional<SymDims>& to = node->attrs<ReshapeAttrs>().sizes;
  const Shape& x = transpose->input(0)->shape();
  if (!to || !x.has_rank()) return false;
  std::optional<ReshapedTranspose> form = reshape_first(x.dims(), perm_of(transpose), *to);
  if (!form) return false;
  REDLINE_ASSIGN(Value * result, insert(node, "reshape", {transpose->input(0)},
                                        ReshapeAttrs{.sizes = form->sizes}));
  if (!form->is_identity()) {
    REDLINE_ASSIGN(result, insert(node, "transpose", {result}, TransposeAttrs{form->perm}));
  }
  replace(node, result);
  return true;
}

// What a constant must be for f(transpose(x, p), c) = transpose(f(x, c'), p): the same when it has
// one element or axes that stay, else transposed back.
Result<Value*> transposed_back(Graph& graph, Value* constant, const Perm& perm) {
  const Tensor& tensor = constant->constant;
  if (tensor.count() == 1 && tensor.rank() <= 1) return constant;
  size_t rank = perm.size();
  if (tensor.dims().size() > rank) return nullptr;
  size_t first = rank - tensor.dims().size();
  bool stays = true;
  for (size_t i = first; i < rank; ++i) stays &= perm[i] == static_cast<int64_t>(i);
  if (stays) return constant;
  Dims padded;
  for (size_t i = tensor.dims().size(); i < rank; ++i) padded.push_back(1);
  for (int64_t dim : tensor.dims()) padded.push_back(dim);
  Dims dims = padded;
  Dims strides = padded;
  Dims padded_strides = padded.strides();
  for (size_t i = 0; i < rank; ++i) {
    auto axis = static_cast<size_t>(perm[i]);
    dims[axis] = padded[i];
    strides[axis] = padded_strides[i];
  }
  REDLINE_ASSIGN(Tensor result, Tensor::create(tensor.dtype(), dims));
  with_storage_type(tensor.dtype(), [&](auto storage) {
    using T = decltype(storage);
    const T* from = tensor.data<T>();
    T* to = result.mutable_data<T>();
    Dims steps[1] = {strides};
    for_each_offset(dims, steps,
                    [&](int64_t flat, const int64_t(&offset)[1]) { to[flat] = from[offset[0]]; });
  });
  return graph.add_constant(std::move(result), constant->name);
}

// f(transpose(x, p), transpose(y, p), constant) = transpose(f(x, y, constant'), p): towards the
// outputs, where transposes meet others and cancel. Never more transposes than before.
Result<bool> sink(Node* node) {
  if (!node->op().has(kTraitPointwise) || node->num_outputs() != 1) return false;
  if (node->is("fused") || node->output()->uses.empty()) return false;
  Perm perm;
  for (Value* input : node->inputs()) {
    if (input == nullptr || input->is_constant()) continue;
    Node* transpose = producer(input, "transpose");
    if (transpose == nullptr) return false;
    // All readers of the transpose are this node.
    for (const Use& use : input->uses) {
      if (use.node != node) return false;
    }
    Perm own = perm_of(transpose);
    if (own.empty() || (!perm.empty() && own != perm)) return false;
    perm = own;
  }
  if (perm.empty() || !node->output()->shape().has_rank() ||
      static_cast<size_t>(node->output()->shape().rank()) != perm.size()) {
    return false;
  }
  std::vector<Value*> inputs;
  for (Value* input : node->inputs()) {
    if (input != nullptr && input->is_constant()) {
      REDLINE_ASSIGN(Value * constant, transposed_back(*node->graph(), input, perm));
      if (constant == nullptr) return false;
      inputs.push_back(constant);
    } else {
      inputs.push_back(input == nullptr ? nullptr : input->producer->input(0));
    }
  }
  REDLINE_ASSIGN(Value * result, insert(node, node->op().name, inputs, node->attrs()));
  REDLINE_ASSIGN(Value * transposed, insert(node, "transpose", {result}, TransposeAttrs{perm}));
  if (transposed->type.dtype != node->output()->dtype()) {
    return internal_error("a sunk transpose changes the type of ", node->op().name);
  }
  replace(node, transposed);
  return true;
}

// A transpose that finds no counterpart behind a product moves this much more there, at most.
constexpr int64_t kMostGrowth = 4;

// transpose(x, p) w = transpose(x w, p) for one matrix w, where p moves rows only.
Result<bool> sink_past_product(Node* node) {
  Node* transpose = sole_producer(node->input(0), "transpose");
  const Shape& w = node->input(1)->shape();
  if (transpose == nullptr || !w.has_rank() || w.rank() != 2) return false;
  if (!w[0].is_const() || !w[1].is_const()) return false;
  if (w[1].value() / kMostGrowth > w[0].value()) return false;
  Perm perm = perm_of(transpose);
  if (perm.size() < 2 || perm.back() + 1 != static_cast<int64_t>(perm.size())) return false;
  REDLINE_ASSIGN(Value * result,
                 insert(node, "matmul", {transpose->input(0), node->input(1)}, node->attrs()));
  REDLINE_ASSIGN(result, insert(node, "transpose", {result}, TransposeAttrs{std::move(perm)}));
  replace(node, result);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) {
  return rewrite_and_sweep(graph, [](Node* node) -> Result<bool> {
    if (node->num_outputs() == 0 || node->output()->uses.empty()) return false;
    if (node->is("transpose")) return join_transposes(node);
    if (node->is("reshape")) {
      if (skip_view(node)) return true;
      return reshape_before(node);
    }
    if (node->is("matmul")) return sink_past_product(node);
    return sink(node);
  });
}

}  // namespace

void register_pass_transpose_cancel(PassRegistry& registry) {
  registry.add({"transpose_cancel", "joins transposes and reshapes, and moves them together", run});
}

}  // namespace redline
