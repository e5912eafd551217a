// SPDX-License-Identifier: Apache-2.0
#include "ops/trilu.h"

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_trilu(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (c.has_input(1)) {
    REDLINE_TRY(c.expect_tensor(1));
    std::optional<Dim> count = c.shape(1).count();
    if (count && conflict(*count, Dim(1))) return c.input_error(1, "must have one element");
  }
  if (c.shape(0).has_rank() && c.shape(0).rank() < 2) {
    return c.input_error(0, "must have rank 2 or more");
  }
  c.set_output(0, c.dtype(0), c.shape(0));
  return {};
}

Status reference_trilu(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  bool upper = c.attrs<TriluAttrs>().upper;
  int rank = in.dims.rank();
  int64_t rows = in.dims[static_cast<size_t>(rank - 2)];
  int64_t cols = in.dims.back();
  int64_t k = c.has_input(1) ? read_ints(c.input(1))[0] : 0;
  k = std::clamp(k, -rows - 1, cols + 1);
  int64_t batches = in.dims.count(0, rank - 2);
  with_storage_type(in.dtype, [&](auto t) {
    using T = decltype(t);
    const T* src = in.as<const T>();
    T* dst = c.output(0).as<T>();
    for (int64_t i = 0; i < batches * rows; ++i) {
      // Element j of row r is on the diagonal j - r.
      int64_t diagonal = i % rows + k;
      for (int64_t j = 0; j < cols; ++j) {
        bool keep = upper ? j >= diagonal : j <= diagonal;
        *dst++ = keep ? src[i * cols + j] : T{};
      }
    }
  });
  return {};
}

}  // namespace

void register_op_trilu(OpRegistry& registry) {
  registry.add({.name = "trilu",
                .inputs = {{"data"}, {"k", Arity::kOptional}},
                .outputs = {{"triangle"}},
                .attrs = attrs_type<TriluAttrs>(),
                .infer = infer_trilu,
                .reference = reference_trilu});
}

}  // namespace redline
