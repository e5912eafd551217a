// SPDX-License-Identifier: Apache-2.0
#include "passes/attention_pattern.h"

#include <algorithm>
#include <cmath>

#include "ir/rewrite.h"
#include "ops/elements.h"
#include "ops/softmax.h"
#include "ops/transpose.h"
#include "ops/trilu.h"

namespace redline {
namespace {

using Perm = std::vector<int64_t>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Beside so large a number a score is lost in rounding: adding it to a score is putting it in its
// place.
constexpr double kHiding = -1e30;
constexpr int64_t kMaxMaskElems = 1 << 22;

Perm perm_of(const Node* node) {
  Perm perm = node->attrs<TransposeAttrs>().perm;
  for (int i = node->input(0)->shape().rank(); perm.empty() && i-- > 0;) perm.push_back(i);
  return perm;
}

Perm swap_last(Perm perm) {
  std::swap(perm[perm.size() - 1], perm[perm.size() - 2]);
  return perm;
}

// x * c or x / c for one number c: x, and scale is multiplied by it.
Value* peel_scale(Value* value, double& scale) {
  while (value->producer != nullptr && value->index == 0) {
    Node* node = value->producer;
    if (!node->is("mul") && !node->is("div")) break;
    size_t at = node->is("mul") && scalar_constant(node->input(0)) ? 1 : 0;
    std::optional<double> factor = scalar_constant(node->input(1 - at));
    if (!factor || *factor == 0 || !same_type(node->input(at), value)) break;
    scale *= node->is("mul") ? *factor : 1 / *factor;
    value = node->input(at);
  }
  return value;
}

// Heads before their transpose, if any, without a factor.
HeadOperand peel_operand(Value* value, double& scale) {
  value = peel_scale(value, scale);
  Node* node = producer(value, "transpose");
  if (node == nullptr) return {value, {}};
  return {peel_scale(node->input(0), scale), perm_of(node)};
}

// k^T as reshape(transpose(reshape(k, [batch * heads, length, size])), [batch, heads, size,
// length]).
Value* transposed_between_views(Value* value) {
  Node* outer = producer(value, "reshape");
  Node* transpose = outer != nullptr ? producer(outer->input(0), "transpose") : nullptr;
  Node* inner = transpose != nullptr ? producer(transpose->input(0), "reshape") : nullptr;
  if (inner == nullptr || perm_of(transpose) != Perm{0, 2, 1}) return nullptr;
  Value* k = inner->input(0);
  const Shape& from = k->shape();
  const Shape& middle = inner->output()->shape();
  const Shape& to = value->shape();
  if (!from.has_rank() || from.rank() != 4 || !to.has_rank() || to.rank() != 4) return nullptr;
  bool same = from[0] == to[0] && from[1] == to[1] && from[2] == to[3] && from[3] == to[2] &&
              middle[1] == from[2] && middle[2] == from[3];
  return same ? k : nullptr;
}

// The operand k of q k^T; without a value when it is not seen to be transposed.
HeadOperand peel_key(Value* value, double& scale) {
  value = peel_scale(value, scale);
  if (Value* k = transposed_between_views(value)) return {peel_scale(k, scale), {}};
  HeadOperand operand = peel_operand(value, scale);
  if (operand.perm.size() < 3) return {};
  operand.perm = swap_last(operand.perm);
  bool identity = std::is_sorted(operand.perm.begin(), operand.perm.end());
  if (!identity) return operand;
  return peel_operand(operand.value, scale);
}

// The node before `value` in the chain from q k^T to softmax: nobody else reads its output.
Node* link(const Value* value) {
  Node* node = value->producer;
  return node != nullptr && value->index == 0 && value->uses.size() == 1 ? node : nullptr;
}

// Whether the value comes from a product by what may stand between q k^T and softmax.
bool leads_to_product(const Value* value) {
  while (Node* node = link(value)) {
    if (node->is("matmul")) return true;
    if (node->is("where")) {
      value = leads_to_product(node->input(1)) ? node->input(1) : node->input(2);
    } else if (node->is("add") || node->is("mul") || node->is("div")) {
      value = leads_to_product(node->input(0)) ? node->input(0) : node->input(1);
    } else if (node->is("tanh")) {
      value = node->input(0);
    } else {
      return false;
    }
  }
  return false;
}

// Whether the result has the sizes of the scores, as far as a rule can tell: where two unknown
// sizes met, the scores' own product with v needs it, or the op's rule once they are known.
bool mask_fits(const Shape& mask, const Value* scores, const Value* result) {
  const Shape& from = scores->shape();
  const Shape& to = result->shape();
  bool ranks = mask.has_rank() && from.has_rank() && to.has_rank() && mask.rank() > 0 &&
               mask.rank() <= from.rank() && from.rank() == to.rank();
  if (!ranks || scores->dtype() != result->dtype()) return false;
  for (int axis = 0; axis < from.rank(); ++axis) {
    int at = axis - (from.rank() - mask.rank());
    if (to[axis] == from[axis]) continue;
    if (at < 0 || from[axis].is_const() || to[axis] != broadcast(from[axis], mask[at])) {
      return false;
    }
  }
  return true;
}

// Masks between softmax and the scaled product, the last first. Returns what they apply to.
Value* peel_masks(Value* value, std::vector<ScoreMask>& masks) {
  while (Node* node = link(value)) {
    ScoreMask mask;
    Value* scores = nullptr;
    if (node->is("add")) {
      scores = leads_to_product(node->input(0)) ? node->input(0) : node->input(1);
      mask.value = other_operand(node, scores);
    } else if (node->is("where")) {
      scores = leads_to_product(node->input(1)) ? node->input(1) : node->input(2);
      bool keeps = scores == node->input(1);
      std::optional<double> fill = scalar_constant(node->input(keeps ? 2 : 1));
      if (!fill || *fill > kHiding) break;
      mask = {keeps ? ScoreMask::Kind::kKeep : ScoreMask::Kind::kHide, node->input(0), *fill};
    } else {
      break;
    }
    if (!mask_fits(mask.value->shape(), scores, value) || !leads_to_product(scores)) break;
    masks.push_back(mask);
    value = scores;
  }
  return value;
}

// tanh(x / c) * c: x.
Value* peel_softcap(Value* value, double& softcap) {
  double outer = 1;
  Value* inner = peel_scale(value, outer);
  Node* node = producer(inner, "tanh");
  if (node == nullptr || inner->uses.size() != 1 || outer <= 0) return value;
  Node* scaled = link(node->input(0));
  double cap = 1;
  if (scaled == nullptr) return value;
  if (scaled->is("div") && scalar_constant(scaled->input(1)))
    cap = *scalar_constant(scaled->input(1));
  if (scaled->is("mul") && scalar_constant(scaled->input(1))) {
    cap = 1 / *scalar_constant(scaled->input(1));
  }
  if (std::abs(cap - outer) > 1e-5 * outer) return value;
  softcap = outer;
  return scaled->input(0);
}

bool is_row_maximum(const Node* node) {
  std::optional<std::vector<int64_t>> axes = constant_ints(node->input(1));
  int64_t rank = node->input(0)->shape().has_rank() ? node->input(0)->shape().rank() : 0;
  return axes && axes->size() == 1 && (axes->front() == -1 || axes->front() == rank - 1);
}

// Probabilities before what replaces those of a row that attends to nothing by zeros: where(is_nan(
// p), 0, p), or where(max(bias) == -inf, 0, p), when `guard_bias` is that bias.
Value* peel_guard(Value* value, Value*& guard_bias) {
  Node* where = producer(value, "where");
  if (where == nullptr || value->uses.size() != 1) return value;
  if (scalar_constant(where->input(1)) != 0.0) return value;
  Value* p = where->input(2);
  if (!same_type(p, value)) return value;
  if (Node* test = sole_producer(where->input(0), "is_nan")) {
    return test->input(0) == p && p->uses.size() == 2 ? p : value;
  }
  Node* test = producer(where->input(0), "equal");
  if (test == nullptr || p->uses.size() != 1) return value;
  for (size_t i : {0, 1}) {
    Node* most = producer(test->input(i), "reduce_max");
    if (scalar_constant(test->input(1 - i)) != -kInfinity || most == nullptr) continue;
    if (!is_row_maximum(most)) continue;
    guard_bias = most->input(0);
    return p;
  }
  return value;
}

// Softmax, with casts to a wider type around it or without.
Node* find_softmax(Value* p, AttentionMatch& found) {
  Node* cast = producer(p, "cast");
  if (cast != nullptr && p->uses.size() == 1) p = cast->input(0);
  Node* softmax = producer(p, "softmax");
  if (softmax == nullptr || !softmax->input(0)->shape().has_rank()) return nullptr;
  int64_t axis = softmax->attrs<SoftmaxAttrs>().axis;
  if (axis != -1 && axis != softmax->input(0)->shape().rank() - 1) return nullptr;
  found.scores = softmax->input(0);
  if (cast == nullptr) return softmax;
  Node* widened = producer(found.scores, "cast");
  if (p->uses.size() != 1 || widened == nullptr || found.scores->uses.size() != 1) return nullptr;
  if (widened->input(0)->dtype() != cast->output()->dtype()) return nullptr;
  found.softmax_dtype = p->dtype();
  found.scores = widened->input(0);
  return softmax;
}

// Ones on and below the diagonal, computed.
bool is_lower_triangle(const Value* value) {
  Node* node = producer(value, "trilu");
  if (node == nullptr || node->attrs<TriluAttrs>().upper) return false;
  if (node->input(1) != nullptr && !is_scalar(node->input(1), 0)) return false;
  Node* filled = producer(node->input(0), "expand");
  return filled != nullptr ? is_scalar(filled->input(0), 1) : splat_constant(node->input(0)) == 1.0;
}

// Whether the mask hides exactly what comes after a query: then every query sees a key.
bool is_causal(const ScoreMask& mask, const Dim& queries) {
  const Shape& shape = mask.value->shape();
  int rank = shape.rank();
  if (rank < 2 || shape[rank - 2] != queries) return false;
  for (int axis = 0; axis < rank - 2; ++axis) {
    if (shape[axis] != Dim(1)) return false;
  }
  if (mask.kind == ScoreMask::Kind::kKeep && is_lower_triangle(mask.value)) return true;
  if (!mask.value->is_constant() || mask.value->constant.count() > kMaxMaskElems) return false;
  bool number = mask.kind == ScoreMask::Kind::kBias;
  if (number == (mask.value->dtype() == DType::kBool)) return false;
  double lowest = mask.value->dtype() == DType::kFloat16 ? -65504 : kHiding;
  std::vector<double> values = read_elements<double>(mask.value->constant.view());
  int64_t columns = shape[rank - 1].value();
  for (size_t at = 0; at < values.size(); ++at) {
    bool hidden =
        number ? values[at] <= lowest : (values[at] != 0) == (mask.kind == ScoreMask::Kind::kHide);
    bool kept = number ? values[at] == 0 : !hidden;
    int64_t row = static_cast<int64_t>(at) / columns;
    if (static_cast<int64_t>(at) % columns > row ? !hidden : !kept) return false;
  }
  return !values.empty();
}

// Sizes agree as the op wants them: matmul would have broadcast batches.
bool sizes_fit(const AttentionMatch& found) {
  int rank = found.q.rank();
  if ((rank != 3 && rank != 4) || found.k.rank() != rank || found.v.rank() != rank) return false;
  for (int axis = 0; axis < rank - 2; ++axis) {
    const Dim& size = found.q.dim(axis);
    if (found.k.dim(axis) != size || found.v.dim(axis) != size) return false;
  }
  return found.k.dim(rank - 2) == found.v.dim(rank - 2) &&
         found.k.dim(rank - 1) == found.q.dim(rank - 1);
}

}  // namespace

std::optional<AttentionMatch> find_attention(Node* product) {
  AttentionMatch found;
  if (!is_float(product->output()->dtype())) return std::nullopt;
  Value* guard_bias = nullptr;
  Value* p = peel_guard(product->input(0), guard_bias);
  bool guarded = p != product->input(0);
  if (!guarded && p->uses.size() != 1) return std::nullopt;
  Node* softmax = find_softmax(p, found);
  if (softmax == nullptr || !leads_to_product(found.scores)) return std::nullopt;
  Value* scores = peel_masks(found.scores, found.masks);
  scores = peel_softcap(scores, found.softcap);
  double scale = 1;
  while (Node* node = link(scores)) {
    if (node->is("matmul")) break;
    Value* next = peel_scale(scores, scale);
    if (next == scores) return std::nullopt;
    scores = next;
  }
  Node* first = sole_producer(scores, "matmul");
  if (first == nullptr || !first->input(0)->shape().has_rank()) return std::nullopt;
  if (first->input(0)->dtype() != product->output()->dtype()) return std::nullopt;
  found.scale = scale;
  found.q = peel_operand(first->input(0), found.scale);
  found.k = peel_key(first->input(1), found.scale);
  Node* turned = producer(product->input(1), "transpose");
  found.v = {product->input(1), {}};
  if (turned != nullptr) found.v = {turned->input(0), perm_of(turned)};
  if (found.k.value == nullptr) return std::nullopt;
  for (const HeadOperand& operand : {found.q, found.k, found.v}) {
    if (!operand.value->shape().has_rank()) return std::nullopt;
  }
  if (!sizes_fit(found)) return std::nullopt;
  if (guard_bias != nullptr &&
      std::none_of(found.masks.begin(), found.masks.end(),
                   [&](const ScoreMask& mask) { return mask.value == guard_bias; })) {
    return std::nullopt;
  }
  const Dim queries = found.q.dim(found.q.rank() - 2);
  auto causal = std::find_if(found.masks.begin(), found.masks.end(),
                             [&](const ScoreMask& mask) { return is_causal(mask, queries); });
  if (causal != found.masks.end()) {
    found.causal = true;
    found.masks.erase(causal);
  }
  return found;
}

}  // namespace redline
