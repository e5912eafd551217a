// SPDX-License-Identifier: Apache-2.0
#include "ops/compress.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_compress(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_rank(1, 1));
  if (c.dtype(1) != DType::kBool) return c.input_error(1, "must hold bool");
  const Shape& in = c.shape(0);
  std::optional<int64_t> axis = c.attrs<CompressAttrs>().axis;
  Dim selected = c.fresh_symbol("compress");
  if (!axis) {
    c.set_output(0, c.dtype(0), SymDims{selected});
    return {};
  }
  c.set_output(0, c.dtype(0), Shape());
  if (!in.has_rank()) return {};
  REDLINE_ASSIGN(int at, c.normalize_axis(*axis, in.rank()));
  SymDims out = in.dims();
  out[static_cast<size_t>(at)] = selected;
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_compress(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  std::optional<int64_t> axis = c.attrs<CompressAttrs>().axis;
  Dims dims = axis ? in.dims : Dims{in.count()};
  auto at = static_cast<int>(axis.value_or(0));
  if (at < 0) at += dims.rank();
  int64_t size = dims[static_cast<size_t>(at)];
  std::vector<int64_t> picked;
  std::span<const uint8_t> condition = c.input(1).span<const uint8_t>();
  for (size_t i = 0; i < condition.size(); ++i) {
    if (condition[i] == 0) continue;
    if (static_cast<int64_t>(i) >= size) {
      return invalid_argument("the condition selects ", i, " of an axis of size ", size);
    }
    picked.push_back(static_cast<int64_t>(i));
  }
  Dims out_dims = dims;
  out_dims[static_cast<size_t>(at)] = static_cast<int64_t>(picked.size());
  REDLINE_ASSIGN(TensorView out, output_of_size(c, 0, in.dtype, out_dims));
  int64_t outer = dims.count(0, at);
  int64_t inner = dims.count(at + 1, dims.rank());
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    T* dst = out.as<T>();
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t index : picked) {
        dst = std::copy_n(in.as<const T>() + (i * size + index) * inner, inner, dst);
      }
    }
  });
  return {};
}

}  // namespace

void register_op_compress(OpRegistry& registry) {
  registry.add({.name = "compress",
                .inputs = {{"data"}, {"condition"}},
                .outputs = {{"selected"}},
                .attrs = attrs_type<CompressAttrs>(),
                .traits = kTraitMovement | kTraitDataDependent,
                .infer = infer_compress,
                .reference = reference_compress});
}

}  // namespace redline
