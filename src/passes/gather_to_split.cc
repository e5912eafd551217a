// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ir/rewrite.h"
#include "ops/gather.h"
#include "ops/reshape.h"
#include "ops/split.h"
#include "ops/transpose.h"
#include "passes/bound_sizes.h"
#include "passes/pass.h"
#include "passes/reshape_groups.h"

namespace redline {
namespace {

constexpr int64_t kMostParts = 16;
// Elements that lie together in a part: shorter runs are better turned first.
constexpr int64_t kLeastRun = 8;

// gather(x, one constant): which part of the axis; none when it is another node.
struct Part {
  Node* node = nullptr;
  size_t axis = 0;
  size_t number = 0;
};

std::optional<Part> as_part(Node* node) {
  if (node == nullptr || !node->is("gather") || !node->input(1)->is_constant()) return std::nullopt;
  const Shape& data = node->input(0)->shape();
  std::optional<std::vector<int64_t>> index = constant_ints(node->input(1));
  if (!data.has_rank() || !index || index->size() != 1) return std::nullopt;
  int64_t axis = node->attrs<GatherAttrs>().axis;
  if (axis < 0) axis += data.rank();
  std::optional<int64_t> size = data[static_cast<int>(axis)].as_const();
  if (!size) return std::nullopt;
  int64_t number = index->front() < 0 ? index->front() + *size : index->front();
  if (number < 0 || number >= *size) return std::nullopt;
  return Part{node, static_cast<size_t>(axis), static_cast<size_t>(number)};
}

// The axis of `from` whose equal parts are the entries of axis `axis` of `to`, one after another.
std::optional<size_t> axis_before(const SymDims& from, const SymDims& to, size_t axis) {
  std::vector<size_t> of_from = long_axes(from);
  std::vector<size_t> of_to = long_axes(to);
  std::optional<std::vector<ReshapeGroup>> groups =
      reshape_groups(sizes_of(from, of_from), sizes_of(to, of_to));
  if (!groups) return std::nullopt;
  for (const ReshapeGroup& group : *groups) {
    bool one = group.from_last == group.from_first + 1;
    if (one && of_to[group.to_first] == axis) return of_from[group.from_first];
  }
  return std::nullopt;
}

bool is_view(const Node* node) {
  return node->op().has(kTraitView) && !node->is("bit_cast") && node->num_outputs() == 1;
}

// From x up to what it is a view or transpose of, as long as nobody else reads what lies between.
struct Origin {
  struct Step {
    Node* node = nullptr;
    size_t axis = 0;  // of its output
  };
  Value* value = nullptr;
  size_t axis = 0;
  std::vector<Step> path;  // from x's producer upwards

  bool turned() const {
    return std::any_of(path.begin(), path.end(),
                       [](const Step& step) { return step.node->is("transpose"); });
  }
};

std::optional<size_t> axis_of_input(const Node* node, size_t axis) {
  if (node->is("transpose")) {
    const std::vector<int64_t>& perm = node->attrs<TransposeAttrs>().perm;
    auto last = static_cast<size_t>(node->input(0)->shape().rank()) - 1;
    return perm.empty() ? last - axis : static_cast<size_t>(perm[axis]);
  }
  const SymDims& to = node->output()->shape().dims();
  // New sizes are made of these.
  if (!is_view(node) || !is_bound(to, bound_symbols(*node->graph()))) return std::nullopt;
  return axis_before(node->input(0)->shape().dims(), to, axis);
}

Origin origin_of(Value* x, size_t axis) {
  Origin origin{x, axis, {}};
  while (Node* node = origin.value->producer) {
    if (origin.value != x && origin.value->uses.size() != 1) break;
    const Shape& from = node->input(0)->shape();
    std::optional<size_t> before;
    if (from.has_rank()) before = axis_of_input(node, origin.axis);
    if (!before || !from[static_cast<int>(*before)].is_const()) break;
    origin.path.push_back({node, origin.axis});
    origin.value = node->input(0);
    origin.axis = *before;
  }
  return origin;
}

Result<Value*> reshape(Node* at, Value* value, SymDims sizes) {
  return insert(at, "reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

// Elements along the axis and the known ones behind it.
int64_t run_length(const Origin& origin) {
  const Shape& shape = origin.value->shape();
  int64_t length = 1;
  for (int axis = static_cast<int>(origin.axis); axis < shape.rank(); ++axis) {
    length *= std::min(shape[axis].as_const().value_or(1), kLeastRun * kMostParts);
    length = std::min(length, kLeastRun * kMostParts);
  }
  return length;
}

// What x's part is, made of the split's.
Result<Value*> follow(const Part& own, Value* part, const Origin& origin, int64_t count) {
  for (size_t i = origin.path.size(); i-- > 0;) {
    auto [node, axis] = origin.path[i];
    if (node->is("transpose")) {
      REDLINE_ASSIGN(part, insert(own.node, "transpose", {part}, node->attrs()));
    } else {
      SymDims sizes = node->output()->shape().dims();
      sizes[axis] = sizes[axis].value() / count;
      REDLINE_ASSIGN(part, reshape(own.node, part, std::move(sizes)));
    }
  }
  return reshape(own.node, part, own.node->output()->shape().dims());
}

// All parts of x by number, when nothing else is done with it.
std::vector<Part> parts_of(const Value* x, const Part& first) {
  std::vector<Part> parts;
  for (const Use& use : x->uses) {
    std::optional<Part> part = use.index == 0 ? as_part(use.node) : std::nullopt;
    if (!part || part->axis != first.axis || part->node->graph() != first.node->graph()) return {};
    parts.push_back(*part);
  }
  return parts;
}

// Parts of a view of y that lie beside each other in y are parts of y: what turned the view, to
// have the parts one behind another, goes. Fires when that is a transpose; else the parts were
// where they should be.
Result<bool> rewrite(Node* node) {
  std::optional<Part> first = as_part(node);
  if (!first || node->output()->uses.empty()) return false;
  Value* x = node->input(0);
  int64_t count = x->shape()[static_cast<int>(first->axis)].value();
  std::vector<Part> parts = parts_of(x, *first);
  if (parts.size() < 2 || count < 2 || count > kMostParts) return false;
  Origin origin = origin_of(x, first->axis);
  if (!origin.turned() || origin.value->graph != node->graph()) return false;
  if (run_length(origin) / count < kLeastRun) return false;
  if (!is_bound(node->output()->shape().dims(), bound_symbols(*node->graph()))) return false;
  SplitAttrs attrs{.axis = static_cast<int64_t>(origin.axis), .num_outputs = count};
  REDLINE_ASSIGN(Value * part, insert(origin.path.front().node, "split", {origin.value}, attrs,
                                      static_cast<size_t>(count)));
  const Node* split = part->producer;
  for (const Part& own : parts) {
    REDLINE_ASSIGN(Value * result, follow(own, split->output(own.number), origin, count));
    // The node itself goes when all that is dead goes: others of its kind come after it.
    node->graph()->replace_uses(own.node->output(), result);
  }
  return true;
}

Result<bool> run(Graph& graph, PassContext&) { return rewrite_and_sweep(graph, rewrite); }

}  // namespace

void register_pass_gather_to_split(PassRegistry& registry) {
  registry.add(
      {"gather_to_split", "parts that were turned to the front are cut where they lie", run});
}

}  // namespace redline
