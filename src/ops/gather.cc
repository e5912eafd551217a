// SPDX-License-Identifier: Apache-2.0
#include "ops/gather.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

int normalized(int64_t axis, int rank) { return static_cast<int>(axis < 0 ? axis + rank : axis); }

Status expect_indices(const InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (!is_int(c.dtype(1))) return c.input_error(1, "must hold integers");
  return {};
}

// The (outer, axis, inner) view of a tensor.
struct AxisView {
  int64_t outer;
  int64_t size;
  int64_t inner;
  AxisView(const Dims& dims, int axis)
      : outer(dims.count(0, axis)),
        size(dims[static_cast<size_t>(axis)]),
        inner(dims.count(axis + 1, dims.rank())) {}
};

template <class T>
void gather_blocks(const T* src, const AxisView& view, std::span<const int64_t> indices, T* dst) {
  for (int64_t i = 0; i < view.outer; ++i) {
    for (int64_t index : indices) {
      dst = std::copy_n(src + (i * view.size + index) * view.inner, view.inner, dst);
    }
  }
}

// Shape arithmetic: sizes picked by constant indices.
std::optional<SymDims> gathered_contents(const InferContext& c, int axis) {
  std::optional<Dims> dims = c.shape(0).as_static();
  std::optional<SymDims> data = c.contents(0);
  if (!dims || !data) return std::nullopt;
  std::optional<std::vector<int64_t>> indices = c.const_ints(1);
  if (!indices) return std::nullopt;
  AxisView view(*dims, axis);
  auto count = static_cast<int64_t>(indices->size());
  if (!tracks_contents({count, view.outer * view.inner})) return std::nullopt;
  for (int64_t& index : *indices) {
    Result<int64_t> at = normalize_index(index, view.size);
    if (!at.ok()) return std::nullopt;  // an error when it runs, if it ever does
    index = *at;
  }
  SymDims result(static_cast<size_t>(view.outer * count * view.inner));
  gather_blocks(data->data(), view, *indices, result.data());
  return result;
}

Status infer_gather(InferContext& c) {
  REDLINE_TRY(expect_indices(c));
  const Shape& data = c.shape(0);
  const Shape& indices = c.shape(1);
  if (!data.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<GatherAttrs>().axis, data.rank()));
  if (!indices.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  REDLINE_TRY(check_output_rank(c, int64_t{data.rank()} - 1 + indices.rank()));
  SymDims out(data.dims().begin(), data.dims().begin() + axis);
  out.insert(out.end(), indices.dims().begin(), indices.dims().end());
  out.insert(out.end(), data.dims().begin() + axis + 1, data.dims().end());
  c.set_output(0, c.dtype(0), std::move(out));
  if (std::optional<SymDims> contents = gathered_contents(c, axis)) {
    c.set_contents(0, std::move(*contents));
  }
  return {};
}

Status reference_gather(ReferenceContext& c) {
  const TensorView& data = c.input(0);
  AxisView view(data.dims, normalized(c.attrs<GatherAttrs>().axis, data.dims.rank()));
  REDLINE_ASSIGN(std::vector<int64_t> indices, read_indices(c.input(1), view.size));
  with_storage_type(data.dtype, [&](auto t) {
    using T = decltype(t);
    gather_blocks(data.as<const T>(), view, indices, c.output(0).as<T>());
  });
  return {};
}

Status infer_gather_elements(InferContext& c) {
  REDLINE_TRY(expect_indices(c));
  const Shape& data = c.shape(0);
  const Shape& indices = c.shape(1);
  c.set_output(0, c.dtype(0), indices);
  if (!data.has_rank()) return {};
  REDLINE_TRY(c.expect_rank(1, data.rank()));
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<GatherAttrs>().axis, data.rank()));
  if (!indices.has_rank()) return {};
  for (int d = 0; d < data.rank(); ++d) {
    std::optional<int64_t> most = data[d].as_const();
    std::optional<int64_t> size = indices[d].as_const();
    if (d != axis && most && size && *size > *most) {
      return c.input_error(1, str_cat("must not exceed size ", *most, " at axis ", d));
    }
  }
  return {};
}

Status reference_gather_elements(ReferenceContext& c) {
  const TensorView& data = c.input(0);
  const Dims& dims = c.input(1).dims;
  auto axis = static_cast<size_t>(normalized(c.attrs<GatherAttrs>().axis, data.dims.rank()));
  REDLINE_ASSIGN(std::vector<int64_t> indices, read_indices(c.input(1), data.dims[axis]));
  Dims strides[1] = {data.dims.strides()};
  int64_t along = strides[0][axis];
  strides[0][axis] = 0;
  with_storage_type(data.dtype, [&](auto t) {
    using T = decltype(t);
    const T* src = data.as<const T>();
    T* dst = c.output(0).as<T>();
    for_each_offset(dims, strides, [&](int64_t i, const int64_t(&offset)[1]) {
      dst[i] = src[offset[0] + indices[static_cast<size_t>(i)] * along];
    });
  });
  return {};
}

Status infer_gather_nd(InferContext& c) {
  REDLINE_TRY(expect_indices(c));
  const Shape& data = c.shape(0);
  const Shape& indices = c.shape(1);
  int64_t batch = c.attrs<GatherNdAttrs>().batch_dims;
  c.set_output(0, c.dtype(0), Shape());
  if (!data.has_rank() || !indices.has_rank()) return {};
  if (indices.rank() < 1) return c.input_error(1, "must have rank 1 or more");
  if (batch < 0 || batch >= std::min(data.rank(), indices.rank())) {
    return c.error(str_cat("batch_dims ", batch, " must be in [0, ",
                           std::min(data.rank(), indices.rank()), ")"));
  }
  auto b = static_cast<int>(batch);
  std::optional<int64_t> depth = indices[indices.rank() - 1].as_const();
  if (!depth) return {};
  if (*depth < 0 || *depth > data.rank() - b) {
    return c.input_error(1, str_cat("names ", *depth, " axes of ", data.rank() - b));
  }
  SymDims out;
  for (int d = 0; d < b; ++d) {
    if (conflict(data[d], indices[d])) {
      return c.input_error(1, str_cat("must have size ", data[d].value(), " at axis ", d));
    }
    out.push_back(known_dim(data[d], indices[d]));
  }
  out.insert(out.end(), indices.dims().begin() + b, indices.dims().end() - 1);
  out.insert(out.end(), data.dims().begin() + b + *depth, data.dims().end());
  REDLINE_TRY(check_output_rank(c, static_cast<int64_t>(out.size())));
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_gather_nd(ReferenceContext& c) {
  const TensorView& data = c.input(0);
  const Dims& dims = c.input(1).dims;
  auto batch_dims = static_cast<int>(c.attrs<GatherNdAttrs>().batch_dims);
  auto depth = static_cast<int>(dims.back());
  std::vector<int64_t> indices = read_ints(c.input(1));
  int64_t batches = dims.count(0, batch_dims);
  int64_t rows = dims.count(batch_dims, dims.rank() - 1);
  int64_t block = data.dims.count(batch_dims + depth, data.dims.rank());
  int64_t per_batch = data.dims.count(batch_dims, data.dims.rank());
  Dims strides = data.dims.strides();
  std::vector<int64_t> offsets;
  const int64_t* tuple = indices.data();
  for (int64_t i = 0; i < batches * rows; ++i) {
    int64_t offset = i / rows * per_batch;
    for (int d = 0; d < depth; ++d) {
      auto axis = static_cast<size_t>(batch_dims + d);
      REDLINE_ASSIGN(int64_t at, normalize_index(*tuple++, data.dims[axis]));
      offset += at * strides[axis];
    }
    offsets.push_back(offset);
  }
  with_storage_type(data.dtype, [&](auto t) {
    using T = decltype(t);
    T* dst = c.output(0).as<T>();
    for (int64_t offset : offsets) dst = std::copy_n(data.as<const T>() + offset, block, dst);
  });
  return {};
}

}  // namespace

void register_op_gather(OpRegistry& registry) {
  OpDef def{.name = "gather",
            .inputs = {{"data"}, {"indices"}},
            .outputs = {{"gathered"}},
            .attrs = attrs_type<GatherAttrs>(),
            .traits = kTraitMovement,
            .infer = infer_gather,
            .reference = reference_gather};
  registry.add(def);
  def.name = "gather_elements";
  def.infer = infer_gather_elements;
  def.reference = reference_gather_elements;
  registry.add(def);
  def.name = "gather_nd";
  def.attrs = attrs_type<GatherNdAttrs>();
  def.infer = infer_gather_nd;
  def.reference = reference_gather_nd;
  registry.add(std::move(def));
}

}  // namespace redline
