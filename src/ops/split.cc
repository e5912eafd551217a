// SPDX-License-Identifier: Apache-2.0
#include "ops/split.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Dim equal_part(const Dim& size, int64_t parts, int64_t i) {
  Dim part = ceil_div(size, parts);
  if (exact_div(size, parts)) return part;
  return max(min(part, size - part * i), 0);
}

// Sizes of the parts; none when they cannot be told yet.
Result<std::optional<SymDims>> part_sizes(const InferContext& c, const Dim& size) {
  const auto& attrs = c.attrs<SplitAttrs>();
  auto outputs = static_cast<int64_t>(c.num_outputs());
  if (!c.has_input(1)) {
    int64_t parts = attrs.num_outputs.value_or(outputs);
    if (parts < outputs || parts < 1) {
      return c.error(str_cat("num_outputs is ", parts, ", the node has ", outputs, " outputs"));
    }
    SymDims sizes;
    for (int64_t i = 0; i < outputs; ++i) sizes.push_back(equal_part(size, parts, i));
    return std::optional(std::move(sizes));
  }
  REDLINE_TRY(c.expect_rank(1, 1));
  std::optional<SymDims> sizes = c.contents(1);
  if (!sizes) return std::optional<SymDims>();
  if (static_cast<int64_t>(sizes->size()) < outputs) {
    return c.input_error(1, str_cat("has ", sizes->size(), " sizes for ", outputs, " outputs"));
  }
  Dim total(0);
  for (const Dim& part : *sizes) {
    if (part.is_const() && part.value() < 0) {
      return c.input_error(1, str_cat("holds the size ", part.value()));
    }
    total += part;
  }
  if (conflict(total, size)) {
    return c.input_error(
        1, str_cat("adds up to ", total.value(), ", the axis has size ", size.value()));
  }
  return sizes;
}

Status infer_split(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& in = c.shape(0);
  if (!in.has_rank()) {
    for (size_t i = 0; i < c.num_outputs(); ++i) c.set_output(i, c.dtype(0), Shape());
    return {};
  }
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<SplitAttrs>().axis, in.rank()));
  REDLINE_ASSIGN(std::optional<SymDims> sizes, part_sizes(c, in[axis]));
  std::optional<SymDims> contents = in.rank() == 1 ? c.contents(0) : std::nullopt;
  int64_t at = 0;
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    SymDims dims = in.dims();
    Dim& size = dims[static_cast<size_t>(axis)];
    size = sizes ? (*sizes)[i] : c.fresh_symbol("split");
    if (contents && size.is_const()) {
      int64_t end = at + size.value();
      if (end <= static_cast<int64_t>(contents->size())) {
        c.set_contents(i, SymDims(contents->begin() + at, contents->begin() + end));
      }
      at = end;
    } else {
      contents.reset();
    }
    c.set_output(i, c.dtype(0), std::move(dims));
  }
  return {};
}

Status reference_split(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  auto rank = in.dims.rank();
  int64_t axis = c.attrs<SplitAttrs>().axis;
  if (axis < 0) axis += rank;
  Dims strides = in.dims.strides();
  int64_t start = 0;
  for (size_t i = 0; i < c.num_outputs(); ++i) {
    const TensorView& out = c.output(i);
    auto at = static_cast<size_t>(axis);
    if (start + out.dims[at] > in.dims[at]) {
      return invalid_argument("the parts need more than the ", in.dims[at], " of axis ", axis);
    }
    copy_strided(in, start * strides[at], strides, out.dims, out);
    start += out.dims[at];
  }
  return {};
}

}  // namespace

void register_op_split(OpRegistry& registry) {
  registry.add({.name = "split",
                .inputs = {{"data"}, {"sizes", Arity::kOptional}},
                .outputs = {{"parts", Arity::kVariadic}},
                .attrs = attrs_type<SplitAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_split,
                .reference = reference_split});
}

}  // namespace redline
