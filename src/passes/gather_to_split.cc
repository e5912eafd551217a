// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ir/rewrite.h"
#include "ops/gather.h"
#include "ops/reshape.h"
#include "ops/split.h"
#include "ops/transpose.h"
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
  std::optional<Dims> data = static_dims(node->input(0));
  std::optional<std::vector<int64_t>> index = constant_ints(node->input(1));
  if (!data || data->count() == 0 || !index || index->size() != 1) return std::nullopt;
  int64_t axis = node->attrs<GatherAttrs>().axis;
  if (axis < 0) axis += data->rank();
  int64_t size = (*data)[static_cast<size_t>(axis)];
  int64_t number = index->front() < 0 ? index->front() + size : index->front();
  if (number < 0 || number >= size) return std::nullopt;
  return Part{node, static_cast<size_t>(axis), static_cast<size_t>(number)};
}

// The axis of `from` whose equal parts are the entries of axis `axis` of `to`, one after another.
std::optional<size_t> axis_before(const Dims& from, const Dims& to, size_t axis) {
  auto long_axes = [](const Dims& dims, Dims& sizes) {
    std::vector<size_t> axes;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (dims[i] == 1) continue;
      axes.push_back(i);
      sizes.push_back(dims[i]);
    }
    return axes;
  };
  Dims from_sizes;
  Dims to_sizes;
  std::vector<size_t> of_from = long_axes(from, from_sizes);
  std::vector<size_t> of_to = long_axes(to, to_sizes);
  std::optional<std::vector<ReshapeGroup>> groups = reshape_groups(from_sizes, to_sizes);
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
  std::optional<Dims> from = static_dims(node->input(0));
  if (!is_view(node) || !from) return std::nullopt;
  return axis_before(*from, *static_dims(node->output()), axis);
}

Origin origin_of(Value* x, size_t axis) {
  Origin origin{x, axis, {}};
  while (Node* node = origin.value->producer) {
    if (origin.value != x && origin.value->uses.size() != 1) break;
    std::optional<size_t> before = axis_of_input(node, origin.axis);
    if (!before) break;
    origin.path.push_back({node, origin.axis});
    origin.value = node->input(0);
    origin.axis = *before;
  }
  return origin;
}

Result<Value*> reshape(Node* at, Value* value, const Dims& dims) {
  SymDims sizes(dims.begin(), dims.end());
  return insert(at, "reshape", {value}, ReshapeAttrs{.sizes = std::move(sizes)});
}

// What x's part is, made of the split's.
Result<Value*> follow(const Part& own, Value* part, const Origin& origin, int64_t count) {
  for (size_t i = origin.path.size(); i-- > 0;) {
    auto [node, axis] = origin.path[i];
    if (node->is("transpose")) {
      REDLINE_ASSIGN(part, insert(own.node, "transpose", {part}, node->attrs()));
    } else {
      Dims dims = *static_dims(node->output());
      dims[axis] /= count;
      REDLINE_ASSIGN(part, reshape(own.node, part, dims));
    }
  }
  return reshape(own.node, part, *static_dims(own.node->output()));
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
  int64_t count = (*static_dims(x))[first->axis];
  std::vector<Part> parts = parts_of(x, *first);
  if (parts.size() < 2 || count < 2 || count > kMostParts) return false;
  Origin origin = origin_of(x, first->axis);
  if (!origin.turned() || origin.value->graph != node->graph()) return false;
  const Dims whole = *static_dims(origin.value);
  if (whole.count(static_cast<int>(origin.axis), whole.rank()) / count < kLeastRun) return false;
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
