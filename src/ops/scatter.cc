// SPDX-License-Identifier: Apache-2.0
#include "ops/scatter.h"

#include <cmath>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// Integers wrap; a NaN wins over every number.
template <class W>
W reduce(ScatterReduction reduction, W a, W b) {
  auto pick = [&](bool first) {
    if constexpr (std::is_same_v<W, double>) {
      if (std::isnan(a) || std::isnan(b)) return a + b;
    }
    return first ? a : b;
  };
  switch (reduction) {
    case ScatterReduction::kMax:
      return pick(a > b);
    case ScatterReduction::kMin:
      return pick(a < b);
    case ScatterReduction::kNone:
      return b;
    default:
      break;
  }
  bool add = reduction == ScatterReduction::kAdd;
  if constexpr (std::is_same_v<W, double>) {
    return add ? a + b : a * b;
  } else {
    auto x = static_cast<uint64_t>(a);
    auto y = static_cast<uint64_t>(b);
    return static_cast<W>(add ? x + y : x * y);
  }
}

void copy_all(const TensorView& in, const TensorView& out) {
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    std::copy_n(in.as<const T>(), in.count(), out.as<T>());
  });
}

// Applies `updates` in blocks of `block` elements, the i-th at offsets[i] of a copy of the data.
void scatter_blocks(ReferenceContext& c, ScatterReduction reduction,
                    std::span<const int64_t> offsets, int64_t block) {
  const TensorView& updates = c.input(2);
  const TensorView& out = c.output(0);
  if (reduction == ScatterReduction::kNone) {
    copy_all(c.input(0), out);
    with_storage_type(out.dtype, [&](auto t) {
      using T = decltype(t);
      const T* src = updates.as<const T>();
      for (int64_t offset : offsets) {
        std::copy_n(src, block, out.as<T>() + offset);
        src += block;
      }
    });
    return;
  }
  with_wide_type(out.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> values = read_elements<W>(c.input(0));
    std::vector<W> changes = read_elements<W>(updates);
    const W* src = changes.data();
    for (int64_t offset : offsets) {
      W* dst = values.data() + offset;
      for (int64_t i = 0; i < block; ++i) dst[i] = reduce(reduction, dst[i], *src++);
    }
    write_elements(values, out);
  });
}

Status check_operands(const InferContext& c, ScatterReduction reduction) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  REDLINE_TRY(c.expect_same_dtype(2, 0));
  if (!is_int(c.dtype(1))) return c.input_error(1, "must hold integers");
  if (c.dtype(0) == DType::kString && reduction != ScatterReduction::kNone) {
    return c.input_error(0, "holds strings, which cannot be reduced");
  }
  return {};
}

Status infer_scatter_elements(InferContext& c) {
  const auto& attrs = c.attrs<ScatterElementsAttrs>();
  REDLINE_TRY(check_operands(c, attrs.reduction));
  const Shape& data = c.shape(0);
  c.set_output(0, c.dtype(0), data);
  if (!data.has_rank()) return {};
  REDLINE_ASSIGN(int axis, c.normalize_axis(attrs.axis, data.rank()));
  REDLINE_TRY(c.expect_rank(1, data.rank()));
  REDLINE_TRY(c.expect_rank(2, data.rank()));
  const Shape& indices = c.shape(1);
  const Shape& updates = c.shape(2);
  if (!indices.has_rank()) return {};
  for (int d = 0; d < data.rank(); ++d) {
    if (updates.has_rank() && conflict(updates[d], indices[d])) {
      return c.input_error(2, "must have the sizes of the indices, " + indices.to_string());
    }
    std::optional<int64_t> most = data[d].as_const();
    std::optional<int64_t> size = indices[d].as_const();
    if (d != axis && most && size && *size > *most) {
      return c.input_error(1, str_cat("must not exceed size ", *most, " at axis ", d));
    }
  }
  return {};
}

Status reference_scatter_elements(ReferenceContext& c) {
  const auto& attrs = c.attrs<ScatterElementsAttrs>();
  const Dims& data = c.input(0).dims;
  auto axis = static_cast<size_t>(attrs.axis < 0 ? attrs.axis + data.rank() : attrs.axis);
  REDLINE_ASSIGN(std::vector<int64_t> offsets, read_indices(c.input(1), data[axis]));
  Dims strides[1] = {data.strides()};
  int64_t along = strides[0][axis];
  strides[0][axis] = 0;
  for_each_offset(c.input(1).dims, strides, [&](int64_t i, const int64_t(&offset)[1]) {
    int64_t& at = offsets[static_cast<size_t>(i)];
    at = at * along + offset[0];
  });
  scatter_blocks(c, attrs.reduction, offsets, 1);
  return {};
}

Status infer_scatter_nd(InferContext& c) {
  REDLINE_TRY(check_operands(c, c.attrs<ScatterNdAttrs>().reduction));
  const Shape& data = c.shape(0);
  const Shape& indices = c.shape(1);
  const Shape& updates = c.shape(2);
  c.set_output(0, c.dtype(0), data);
  if (!data.has_rank() || !indices.has_rank()) return {};
  if (indices.rank() < 1) return c.input_error(1, "must have rank 1 or more");
  int rows = indices.rank() - 1;
  std::optional<int64_t> depth = indices[rows].as_const();
  if (!depth) return {};
  if (*depth < 0 || *depth > data.rank()) {
    return c.input_error(1, str_cat("names ", *depth, " axes of ", data.rank()));
  }
  SymDims expected(indices.dims().begin(), indices.dims().end() - 1);
  expected.insert(expected.end(), data.dims().begin() + *depth, data.dims().end());
  if (!updates.has_rank()) return {};
  bool agree = updates.dims().size() == expected.size();
  for (size_t d = 0; agree && d < expected.size(); ++d) {
    agree = !conflict(updates.dims()[d], expected[d]);
  }
  if (agree) return {};
  return c.input_error(2, "must have the sizes " + Shape(std::move(expected)).to_string());
}

Status reference_scatter_nd(ReferenceContext& c) {
  const Dims& data = c.input(0).dims;
  const Dims& dims = c.input(1).dims;
  auto depth = static_cast<int>(dims.back());
  int64_t rows = dims.count(0, dims.rank() - 1);
  std::vector<int64_t> indices = read_ints(c.input(1));
  Dims strides = data.strides();
  std::vector<int64_t> offsets(static_cast<size_t>(rows), 0);
  const int64_t* tuple = indices.data();
  for (int64_t& offset : offsets) {
    for (int d = 0; d < depth; ++d) {
      auto axis = static_cast<size_t>(d);
      REDLINE_ASSIGN(int64_t at, normalize_index(*tuple++, data[axis]));
      offset += at * strides[axis];
    }
  }
  scatter_blocks(c, c.attrs<ScatterNdAttrs>().reduction, offsets, data.count(depth, data.rank()));
  return {};
}

}  // namespace

void register_op_scatter(OpRegistry& registry) {
  OpDef def{.name = "scatter_elements",
            .inputs = {{"data"}, {"indices"}, {"updates"}},
            .outputs = {{"scattered"}},
            .attrs = attrs_type<ScatterElementsAttrs>(),
            .infer = infer_scatter_elements,
            .reference = reference_scatter_elements};
  registry.add(def);
  def.name = "scatter_nd";
  def.attrs = attrs_type<ScatterNdAttrs>();
  def.infer = infer_scatter_nd;
  def.reference = reference_scatter_nd;
  registry.add(std::move(def));
}

}  // namespace redline
