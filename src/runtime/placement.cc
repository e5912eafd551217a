// SPDX-License-Identifier: Apache-2.0
#include "runtime/placement.h"

#include <algorithm>
#include <climits>
#include <optional>

#include "ops/concat.h"
#include "ops/elements.h"
#include "ops/gather.h"
#include "ops/split.h"

namespace redline {
namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kDeviceAlignment = 256;
constexpr size_t kDevicePartAlignment = 16;

size_t round_up(size_t bytes, size_t alignment) {
  return (bytes + alignment - 1) / alignment * alignment;
}

int64_t positive(int64_t axis, int rank) { return axis < 0 ? axis + rank : axis; }

class Placer {
 public:
  explicit Placer(const SizedPlan& sized)
      : sized_(sized),
        plan_(sized.plan),
        values_(plan_.values.size()),
        elided_(plan_.steps.size()) {}

  Placement place() {
    measure();
    live_peak_ = peak();
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const PlanStep& step = plan_.steps[s];
      if (sized_.dynamic[s]) continue;
      if (step.tactic == kViewTactic) {
        elided_[s] = true;
      } else if (step.op->name == "concat") {
        place_concat(s);
      } else {
        place_parts(s);
      }
    }
    return result();
  }

 private:
  struct Place {
    int parent = -1;  // -1: memory of its own
    size_t offset = 0;
    size_t bytes = 0;
    int maker = -1;  // step
    int first = -1;  // step that touches it first, and last
    int last = -1;
  };

  Place& at(int value) { return values_[static_cast<size_t>(value)]; }
  const PlanValue& plan_value(int value) const { return plan_.values[static_cast<size_t>(value)]; }
  const Dims& dims(int value) const { return sized_.dims[static_cast<size_t>(value)]; }
  bool is_sized(int value) const { return sized_.sized[static_cast<size_t>(value)]; }
  bool is_output(int value) const { return sized_.output[static_cast<size_t>(value)]; }

  void measure() {
    for (size_t v = 0; v < values_.size(); ++v) {
      const PlanValue& value = plan_.values[v];
      if (value.storage == Storage::kAlias) values_[v].parent = value.alias_of;
      if (!sized_.sized[v]) continue;
      values_[v].bytes =
          static_cast<size_t>(sized_.dims[v].count()) * dtype_bytes(value.type.dtype);
    }
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      const PlanStep& step = plan_.steps[s];
      auto touch = [&](int value) {
        if (value < 0) return;
        if (at(value).first < 0) at(value).first = static_cast<int>(s);
        at(value).last = static_cast<int>(s);
      };
      for (int value : step.inputs) touch(value);
      for (int value : step.outputs) {
        touch(value);
        at(value).maker = static_cast<int>(s);
      }
      for (const auto& captures : step.captures) {
        for (int value : captures) touch(value);
      }
    }
    // What the caller gets lasts to the end.
    for (const NamedValue& output : plan_.outputs) {
      at(output.value).last = static_cast<int>(plan_.steps.size());
    }
  }

  int root_of(int value) {
    while (at(value).parent >= 0) value = at(value).parent;
    return value;
  }

  bool may_lie_in_arena(int value) {
    return plan_value(value).storage == Storage::kArena && is_sized(value) && !is_output(value) &&
           at(value).first >= 0;
  }

  bool is_on_device(int value) const { return plan_value(value).space == Space::kDevice; }

  // The buffers of an arena: one an own memory, alive while anything in it is.
  std::vector<MemoryItem> roots(Space space, std::vector<int>* item_of_value = nullptr) {
    std::vector<MemoryItem> items;
    std::vector<int> item(values_.size(), -1);
    for (size_t i = 0; i < values_.size(); ++i) {
      auto v = static_cast<int>(i);
      auto root = static_cast<size_t>(root_of(v));
      if (plan_.values[root].space != space) continue;
      if (at(v).first < 0 || !may_lie_in_arena(static_cast<int>(root))) continue;
      if (item[root] < 0) {
        item[root] = static_cast<int>(items.size());
        items.push_back({values_[root].bytes, at(v).first, at(v).last});
      }
      MemoryItem& buffer = items[static_cast<size_t>(item[root])];
      buffer.first = std::min(buffer.first, at(v).first);
      buffer.last = std::max(buffer.last, at(v).last);
    }
    if (item_of_value != nullptr) *item_of_value = std::move(item);
    return items;
  }

  size_t peak() {
    return live_peak(roots(Space::kHost), kAlignment) +
           live_peak(roots(Space::kDevice), kDeviceAlignment);
  }

  // What is alive wherever it lies: of a buffer that is made in parts, the parts made so far.
  size_t least_bytes(const std::vector<MemoryItem>& items, const std::vector<int>& item_of_value,
                     size_t alignment) {
    std::vector<MemoryItem> parts;
    for (size_t i = 0; i < values_.size(); ++i) {
      auto v = static_cast<int>(i);
      const Place& place = values_[i];
      int item = item_of_value[static_cast<size_t>(root_of(v))];
      if (item < 0 || place.maker < 0 || plan_value(v).storage != Storage::kArena) continue;
      if (elided_[static_cast<size_t>(place.maker)]) continue;
      size_t bytes = place.parent < 0 ? round_up(place.bytes, alignment) : place.bytes;
      parts.push_back({bytes, place.first, items[static_cast<size_t>(item)].last});
    }
    return live_peak(parts, 1);
  }

  // Keeps a change of places unless it needs more memory.
  bool keep_if_no_larger(std::span<const int> changed) {
    size_t changed_peak = peak();
    if (changed_peak <= live_peak_) {
      live_peak_ = changed_peak;
      return true;
    }
    for (int value : changed) {
      at(value).parent = -1;
      at(value).offset = 0;
    }
    return false;
  }

  bool is_aligned(int value, size_t offset) const {
    return !is_on_device(value) || offset % kDevicePartAlignment == 0;
  }

  bool same_dtype(int a, int b) const {
    return plan_value(a).type.dtype == plan_value(b).type.dtype;
  }

  // --- Parts of a value ------------------------------------------------------------------------

  void place_parts(size_t s) {
    const PlanStep& step = plan_.steps[s];
    if (step.inputs.empty() || step.inputs[0] < 0) return;
    int whole = step.inputs[0];
    if (plan_value(root_of(whole)).storage == Storage::kConstant) return;
    std::optional<std::vector<size_t>> offsets = part_offsets(step);
    if (!offsets) return;
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      int part = step.outputs[i];
      if (is_output(part) || !same_dtype(part, whole)) return;
      if (!is_aligned(whole, (*offsets)[i])) return;
      if ((*offsets)[i] > at(whole).bytes || at(part).bytes > at(whole).bytes - (*offsets)[i]) {
        return;
      }
    }
    for (size_t i = 0; i < step.outputs.size(); ++i) {
      at(step.outputs[i]).parent = whole;
      at(step.outputs[i]).offset = (*offsets)[i];
    }
    elided_[s] = keep_if_no_larger(step.outputs);
  }

  // Where in input 0 the outputs lie, in bytes; none when they are not there in one piece.
  std::optional<std::vector<size_t>> part_offsets(const PlanStep& step) {
    if (step.op->name == "split") return split_offsets(step);
    if (step.op->name == "slice") return slice_offset(step);
    if (step.op->name == "gather") return gather_offset(step);
    return std::nullopt;
  }

  std::optional<std::vector<int64_t>> constant_ints(const PlanStep& step, size_t i) const {
    if (i >= step.inputs.size() || step.inputs[i] < 0) return std::nullopt;
    const PlanValue& value = plan_value(step.inputs[i]);
    if (value.storage != Storage::kConstant) return std::nullopt;
    const PlanConstant& constant = *plan_.constants[static_cast<size_t>(value.constant)];
    if (!constant.recipe.empty() || !is_int(constant.data.dtype())) return std::nullopt;
    return read_ints(constant.data.view());
  }

  size_t bytes_of(int value, int64_t elements) const {
    return static_cast<size_t>(elements) * dtype_bytes(plan_value(value).type.dtype);
  }

  std::optional<std::vector<size_t>> split_offsets(const PlanStep& step) {
    int whole = step.inputs[0];
    // Sizes that only the run tells are checked only there.
    bool told = step.inputs.size() < 2 || step.inputs[1] < 0 || constant_ints(step, 1);
    int64_t axis = positive(step.attrs.as<SplitAttrs>().axis, dims(whole).rank());
    if (!told || dims(whole).count(0, static_cast<int>(axis)) != 1) return std::nullopt;
    std::vector<size_t> offsets;
    size_t offset = 0;
    for (int part : step.outputs) {
      offsets.push_back(offset);
      offset += at(part).bytes;
    }
    return offsets;
  }

  // A slice that shortens one axis, in front of which are none but of size 1.
  std::optional<std::vector<size_t>> slice_offset(const PlanStep& step) {
    const Dims& from = dims(step.inputs[0]);
    const Dims& to = dims(step.outputs[0]);
    std::optional<std::vector<int64_t>> starts = constant_ints(step, 1);
    std::optional<std::vector<int64_t>> axes = constant_ints(step, 3);
    std::optional<std::vector<int64_t>> steps = constant_ints(step, 4);
    auto given = [&](size_t i) { return step.inputs.size() > i && step.inputs[i] >= 0; };
    if (!starts || !constant_ints(step, 2) || given(3) != axes.has_value()) return std::nullopt;
    if (given(4) != steps.has_value()) return std::nullopt;
    if (steps && std::any_of(steps->begin(), steps->end(), [](int64_t by) { return by != 1; })) {
      return std::nullopt;
    }
    size_t offset = 0;
    for (size_t i = 0; i < starts->size(); ++i) {
      int64_t axis = positive(axes ? (*axes)[i] : static_cast<int64_t>(i), from.rank());
      int64_t size = from[static_cast<size_t>(axis)];
      if (to[static_cast<size_t>(axis)] == size) continue;
      if (from.count(0, static_cast<int>(axis)) != 1) return std::nullopt;
      int64_t start = (*starts)[i] < 0 ? (*starts)[i] + size : (*starts)[i];
      start = std::clamp<int64_t>(start, 0, size);
      offset +=
          bytes_of(step.inputs[0], start * from.count(static_cast<int>(axis) + 1, from.rank()));
    }
    return std::vector<size_t>{offset};
  }

  std::optional<std::vector<size_t>> gather_offset(const PlanStep& step) {
    const Dims& from = dims(step.inputs[0]);
    std::optional<std::vector<int64_t>> index = constant_ints(step, 1);
    auto axis = static_cast<int>(positive(step.attrs.as<GatherAttrs>().axis, from.rank()));
    if (!index || index->size() != 1 || from.count(0, axis) != 1) return std::nullopt;
    int64_t size = from[static_cast<size_t>(axis)];
    int64_t element = (*index)[0] < 0 ? (*index)[0] + size : (*index)[0];
    if (element < 0 || element >= size) return std::nullopt;
    int64_t inner = from.count(axis + 1, from.rank());
    return std::vector<size_t>{bytes_of(step.inputs[0], element * inner)};
  }

  // --- Concatenations --------------------------------------------------------------------------

  void place_concat(size_t s) {
    const PlanStep& step = plan_.steps[s];
    int joined = step.outputs[0];
    auto axis = positive(step.attrs.as<ConcatAttrs>().axis, dims(joined).rank());
    if (dims(joined).count(0, static_cast<int>(axis)) != 1) return;
    std::vector<int> moved;
    std::vector<size_t> offsets;
    size_t offset = 0;
    for (int input : step.inputs) {
      int operand = behind_views(input);
      if (!can_be_made_elsewhere(operand) || !same_dtype(operand, joined) ||
          std::find(moved.begin(), moved.end(), operand) != moved.end()) {
        return;
      }
      if (!is_aligned(joined, offset)) return;
      moved.push_back(operand);
      offsets.push_back(offset);
      offset += at(operand).bytes;
    }
    if (offset != at(joined).bytes) return;
    for (size_t i = 0; i < moved.size(); ++i) {
      at(moved[i]).parent = joined;
      at(moved[i]).offset = offsets[i];
    }
    elided_[s] = keep_if_no_larger(moved);
  }

  int behind_views(int value) {
    while (plan_value(value).storage == Storage::kAlias) value = plan_value(value).alias_of;
    return value;
  }

  // A step makes it and finds out where only when it runs.
  bool can_be_made_elsewhere(int value) {
    const Place& place = at(value);
    return may_lie_in_arena(value) && place.parent < 0 && place.maker >= 0 &&
           !sized_.dynamic[static_cast<size_t>(place.maker)];
  }

  // When the steps that touch a buffer run, in numbers of steps of each stream.
  struct Use {
    std::vector<int> begins;  // after so many, at least
    std::vector<int> ends;    // not before all of so many have run
  };

  std::vector<Use> uses_of(size_t items, const std::vector<int>& item_of_value) {
    const StepOrder& order = sized_.order;
    auto streams = static_cast<size_t>(order.streams());
    std::vector<Use> uses(items,
                          {std::vector<int>(streams, INT_MAX), std::vector<int>(streams, 0)});
    auto touch = [&](int value, size_t step) {
      int item = value < 0 ? -1 : item_of_value[static_cast<size_t>(root_of(value))];
      if (item < 0) return;
      Use& use = uses[static_cast<size_t>(item)];
      for (size_t k = 0; k < streams; ++k) {
        use.begins[k] = std::min(use.begins[k], order.before(step, static_cast<int>(k)));
      }
      int& end = use.ends[static_cast<size_t>(order.stream(step))];
      end = std::max(end, order.place(step) + 1);
    };
    for (size_t s = 0; s < plan_.steps.size(); ++s) {
      for (int value : plan_.steps[s].inputs) touch(value, s);
      for (int value : plan_.steps[s].outputs) touch(value, s);
      for (const auto& captures : plan_.steps[s].captures) {
        for (int value : captures) touch(value, s);
      }
    }
    return uses;
  }

  // Buffers of which one is dead before the other is born in the list of steps, but not on the GPU.
  std::vector<std::pair<size_t, size_t>> side_by_side(const std::vector<MemoryItem>& items,
                                                      const std::vector<int>& item_of_value) {
    std::vector<std::pair<size_t, size_t>> pairs;
    if (sized_.order.streams() == 1) return pairs;
    std::vector<Use> uses = uses_of(items.size(), item_of_value);
    for (size_t a = 0; a < items.size(); ++a) {
      for (size_t b = 0; b < items.size(); ++b) {
        if (items[a].last >= items[b].first) continue;
        for (size_t k = 0; k < uses[a].ends.size(); ++k) {
          if (uses[a].ends[k] <= uses[b].begins[k]) continue;
          pairs.emplace_back(a, b);
          break;
        }
      }
    }
    return pairs;
  }

  MemoryPlan plan_space(Space space, size_t alignment, std::vector<int>& item_of_value) {
    std::vector<int> items_here;
    std::vector<MemoryItem> items = roots(space, &items_here);
    MemoryPlan memory = plan_memory(items, alignment, side_by_side(items, items_here));
    memory.lower_bound = std::min(memory.lower_bound, least_bytes(items, items_here, alignment));
    for (size_t v = 0; v < values_.size(); ++v) {
      if (items_here[v] >= 0) item_of_value[v] = items_here[v];
    }
    return memory;
  }

  Placement result() {
    Placement placement;
    for (size_t v = 0; v < values_.size(); ++v) {
      int root = static_cast<int>(v);
      size_t offset = 0;
      for (; at(root).parent >= 0; root = at(root).parent) offset += at(root).offset;
      placement.root.push_back(root);
      placement.offset.push_back(offset);
    }
    placement.item_of_value.assign(values_.size(), -1);
    placement.host = plan_space(Space::kHost, kAlignment, placement.item_of_value);
    placement.device = plan_space(Space::kDevice, kDeviceAlignment, placement.item_of_value);
    placement.elided = std::move(elided_);
    return placement;
  }

  const SizedPlan& sized_;
  const Plan& plan_;
  std::vector<Place> values_;
  std::vector<bool> elided_;
  size_t live_peak_ = 0;
};

}  // namespace

Placement plan_placement(const SizedPlan& sized) { return Placer(sized).place(); }

}  // namespace redline
