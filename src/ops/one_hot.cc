// SPDX-License-Identifier: Apache-2.0
#include "ops/one_hot.h"

#include <cmath>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// Elements as int64, fractions cut off; far below every index where that cannot be.
std::vector<int64_t> truncated_ints(const TensorView& view) {
  if (!is_float(view.dtype)) return read_ints(view);
  std::vector<int64_t> result;
  for (double v : read_elements<double>(view)) {
    result.push_back(std::abs(v) < 0x1p62 ? static_cast<int64_t>(v) : INT64_MIN / 2);
  }
  return result;
}

std::optional<Dim> known_depth(const InferContext& c) {
  if (const Tensor* depth = c.constant(1); depth != nullptr && depth->count() == 1) {
    return Dim(truncated_ints(depth->view())[0]);
  }
  std::optional<SymDims> contents = c.contents(1);
  if (!contents || contents->size() != 1) return std::nullopt;
  return (*contents)[0];
}

Status infer_one_hot(InferContext& c) {
  for (size_t i : {0, 1, 2}) {
    REDLINE_TRY(c.expect_tensor(i));
    if (i < 2 && c.dtype(i) == DType::kString) return c.input_error(i, "must hold numbers");
  }
  REDLINE_TRY(c.expect_rank(2, 1));
  std::optional<Dim> depth_count = c.shape(1).count();
  if (depth_count && conflict(*depth_count, Dim(1))) {
    return c.input_error(1, "must have one element");
  }
  if (c.shape(2).has_rank() && conflict(c.shape(2)[0], Dim(2))) {
    return c.input_error(2, "must have two elements");
  }
  const Shape& indices = c.shape(0);
  c.set_output(0, c.dtype(2), Shape());
  if (!indices.has_rank()) return {};
  REDLINE_TRY(check_output_rank(c, indices.rank() + 1));
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<OneHotAttrs>().axis, indices.rank() + 1));
  std::optional<Dim> depth = known_depth(c);
  if (depth && depth->is_const() && depth->value() < 0) {
    return c.input_error(1, str_cat("is ", depth->value(), ", expected 0 or more"));
  }
  SymDims out = indices.dims();
  out.insert(out.begin() + axis, depth ? *depth : c.fresh_symbol("depth"));
  c.set_output(0, c.dtype(2), std::move(out));
  return {};
}

Status reference_one_hot(ReferenceContext& c) {
  std::vector<int64_t> indices = truncated_ints(c.input(0));
  const TensorView& out = c.output(0);
  int64_t axis = c.attrs<OneHotAttrs>().axis;
  if (axis < 0) axis += out.dims.rank();
  int64_t depth = out.dims[static_cast<size_t>(axis)];
  int64_t inner = out.dims.count(static_cast<int>(axis) + 1, out.dims.rank());
  with_storage_type(out.dtype, [&](auto t) {
    using T = decltype(t);
    const T* values = c.input(2).as<const T>();
    T* dst = out.as<T>();
    std::fill_n(dst, out.count(), values[0]);
    if (inner == 0) return;
    for (size_t i = 0; i < indices.size(); ++i) {
      int64_t index = indices[i] < 0 ? indices[i] + depth : indices[i];
      if (index < 0 || index >= depth) continue;
      auto at = static_cast<int64_t>(i);
      dst[(at / inner * depth + index) * inner + at % inner] = values[1];
    }
  });
  return {};
}

}  // namespace

void register_op_one_hot(OpRegistry& registry) {
  registry.add({.name = "one_hot",
                .inputs = {{"indices"}, {"depth"}, {"values"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<OneHotAttrs>(),
                .infer = infer_one_hot,
                .reference = reference_one_hot});
}

}  // namespace redline
