// SPDX-License-Identifier: Apache-2.0
#include <array>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// expand(data, shape): data broadcast against a tensor of the given sizes; an axis where `shape`
// says 1 keeps the data's size.

Status infer_expand(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  const Shape& in = c.shape(0);
  std::optional<SymDims> target = c.contents(1);
  std::optional<int64_t> length = const_length(c, 1);
  if (target) length = static_cast<int64_t>(target->size());
  c.set_output(0, c.dtype(0), Shape());
  if (length) REDLINE_TRY(check_output_rank(c, *length));
  if (!in.has_rank() || !length) return {};
  if (!target) {
    SymDims sizes = fresh_dims(c, std::max<int64_t>(*length, in.rank()), "expand");
    // Only sizes of 1 can become others.
    for (size_t i = 0; i < in.dims().size(); ++i) {
      const Dim& size = in.dims()[i];
      if (is_never_one(size)) sizes[sizes.size() - in.dims().size() + i] = size;
    }
    c.set_output(0, c.dtype(0), std::move(sizes));
    return {};
  }
  for (const Dim& size : *target) {
    if (size.is_const() && size.value() < 0) {
      return c.input_error(1, str_cat("holds the size ", size.value()));
    }
  }
  std::array<Shape, 2> shapes = {in, *target};
  Result<Shape> out = broadcast_shapes(shapes);
  if (!out.ok()) return c.error(out.status().message());
  std::optional<SymDims> contents = c.contents(0);
  std::optional<Dims> from = in.as_static();
  std::optional<Dims> to = out->as_static();
  if (contents && from && to && tracks_contents(*to)) {
    SymDims spread(static_cast<size_t>(to->count()));
    copy_strided(contents->data(), broadcast_strides(*from, *to), *to, spread.data());
    c.set_contents(0, std::move(spread));
  }
  c.set_output(0, c.dtype(0), *std::move(out));
  return {};
}

Status reference_expand(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  copy_strided(in, 0, broadcast_strides(in.dims, out.dims), out.dims, out);
  return {};
}

}  // namespace

void register_op_expand(OpRegistry& registry) {
  registry.add({.name = "expand",
                .inputs = {{"data"}, {"shape"}},
                .outputs = {{"expanded"}},
                .traits = kTraitMovement,
                .infer = infer_expand,
                .reference = reference_expand});
}

}  // namespace redline
