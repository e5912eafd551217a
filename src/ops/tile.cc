// SPDX-License-Identifier: Apache-2.0
#include "base/checked.h"
#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// tile(data, repeats): the data repeated repeats[d] times along each axis d.

Status infer_tile(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  const Shape& in = c.shape(0);
  std::optional<SymDims> repeats = c.contents(1);
  std::optional<int64_t> length = const_length(c, 1);
  if (repeats) length = static_cast<int64_t>(repeats->size());
  c.set_output(0, c.dtype(0), Shape());
  if (!in.has_rank()) {
    if (length) {
      REDLINE_TRY(check_output_rank(c, *length));
      c.set_output(0, c.dtype(0), fresh_dims(c, *length, "tile"));
    }
    return {};
  }
  if (length && *length != in.rank()) {
    return c.input_error(1, str_cat("must have ", in.rank(), " elements, the rank of the data"));
  }
  SymDims out = in.dims();
  for (size_t d = 0; d < out.size(); ++d) {
    if (!repeats) {
      out[d] = c.fresh_symbol("tile");
      continue;
    }
    const Dim& times = (*repeats)[d];
    if (times.is_const() && times.value() < 0) {
      return c.input_error(1, str_cat("holds ", times.value()));
    }
    out[d] *= times;
    if (out[d].is_invalid()) return c.input_error(1, "makes the tensor too large");
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_tile(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  if (out.count() == 0) return {};
  AxisMaps maps;
  for (size_t d = 0; d < in.dims.size(); ++d) {
    std::vector<int64_t> map(static_cast<size_t>(out.dims[d]));
    for (size_t i = 0; i < map.size(); ++i) map[i] = static_cast<int64_t>(i) % in.dims[d];
    maps.push_back(std::move(map));
  }
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    copy_mapped(in.as<const T>(), in.dims, maps, T{}, out.as<T>());
  });
  return {};
}

}  // namespace

void register_op_tile(OpRegistry& registry) {
  registry.add({.name = "tile",
                .inputs = {{"data"}, {"repeats"}},
                .outputs = {{"tiled"}},
                .traits = kTraitMovement,
                .infer = infer_tile,
                .reference = reference_tile});
}

}  // namespace redline
