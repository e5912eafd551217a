// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <vector>

#include "ir/rewrite.h"
#include "ops/attention.h"
#include "ops/compare.h"
#include "ops/reshape.h"
#include "ops/shape.h"
#include "ops/transpose.h"
#include "passes/attention_pattern.h"
#include "passes/pass.h"

namespace redline {
namespace {

const std::vector<int64_t> kSwapHeads = {0, 2, 1, 3};

Result<Value*> reshape(Node* at, Value* value, SymDims sizes) {
  if (value->shape() == Shape(sizes)) return value;
  return insert(at, "reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

// Numbers to add that hide what the mask hides.
Result<Value*> as_bias(Node* at, const ScoreMask& mask, DType dtype) {
  if (mask.kind == ScoreMask::Kind::kBias) return mask.value;
  REDLINE_ASSIGN(Value * kept, insert_constant(*at->graph(), dtype, {}, 0));
  REDLINE_ASSIGN(Value * hidden, insert_constant(*at->graph(), dtype, {}, mask.fill));
  if (mask.kind == ScoreMask::Kind::kHide) std::swap(kept, hidden);
  return insert(at, "where", {mask.value, kept, hidden});
}

// One operand for all masks; null without any.
Result<Value*> join_masks(Node* at, const AttentionMatch& found) {
  if (found.masks.empty()) return static_cast<Value*>(nullptr);
  const ScoreMask& only = found.masks.front();
  if (found.masks.size() == 1 && std::isinf(only.fill) && only.kind != ScoreMask::Kind::kBias) {
    if (only.kind == ScoreMask::Kind::kKeep) return only.value;
    return insert(at, "not", {only.value});
  }
  Value* sum = nullptr;
  for (size_t i = found.masks.size(); i-- > 0;) {
    REDLINE_ASSIGN(Value * bias, as_bias(at, found.masks[i], found.q.value->dtype()));
    if (sum == nullptr) {
      sum = bias;
    } else {
      REDLINE_ASSIGN(sum, insert(at, "add", {sum, bias}));
    }
  }
  return sum;
}

// The mask with its last axis as long as an axis of k; all layers share it.
Result<Value*> expand_last(Node* at, Value* mask, const Dim& keys, Value* k, int key_axis) {
  for (const Use& use : mask->uses) {
    if (use.node == nullptr || !use.node->is("expand") || use.node->graph() != at->graph())
      continue;
    const Shape& shape = use.node->output()->shape();
    bool same = use.index == 0 && shape.has_rank() && shape.rank() == mask->shape().rank() &&
                shape[shape.rank() - 1] == keys;
    for (int axis = 0; same && axis + 1 < shape.rank(); ++axis) {
      same = shape[axis] == mask->shape()[axis];
    }
    if (same) return use.node->output();
  }
  REDLINE_ASSIGN(Value * length,
                 insert(at, "shape", {k}, ShapeAttrs{.start = key_axis, .end = key_axis + 1}));
  return insert(at, "expand", {mask, length});
}

// The mask as the op reads it: keys beyond a shorter last axis would be hidden, not broadcast to,
// and one of rank 3 would have heads first.
Result<Value*> fit_mask(Node* at, Value* mask, const AttentionMatch& found, Value* k,
                        int key_axis) {
  Dim keys = found.k.dim(found.k.rank() - 2);
  if (mask->shape()[mask->shape().rank() - 1] != keys) {
    REDLINE_ASSIGN(mask, expand_last(at, mask, keys, k, key_axis));
  }
  if (found.q.rank() == 4 || mask->shape().rank() < 3) return mask;
  const Shape& shape = mask->shape();
  return reshape(at, mask, {shape[0], Dim(1), shape[1], shape[2]});
}

// Operands of rank 3, [batch, length, heads * size]: none of the transposes is needed then.
struct Flat {
  bool possible = false;
  int64_t heads = 1;
};

Flat flat_form(const AttentionMatch& found) {
  if (found.q.rank() == 3) {
    return {found.q.perm.empty() && found.k.perm.empty() && found.v.perm.empty(), 1};
  }
  std::optional<int64_t> heads = found.q.dim(1).as_const();
  bool swapped =
      found.q.perm == kSwapHeads && found.k.perm == kSwapHeads && found.v.perm == kSwapHeads;
  return {swapped && heads && *heads > 0, heads.value_or(0)};
}

Result<Value*> operand_value(Node* at, const HeadOperand& operand, const Flat& flat) {
  if (flat.possible && operand.rank() == 4) {
    const Shape& shape = operand.value->shape();
    return reshape(at, operand.value, {shape[0], shape[1], shape[2] * shape[3]});
  }
  if (operand.perm.empty()) return operand.value;
  return insert(at, "transpose", {operand.value}, TransposeAttrs{operand.perm});
}

std::optional<float> scale_attr(const AttentionMatch& found) {
  std::optional<int64_t> size = found.q.dim(found.q.rank() - 1).as_const();
  // Models round it to their type, or round its root.
  double error = size ? found.scale * std::sqrt(static_cast<double>(*size)) - 1 : 1;
  if (std::abs(error) <= 4 * dtype_epsilon(found.q.value->dtype())) return std::nullopt;
  return static_cast<float>(found.scale);
}

Result<bool> rewrite(Node* product) {
  if (!product->is("matmul")) return false;
  std::optional<AttentionMatch> found = find_attention(product);
  if (!found) return false;
  Flat flat = flat_form(*found);
  REDLINE_ASSIGN(Value * q, operand_value(product, found->q, flat));
  REDLINE_ASSIGN(Value * k, operand_value(product, found->k, flat));
  REDLINE_ASSIGN(Value * v, operand_value(product, found->v, flat));
  bool three = k->shape().rank() == 3;
  std::vector<Value*> operands = {q, k, v};
  REDLINE_ASSIGN(Value * mask, join_masks(product, *found));
  if (mask != nullptr) {
    REDLINE_ASSIGN(mask, fit_mask(product, mask, *found, k, three ? 1 : 2));
    operands.push_back(mask);
  }
  AttentionAttrs attrs;
  if (three) attrs.q_heads = attrs.kv_heads = flat.heads;
  attrs.scale = scale_attr(*found);
  attrs.softcap = static_cast<float>(found->softcap);
  attrs.causal = found->causal;
  attrs.softmax_dtype = found->softmax_dtype;
  REDLINE_ASSIGN(Value * y, insert(product, "attention", operands, attrs));
  if (three && found->q.rank() == 4) {
    REDLINE_ASSIGN(
        y,
        reshape(product, y, {found->q.dim(0), found->q.dim(2), Dim(flat.heads), found->v.dim(3)}));
    REDLINE_ASSIGN(y, insert(product, "transpose", {y}, TransposeAttrs{kSwapHeads}));
  }
  replace(product, y);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_attention(PassRegistry& registry) {
  registry.add({"recognise_attention",
                "scaled-dot-product attention from two products and what stands between them",
                run});
}

}  // namespace redline
