// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <vector>

#include "ir/rewrite.h"
#include "ops/concat.h"
#include "ops/elements.h"
#include "ops/reshape.h"
#include "ops/rotary_embedding.h"
#include "ops/split.h"
#include "passes/pass.h"

namespace redline {
namespace {

// Half of the last axis of x: the first or the second, or the even or the odd places.
struct Half {
  Value* x = nullptr;
  int which = 0;
  bool interleaved = false;
};

std::optional<int64_t> last_size(const Value* value) {
  const Shape& shape = value->shape();
  if (!shape.has_rank() || shape.rank() == 0) return std::nullopt;
  return shape[shape.rank() - 1].as_const();
}

bool is_last_axis(int64_t axis, const Value* value) {
  return axis == -1 || axis == value->shape().rank() - 1;
}

std::optional<int64_t> single_int(const Value* value) {
  std::optional<std::vector<int64_t>> ints = constant_ints(value);
  return ints && ints->size() == 1 ? std::optional(ints->front()) : std::nullopt;
}

std::optional<Half> half_of(const Value* value) {
  Node* node = value->producer;
  if (node == nullptr || (!node->is("split") && !node->is("slice"))) return std::nullopt;
  Value* x = node->input(0);
  std::optional<int64_t> size = last_size(x);
  std::optional<int64_t> part = last_size(value);
  if (!size || !part || *part * 2 != *size || *part == 0) return std::nullopt;
  if (node->is("split")) {
    if (node->num_outputs() != 2 || !is_last_axis(node->attrs<SplitAttrs>().axis, x)) {
      return std::nullopt;
    }
    return Half{x, static_cast<int>(value->index), false};
  }
  std::optional<int64_t> start = single_int(node->input(1));
  std::optional<int64_t> axis = single_int(node->input(3));
  std::optional<int64_t> step = node->input(4) == nullptr ? 1 : single_int(node->input(4));
  if (!start || !axis || !step || !is_last_axis(*axis, x)) return std::nullopt;
  if (*step == 2 && (*start == 0 || *start == 1)) return Half{x, static_cast<int>(*start), true};
  if (*step != 1) return std::nullopt;
  if (*start == 0) return Half{x, 0, false};
  if (*start == *part || *start == -*part) return Half{x, 1, false};
  return std::nullopt;
}

// Whether the two halves of the last axis are known to be alike, as of concat(angles, angles).
bool halves_alike(const Value* value, int depth = 0) {
  std::optional<int64_t> size = last_size(value);
  if (!size || *size % 2 != 0 || depth > 16) return false;
  if (value->is_constant()) {
    std::vector<double> numbers = read_elements<double>(value->constant.view());
    auto half = static_cast<size_t>(*size / 2);
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (i % (2 * half) < half && numbers[i] != numbers[i + half]) return false;
    }
    return true;
  }
  Node* node = value->producer;
  if (node == nullptr || value->index != 0) return false;
  const Value* x = node->input(0);
  if (node->is("concat") && is_last_axis(node->attrs<ConcatAttrs>().axis, value)) {
    return node->num_inputs() == 2 && x == node->input(1);
  }
  if (node->is("mul") || node->is("div")) {
    return scalar_constant(node->input(1)) && halves_alike(x, depth + 1);
  }
  bool keeps = node->is("cos") || node->is("sin") || node->is("cast") || node->is("identity");
  bool view = node->is("reshape") || node->is("unsqueeze");
  return (keeps || view) && last_size(x) == size && halves_alike(x, depth + 1);
}

struct Rotation {
  Value* x = nullptr;
  Value* cos = nullptr;
  Value* sin = nullptr;
  bool interleaved = false;
  bool whole = false;  // cos and sin are as wide as x
};

// Operands (a, b) of a commutative node, each way round.
std::array<std::pair<Value*, Value*>, 2> operands(const Node* node) {
  return {std::pair(node->input(0), node->input(1)), std::pair(node->input(1), node->input(0))};
}

// x * cos + concat(-x2, x1) * sin
std::optional<Rotation> match_rotate_half(Node* node) {
  for (auto [a, b] : operands(node)) {
    Node* straight = sole_producer(a, "mul");
    Node* turned = sole_producer(b, "mul");
    if (straight == nullptr || turned == nullptr) return std::nullopt;
    for (auto [joined, sin] : operands(turned)) {
      Node* concat = sole_producer(joined, "concat");
      if (concat == nullptr || concat->num_inputs() != 2) continue;
      if (!is_last_axis(concat->attrs<ConcatAttrs>().axis, joined)) continue;
      Node* minus = sole_producer(concat->input(0), "neg");
      if (minus == nullptr) continue;
      std::optional<Half> second = half_of(minus->input(0));
      std::optional<Half> first = half_of(concat->input(1));
      if (!first || !second || first->x != second->x || first->which != 0 || second->which != 1) {
        continue;
      }
      if (first->interleaved || second->interleaved) continue;
      for (auto [x, cos] : operands(straight)) {
        if (x != first->x || !halves_alike(cos) || !halves_alike(sin)) continue;
        return Rotation{x, cos, sin, false, true};
      }
    }
  }
  return std::nullopt;
}

// (x1 * cos, x2 * sin) of their sum or difference, as halves and factors.
struct Term {
  Half half;
  Value* factor = nullptr;
};

std::optional<Term> match_term(Value* value) {
  Node* product = sole_producer(value, "mul");
  if (product == nullptr) return std::nullopt;
  for (auto [part, factor] : operands(product)) {
    if (std::optional<Half> half = half_of(part)) return Term{*half, factor};
  }
  return std::nullopt;
}

// The pair (x1 * cos - x2 * sin, x1 * sin + x2 * cos)
std::optional<Rotation> match_parts(Value* real, Value* imaginary) {
  Node* difference = sole_producer(real, "sub");
  Node* sum = sole_producer(imaginary, "add");
  if (difference == nullptr || sum == nullptr) return std::nullopt;
  std::optional<Term> a = match_term(difference->input(0));
  std::optional<Term> b = match_term(difference->input(1));
  if (!a || !b || a->half.which != 0 || b->half.which != 1) return std::nullopt;
  for (auto [first, second] : operands(sum)) {
    std::optional<Term> c = match_term(first);
    std::optional<Term> d = match_term(second);
    if (!c || !d || c->half.which != 0 || d->half.which != 1) continue;
    if (c->factor != b->factor || d->factor != a->factor) continue;
    for (const Term& term : {*b, *c, *d}) {
      bool same = term.half.x == a->half.x && term.half.interleaved == a->half.interleaved;
      if (!same) return std::nullopt;
    }
    return Rotation{a->half.x, a->factor, b->factor, a->half.interleaved, false};
  }
  return std::nullopt;
}

// x with an axis of size 1 behind it.
Value* before_last_unit(const Value* value) {
  Node* node = value->producer;
  if (node == nullptr || value->uses.size() != 1) return nullptr;
  if (!node->is("reshape") && !node->is("unsqueeze")) return nullptr;
  Value* x = node->input(0);
  if (!x->shape().has_rank() || value->shape().rank() != x->shape().rank() + 1) return nullptr;
  for (int axis = 0; axis < x->shape().rank(); ++axis) {
    if (x->shape()[axis] != value->shape()[axis]) return nullptr;
  }
  return last_size(value) == 1 ? x : nullptr;
}

std::optional<Rotation> match_rotation(Node* node) {
  if (node->is("add")) return match_rotate_half(node);
  Node* concat = node->is("concat") ? node : nullptr;
  if (node->is("reshape")) concat = sole_producer(node->input(0), "concat");
  if (concat == nullptr || concat->num_inputs() != 2) return std::nullopt;
  if (!concat->output()->shape().has_rank()) return std::nullopt;
  if (!is_last_axis(concat->attrs<ConcatAttrs>().axis, concat->output())) return std::nullopt;
  Value* real = concat->input(0);
  Value* imaginary = concat->input(1);
  bool stacked = node->is("reshape");
  if (stacked) {
    real = before_last_unit(real);
    imaginary = before_last_unit(imaginary);
    if (real == nullptr || imaginary == nullptr) return std::nullopt;
  }
  std::optional<Rotation> found = match_parts(real, imaginary);
  if (!found || found->interleaved != stacked) return std::nullopt;
  return found;
}

// How cos and sin go along x: [b, 1, s, d] beside heads first, [b, s, 1, d] beside heads behind.
struct Layout {
  bool heads_first = false;
  bool one_batch = false;  // all samples share the angles
};

std::optional<Layout> layout_of(const Rotation& found) {
  const Shape& x = found.x->shape();
  if (!x.has_rank() || x.rank() != 4 || !found.cos->shape().has_rank()) return std::nullopt;
  if (found.cos->shape() != found.sin->shape() || found.cos->shape().rank() > 4) {
    return std::nullopt;
  }
  std::array<Dim, 4> sizes = {1, 1, 1, 1};
  int rank = found.cos->shape().rank();
  for (int i = 0; i < rank; ++i) sizes[static_cast<size_t>(4 - rank + i)] = found.cos->shape()[i];
  std::optional<int64_t> width = last_size(found.x);
  std::optional<int64_t> given = sizes[3].as_const();
  if (!width || *width % 2 != 0 || given != (found.whole ? *width : *width / 2)) {
    return std::nullopt;
  }
  bool one_batch = sizes[0] == Dim(1);
  if (!one_batch && sizes[0] != x[0]) return std::nullopt;
  if (sizes[1] == Dim(1) && sizes[2] == x[2]) return Layout{true, one_batch};
  if (sizes[2] == Dim(1) && sizes[1] == x[1] && x[2].is_const() && x[2].value() > 0) {
    return Layout{false, one_batch};
  }
  return std::nullopt;
}

Result<Value*> reshape(Node* at, Value* value, SymDims sizes) {
  if (value->shape() == Shape(sizes)) return value;
  return insert(at, "reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

Value* ints(Node* at, int64_t value) {
  return at->graph()->add_constant(Tensor::from_int64(std::array{value}));
}

// cos or sin as a cache: [s, d/2], or [b, s, d/2].
Result<Value*> make_cache(Node* at, Value* angles, const Rotation& found, const Layout& layout) {
  const Shape& x = found.x->shape();
  int64_t half = x[3].value() / 2;
  if (found.whole) {
    REDLINE_ASSIGN(angles, insert(at, "slice",
                                  {angles, ints(at, 0), ints(at, half),
                                   ints(at, angles->shape().rank() - 1)}));
  }
  SymDims sizes;
  if (!layout.one_batch) sizes.push_back(x[0]);
  sizes.push_back(x[layout.heads_first ? 2 : 1]);
  sizes.emplace_back(half);
  return reshape(at, angles, std::move(sizes));
}

Result<bool> rewrite(Node* node) {
  if (!node->is("add") && !node->is("concat") && !node->is("reshape")) return false;
  std::optional<Rotation> found = match_rotation(node);
  if (!found || !same_type(found->x, node->output())) return false;
  if (!is_float(found->x->dtype()) || found->cos->dtype() != found->x->dtype() ||
      found->sin->dtype() != found->x->dtype()) {
    return false;
  }
  std::optional<Layout> layout = layout_of(*found);
  if (!layout) return false;
  REDLINE_ASSIGN(Value * cos, make_cache(node, found->cos, *found, *layout));
  REDLINE_ASSIGN(Value * sin, make_cache(node, found->sin, *found, *layout));
  const Shape x = found->x->shape();
  RotaryEmbeddingAttrs attrs;
  attrs.interleaved = found->interleaved;
  Value* operand = found->x;
  if (!layout->heads_first) {
    attrs.heads = x[2].value();
    REDLINE_ASSIGN(operand, reshape(node, operand, {x[0], x[1], x[2] * x[3]}));
  }
  std::vector<Value*> inputs = {operand, cos, sin};
  if (layout->one_batch) inputs.push_back(ints(node, 0));  // rows from 0 on for every sample
  REDLINE_ASSIGN(Value * y, insert(node, "rotary_embedding", inputs, attrs));
  if (!layout->heads_first) {
    REDLINE_ASSIGN(y, reshape(node, y, {x[0], x[1], x[2], x[3]}));
  }
  node->graph()->replace_uses(node->output(), y);
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_recognise_rotary_embedding(PassRegistry& registry) {
  registry.add({"recognise_rotary_embedding",
                "rotary embedding from halves, or pairs, times cosines and sines", run});
}

}  // namespace redline
