// SPDX-License-Identifier: Apache-2.0
#include "ops/tensor_scatter.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_tensor_scatter(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  const Shape& cache = c.shape(0);
  const Shape& update = c.shape(1);
  c.set_output(0, c.dtype(0), cache);
  if (c.has_input(2)) REDLINE_TRY(c.expect_rank(2, 1));
  if (!cache.has_rank()) return {};
  REDLINE_TRY(c.expect_rank(1, cache.rank()));
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<TensorScatterAttrs>().axis, cache.rank()));
  if (axis == 0) return c.error("axis 0 is the batch, not the sequence");
  if (c.has_input(2) && c.shape(2).has_rank() && conflict(c.shape(2)[0], cache[0])) {
    return c.input_error(2, str_cat("must have ", cache[0].value(), " elements, the batch size"));
  }
  if (!update.has_rank()) return {};
  for (int d = 0; d < cache.rank(); ++d) {
    if (!conflict(update[d], cache[d])) continue;
    if (d == axis && update[d].value() < cache[d].value()) continue;
    return c.input_error(1, str_cat("does not fit size ", cache[d].value(), " at axis ", d));
  }
  return {};
}

Status reference_tensor_scatter(ReferenceContext& c) {
  const auto& attrs = c.attrs<TensorScatterAttrs>();
  const TensorView& cache = c.input(0);
  const TensorView& update = c.input(1);
  auto axis = static_cast<int>(attrs.axis < 0 ? attrs.axis + cache.dims.rank() : attrs.axis);
  int64_t batch = cache.dims[0];
  int64_t most = cache.dims[static_cast<size_t>(axis)];
  int64_t steps = update.dims[static_cast<size_t>(axis)];
  std::vector<int64_t> starts(static_cast<size_t>(batch), 0);
  if (c.has_input(2)) starts = read_ints(c.input(2));
  for (int64_t& start : starts) {
    bool circular = attrs.mode == CacheMode::kCircular && most > 0;
    if (circular) start = (start % most + most) % most;
    if (start < 0 || start > most || (!circular && start > most - steps)) {
      return invalid_argument("write index ", start, " leaves no room for ", steps,
                              " steps in a cache of ", most);
    }
  }
  int64_t per_sample = cache.dims.count(1, axis);
  int64_t inner = cache.dims.count(axis + 1, cache.dims.rank());
  with_storage_type(cache.dtype, [&](auto t) {
    using T = decltype(t);
    T* dst = c.output(0).as<T>();
    std::copy_n(cache.as<const T>(), cache.count(), dst);
    const T* src = update.as<const T>();
    for (int64_t row = 0; row < batch * per_sample; ++row) {
      int64_t start = starts[static_cast<size_t>(row / per_sample)];
      for (int64_t i = 0; i < steps; ++i, src += inner) {
        std::copy_n(src, inner, dst + (row * most + (start + i) % most) * inner);
      }
    }
  });
  return {};
}

}  // namespace

void register_op_tensor_scatter(OpRegistry& registry) {
  registry.add({.name = "tensor_scatter",
                .inputs = {{"past_cache"}, {"update"}, {"write_indices", Arity::kOptional}},
                .outputs = {{"present_cache"}},
                .attrs = attrs_type<TensorScatterAttrs>(),
                .infer = infer_tensor_scatter,
                .reference = reference_tensor_scatter});
}

}  // namespace redline
