// SPDX-License-Identifier: Apache-2.0
#include "ops/reverse_sequence.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_reverse_sequence(InferContext& c) {
  const auto& attrs = c.attrs<ReverseSequenceAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  for (int64_t axis : {attrs.batch_axis, attrs.time_axis}) {
    if (axis < 0 || axis > 1) return c.error(str_cat("axis ", axis, " must be 0 or 1"));
  }
  if (attrs.batch_axis == attrs.time_axis) return c.error("the batch axis is the time axis");
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), in);
  if (!in.has_rank()) return {};
  if (in.rank() < 2) return c.input_error(0, "must have rank 2 or more");
  const Dim& batch = in[static_cast<int>(attrs.batch_axis)];
  if (c.shape(1).has_rank() && conflict(c.shape(1)[0], batch)) {
    return c.input_error(1, str_cat("must have ", batch.value(), " elements, the batch size"));
  }
  return {};
}

Status reference_reverse_sequence(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  std::vector<int64_t> lengths = read_ints(c.input(1));
  auto time_axis = static_cast<size_t>(c.attrs<ReverseSequenceAttrs>().time_axis);
  int64_t time = in.dims[time_axis];
  for (int64_t length : lengths) {
    if (length < 0 || length > time) {
      return invalid_argument("sequence length ", length, " is not in [0, ", time, "]");
    }
  }
  int64_t inner = in.dims.count(2, in.dims.rank());
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    const T* src = in.as<const T>();
    T* dst = c.output(0).as<T>();
    for (int64_t i = 0; i < in.dims[0]; ++i) {
      for (int64_t j = 0; j < in.dims[1]; ++j) {
        int64_t step = time_axis == 0 ? i : j;
        int64_t length = lengths[static_cast<size_t>(time_axis == 0 ? j : i)];
        int64_t from = step < length ? length - 1 - step : step;
        int64_t row = time_axis == 0 ? from * in.dims[1] + j : i * in.dims[1] + from;
        dst = std::copy_n(src + row * inner, inner, dst);
      }
    }
  });
  return {};
}

}  // namespace

void register_op_reverse_sequence(OpRegistry& registry) {
  registry.add({.name = "reverse_sequence",
                .inputs = {{"data"}, {"lengths"}},
                .outputs = {{"reversed"}},
                .attrs = attrs_type<ReverseSequenceAttrs>(),
                .traits = kTraitMovement,
                .infer = infer_reverse_sequence,
                .reference = reference_reverse_sequence});
}

}  // namespace redline
