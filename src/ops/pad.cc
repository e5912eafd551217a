// SPDX-License-Identifier: Apache-2.0
#include "ops/pad.h"

#include <numeric>

#include "base/checked.h"
#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// The axes that `pads` speaks of; none when that input is not known yet.
Result<std::optional<std::vector<int>>> pad_axes(const InferContext& c, int rank) {
  if (!c.has_input(3)) {
    std::vector<int> all(static_cast<size_t>(rank));
    std::iota(all.begin(), all.end(), 0);
    return std::optional(std::move(all));
  }
  REDLINE_TRY(c.expect_rank(3, 1));
  std::optional<std::vector<int64_t>> axes = c.const_ints(3);
  if (!axes) return std::optional<std::vector<int>>();
  REDLINE_ASSIGN(std::vector<int> result, normalize_axes(c, *axes, rank));
  return std::optional(std::move(result));
}

Status infer_pad(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  if (c.has_input(2)) REDLINE_TRY(c.expect_same_dtype(2, 0));
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  if (!in.has_rank()) return {};
  REDLINE_ASSIGN(std::optional<std::vector<int>> axes, pad_axes(c, in.rank()));
  if (!axes) {
    c.set_output(0, c.dtype(0), fresh_dims(c, in.rank(), "pad"));
    return {};
  }
  std::optional<SymDims> pads = c.contents(1);
  std::optional<int64_t> length = const_length(c, 1);
  if (pads) length = static_cast<int64_t>(pads->size());
  if (length && *length != 2 * static_cast<int64_t>(axes->size())) {
    return c.input_error(1, str_cat("must have ", 2 * axes->size(), " elements"));
  }
  SymDims out = in.dims();
  for (size_t i = 0; i < axes->size(); ++i) {
    Dim& size = out[static_cast<size_t>((*axes)[i])];
    if (!pads) {
      size = c.fresh_symbol("pad");
      continue;
    }
    Dim padded = size + (*pads)[i] + (*pads)[i + axes->size()];
    if (padded.is_invalid() || (padded.is_const() && padded.value() < 0)) {
      return c.input_error(1, str_cat("leaves axis ", (*axes)[i], " of size ", size.to_string(),
                                      " with ", padded.to_string()));
    }
    size = padded;
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

// Source index of each padded index along one axis.
Result<std::vector<int64_t>> pad_map(PadMode mode, int64_t size, int64_t begin, int64_t end,
                                     int64_t padded) {
  // The part that cropping leaves is [first, first + kept).
  int64_t first = std::max<int64_t>(-begin, 0);
  int64_t kept = size - first - std::max<int64_t>(-end, 0);
  std::vector<int64_t> map(static_cast<size_t>(padded));
  if (mode != PadMode::kConstant && kept <= 0 && padded > 0) {
    return invalid_argument("an axis of size ", size, " cannot be padded by ", begin, " and ", end,
                            ": nothing is left to repeat");
  }
  for (int64_t i = 0; i < padded; ++i) {
    int64_t at = i - std::max<int64_t>(begin, 0);  // in the part that is kept
    switch (mode) {
      case PadMode::kConstant:
        at = at < 0 || at >= kept ? kFill : at + first;
        break;
      case PadMode::kEdge:
        at = std::clamp<int64_t>(at, 0, kept - 1) + first;
        break;
      case PadMode::kWrap:
        at = (at % kept + kept) % kept + first;
        break;
      case PadMode::kReflect: {
        int64_t period = std::max<int64_t>(2 * (kept - 1), 1);
        at = (at % period + period) % period;
        at = (at < kept ? at : period - at) + first;
        break;
      }
    }
    map[static_cast<size_t>(i)] = at;
  }
  return map;
}

void pad_elements(const TensorView& in, const AxisMaps& maps, const TensorView* fill,
                  const TensorView& out) {
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    copy_mapped(in.as<const T>(), in.dims, maps, fill != nullptr ? *fill->as<const T>() : T{},
                out.as<T>());
  });
}

Status reference_pad(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  if (out.count() == 0) return {};
  std::vector<int64_t> pads = read_ints(c.input(1));
  std::vector<int64_t> axes(static_cast<size_t>(in.dims.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  if (c.has_input(3)) axes = read_ints(c.input(3));
  std::vector<int64_t> begins(static_cast<size_t>(in.dims.rank()), 0);
  std::vector<int64_t> ends = begins;
  for (size_t i = 0; i < axes.size(); ++i) {
    auto axis = static_cast<size_t>(axes[i] < 0 ? axes[i] + in.dims.rank() : axes[i]);
    begins[axis] = pads[i];
    ends[axis] = pads[i + axes.size()];
  }
  AxisMaps maps;
  for (size_t d = 0; d < begins.size(); ++d) {
    constexpr int64_t kMost = INT64_MAX / 4;
    if (std::abs(begins[d] / 2) > kMost / 2 || std::abs(ends[d] / 2) > kMost / 2) {
      return invalid_argument("pads of ", begins[d], " and ", ends[d], " are too large");
    }
    REDLINE_ASSIGN(std::vector<int64_t> map,
                   pad_map(c.attrs<PadAttrs>().mode, in.dims[d], begins[d], ends[d], out.dims[d]));
    maps.push_back(std::move(map));
  }
  const TensorView* fill = c.has_input(2) ? &c.input(2) : nullptr;
  if (fill != nullptr && fill->count() != 1) {
    return invalid_argument("the constant value has ", fill->count(), " elements, expected 1");
  }
  pad_elements(in, maps, fill, out);
  return {};
}

Status infer_center_crop_pad(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  if (!in.has_rank()) return {};
  std::vector<int64_t> axes(static_cast<size_t>(in.rank()));
  std::iota(axes.begin(), axes.end(), 0);
  if (const auto& named = c.attrs<CenterCropPadAttrs>().axes) axes = *named;
  REDLINE_ASSIGN(std::vector<int> at, normalize_axes(c, axes, in.rank()));
  std::optional<SymDims> target = c.contents(1);
  std::optional<int64_t> length = const_length(c, 1);
  if (target) length = static_cast<int64_t>(target->size());
  if (length && *length != static_cast<int64_t>(at.size())) {
    return c.input_error(1, str_cat("must have ", at.size(), " elements"));
  }
  SymDims out = in.dims();
  for (size_t i = 0; i < at.size(); ++i) {
    if (target && (*target)[i].is_const() && (*target)[i].value() < 0) {
      return c.input_error(1, str_cat("holds the size ", (*target)[i].value()));
    }
    out[static_cast<size_t>(at[i])] = target ? (*target)[i] : c.fresh_symbol("crop");
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_center_crop_pad(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  if (c.output(0).count() == 0) return {};
  AxisMaps maps;
  for (size_t d = 0; d < in.dims.size(); ++d) {
    int64_t size = in.dims[d];
    int64_t target = c.output(0).dims[d];
    // An odd pixel goes to the end, whether it is cut off or added.
    int64_t begin = target < size ? -((size - target) / 2) : (target - size) / 2;
    REDLINE_ASSIGN(std::vector<int64_t> map,
                   pad_map(PadMode::kConstant, size, begin, target - size - begin, target));
    maps.push_back(std::move(map));
  }
  pad_elements(in, maps, nullptr, c.output(0));
  return {};
}

}  // namespace

void register_op_pad(OpRegistry& registry) {
  registry.add({.name = "pad",
                .inputs = {{"data"},
                           {"pads"},
                           {"constant_value", Arity::kOptional},
                           {"axes", Arity::kOptional}},
                .outputs = {{"padded"}},
                .attrs = attrs_type<PadAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_pad,
                .reference = reference_pad});
  registry.add({.name = "center_crop_pad",
                .inputs = {{"data"}, {"shape"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<CenterCropPadAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_center_crop_pad,
                .reference = reference_center_crop_pad});
}

}  // namespace redline
