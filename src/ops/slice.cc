// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// slice(data, starts, ends, axes?, steps?): numpy's data[start:end:step] along each named axis.

// `position` on an axis of `size`, counted from the end when negative, clamped to [low, high].
// None when its sign is not known.
std::optional<Dim> clamp_position(const Dim& position, const Dim& size, const Dim& low,
                                  const Dim& high) {
  // Exporters write INT32_MAX or INT64_MAX for "to the end" and their negatives for "from the
  // start"; no axis is that long.
  constexpr int64_t kFar = INT32_MAX;
  if (position.is_const() && !size.is_const()) {
    if (position.value() >= kFar) return high;
    if (position.value() <= -kFar) return min(low, high);
  }
  bool negative = position.is_const() ? position.value() < 0 : (-position).lower_bound() > 0;
  if (!negative) {
    if (position.lower_bound() < 0) return std::nullopt;
    return min(max(position, low), high);
  }
  if (position.is_const() && position.value() <= INT64_MIN / 2) return min(low, high);
  if (position == Dim(-1) && high == size - 1) return high;
  return min(max(position + size, low), high);
}

struct AxisSlice {
  std::optional<Dim> start;
  Dim length;
};

AxisSlice slice_axis(InferContext& c, const Dim& start, const Dim& end, int64_t step,
                     const Dim& size) {
  bool forward = step > 0;
  Dim low = forward ? 0 : -1;
  Dim high = forward ? size : size - 1;
  std::optional<Dim> first = clamp_position(start, size, 0, high);
  std::optional<Dim> last = clamp_position(end, size, low, high);
  if (!first || !last) return {first, c.fresh_symbol("slice")};
  Dim span = forward ? *last - *first : *first - *last;
  if (forward && *last == size) {
    // size - min(start, size) = max(size - start, 0), and from the end, -a: size - max(size - a, 0)
    // = min(size, a)
    if (start.lower_bound() > 0) span = size - start;
    if (start.is_const() && start.value() < 0 && start.value() > -INT32_MAX) {
      span = min(size, -start);
    }
  }
  return {first, max(ceil_div(span, forward ? step : -step), 0)};
}

struct Operands {
  SymDims starts;
  SymDims ends;
  std::vector<int> axes;
  std::vector<int64_t> steps;
};

// The operands that say what to cut; none when some are not known yet.
Result<std::optional<Operands>> read_operands(const InferContext& c, int rank) {
  for (size_t i = 1; i < 5; ++i) {
    if (i < 3 || c.has_input(i)) REDLINE_TRY(c.expect_rank(i, 1));
  }
  std::optional<int64_t> length;
  for (size_t i = 1; i < 5; ++i) {
    std::optional<int64_t> other = const_length(c, i);
    if (std::optional<SymDims> contents = c.contents(i)) {
      other = static_cast<int64_t>(contents->size());
    }
    if (length && other && *length != *other) {
      return c.input_error(i, str_cat("must have ", *length, " elements, as the others"));
    }
    if (other) length = other;
  }
  std::optional<SymDims> starts = c.contents(1);
  std::optional<SymDims> ends = c.contents(2);
  std::optional<Operands> none;
  if (c.has_input(4)) {
    if (std::optional<std::vector<int64_t>> steps = c.const_ints(4)) {
      for (int64_t step : *steps) {
        if (step == 0) return c.input_error(4, "holds 0");
      }
    }
  }
  if (!starts || !ends) {
    // Sizes stay open, but which axes keep theirs may be known.
    if (!length) return none;
    auto count = static_cast<size_t>(*length);
    starts = SymDims(count, Dim::invalid());
    ends = starts;
  }
  Operands result{*starts, *ends, {}, {}};
  auto count = static_cast<int64_t>(starts->size());
  if (count > rank) {
    return c.input_error(1, str_cat("has ", count, " elements for rank ", rank));
  }
  if (c.has_input(3)) {
    std::optional<std::vector<int64_t>> axes = c.const_ints(3);
    if (!axes) return none;
    REDLINE_ASSIGN(result.axes, normalize_axes(c, *axes, rank));
  } else {
    for (int i = 0; i < count; ++i) result.axes.push_back(i);
  }
  result.steps.assign(static_cast<size_t>(count), 1);
  if (c.has_input(4)) {
    std::optional<std::vector<int64_t>> steps = c.const_ints(4);
    if (!steps) {
      result.starts.assign(static_cast<size_t>(count), Dim::invalid());
    } else {
      result.steps = std::move(*steps);
      // The largest distance is enough, and -INT64_MIN does not exist.
      for (int64_t& step : result.steps) step = std::max(step, -INT64_MAX);
    }
  }
  return std::optional(std::move(result));
}

Status infer_slice(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  REDLINE_ASSIGN(std::optional<Operands> operands, read_operands(c, in.rank()));
  if (!operands) {
    c.set_output(0, c.dtype(0), fresh_dims(c, in.rank(), "slice"));
    return {};
  }
  SymDims out = in.dims();
  std::vector<Dim> first(out.size(), Dim(0));
  std::vector<int64_t> steps(out.size(), 1);
  bool known = true;
  for (size_t i = 0; i < operands->axes.size(); ++i) {
    auto axis = static_cast<size_t>(operands->axes[i]);
    const Dim& start = operands->starts[i];
    const Dim& end = operands->ends[i];
    if (start.is_invalid() || end.is_invalid()) {
      out[axis] = c.fresh_symbol("slice");
      known = false;
      continue;
    }
    AxisSlice cut = slice_axis(c, start, end, operands->steps[i], out[axis]);
    out[axis] = cut.length;
    steps[axis] = operands->steps[i];
    known &= cut.start.has_value() && cut.start->is_const();
    if (cut.start) first[axis] = *cut.start;
  }
  Shape shape(std::move(out));
  std::optional<Dims> in_dims = in.as_static();
  std::optional<Dims> out_dims = shape.as_static();
  std::optional<SymDims> contents = known && in_dims && out_dims ? c.contents(0) : std::nullopt;
  if (contents) {
    Dims strides = in_dims->strides();
    int64_t offset = 0;
    for (size_t d = 0; d < strides.size(); ++d) {
      offset += first[d].value() * strides[d];
      strides[d] = (*out_dims)[d] > 1 ? strides[d] * steps[d] : 0;
    }
    SymDims cut(static_cast<size_t>(out_dims->count()));
    if (!cut.empty()) copy_strided(contents->data() + offset, strides, *out_dims, cut.data());
    c.set_contents(0, std::move(cut));
  }
  c.set_output(0, c.dtype(0), std::move(shape));
  return {};
}

Status reference_slice(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  std::vector<int64_t> starts = read_ints(c.input(1));
  std::vector<int64_t> axes;
  if (c.has_input(3)) {
    axes = read_ints(c.input(3));
  } else {
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  }
  std::vector<int64_t> steps(starts.size(), 1);
  if (c.has_input(4)) steps = read_ints(c.input(4));
  if (out.count() == 0) return {};
  Dims strides = in.dims.strides();
  int64_t offset = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    auto axis = static_cast<size_t>(axes[i] < 0 ? axes[i] + in.dims.rank() : axes[i]);
    int64_t size = in.dims[axis];
    int64_t start = starts[i] < 0 ? starts[i] + size : starts[i];
    start = std::clamp<int64_t>(start, 0, steps[i] > 0 ? size : size - 1);
    offset += start * strides[axis];
    // One element needs no step, which may be too large to multiply.
    strides[axis] = out.dims[axis] > 1 ? strides[axis] * steps[i] : 0;
  }
  copy_strided(in, offset, strides, out.dims, out);
  return {};
}

}  // namespace

void register_op_slice(OpRegistry& registry) {
  registry.add({.name = "slice",
                .inputs = {{"data"},
                           {"starts"},
                           {"ends"},
                           {"axes", Arity::kOptional},
                           {"steps", Arity::kOptional}},
                .outputs = {{"cut"}},
                .traits = kTraitMovement,
                .infer = infer_slice,
                .reference = reference_slice});
}

}  // namespace redline
