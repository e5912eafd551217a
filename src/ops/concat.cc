// SPDX-License-Identifier: Apache-2.0
#include "ops/concat.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

int concat_axis(const ConcatAttrs& attrs, int rank) {
  return static_cast<int>(attrs.axis < 0 ? attrs.axis + rank : attrs.axis);
}

// Copies one operand of `length` x `inner` elements a row into rows of `row` elements.
template <class T>
void place_operand(const T* src, int64_t outer, int64_t block, int64_t row, T* dst) {
  for (int64_t i = 0; i < outer; ++i) std::copy_n(src + i * block, block, dst + i * row);
}

// The joined contents, when all operands' sizes and contents are known.
std::optional<SymDims> concat_contents(const InferContext& c, int axis, const Shape& out) {
  std::optional<Dims> dims = out.as_static();
  if (!dims || !tracks_contents(*dims)) return std::nullopt;
  SymDims joined(static_cast<size_t>(dims->count()));
  int64_t outer = dims->count(0, axis);
  int64_t row = dims->count(axis, dims->rank());
  int64_t at = 0;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    std::optional<Dims> in = c.shape(i).as_static();
    std::optional<SymDims> contents = c.contents(i);
    if (!in || !contents) return std::nullopt;
    int64_t block = in->count(axis, in->rank());
    place_operand(contents->data(), outer, block, row, joined.data() + at);
    at += block;
  }
  return joined;
}

Status infer_concat(InferContext& c) {
  std::optional<size_t> ranked;
  bool all_ranked = true;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    REDLINE_TRY(c.expect_same_dtype(i, 0));
    if (!c.shape(i).has_rank()) {
      all_ranked = false;
    } else if (!ranked) {
      ranked = i;
    } else if (c.shape(i).rank() != c.shape(*ranked).rank()) {
      return c.input_error(
          i, str_cat("must have rank ", c.shape(*ranked).rank(), ", that of the other inputs"));
    }
  }
  if (!ranked) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  int rank = c.shape(*ranked).rank();
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<ConcatAttrs>().axis, rank));
  SymDims out = c.shape(*ranked).dims();
  auto at = static_cast<size_t>(axis);
  Dim total(0);
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    if (!c.shape(i).has_rank()) continue;
    const Shape& in = c.shape(i);
    total += in[axis];
    for (int d = 0; d < rank; ++d) {
      if (d == axis) continue;
      Dim& size = out[static_cast<size_t>(d)];
      if (conflict(size, in[d])) {
        return c.input_error(i, str_cat("must have size ", size.value(), " at axis ", d));
      }
      size = known_dim(size, in[d]);
    }
  }
  out[at] = all_ranked ? total : c.fresh_symbol("concat");
  Shape shape(std::move(out));
  if (all_ranked) {
    if (std::optional<SymDims> contents = concat_contents(c, axis, shape)) {
      c.set_contents(0, std::move(*contents));
    }
  }
  c.set_output(0, c.dtype(0), std::move(shape));
  return {};
}

Status reference_concat(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  int axis = concat_axis(c.attrs<ConcatAttrs>(), out.dims.rank());
  int64_t outer = out.dims.count(0, axis);
  int64_t row = out.dims.count(axis, out.dims.rank());
  int64_t at = 0;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    const TensorView& in = c.input(i);
    int64_t block = in.dims.count(axis, in.dims.rank());
    with_storage_type(in.dtype, [&](auto t) {
      using T = decltype(t);
      place_operand(in.as<const T>(), outer, block, row, out.as<T>() + at);
    });
    at += block;
  }
  return {};
}

}  // namespace

void register_op_concat(OpRegistry& registry) {
  registry.add({.name = "concat",
                .inputs = {{"first"}, {"rest", Arity::kVariadic}},
                .outputs = {{"joined"}},
                .attrs = attrs_type<ConcatAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_concat,
                .reference = reference_concat});
}

}  // namespace redline
