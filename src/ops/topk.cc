// SPDX-License-Identifier: Apache-2.0
#include "ops/topk.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_topk(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (c.dtype(0) == DType::kString) return c.input_error(0, "must hold numbers");
  std::optional<Dim> count = c.shape(1).count();
  if (count && conflict(*count, Dim(1))) return c.input_error(1, "must have one element");
  const Shape& in = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  c.set_output(1, DType::kInt64, Shape());
  if (!in.has_rank()) return {};
  REDLINE_ASSIGN(int axis, c.normalize_axis(c.attrs<TopKAttrs>().axis, in.rank()));
  std::optional<SymDims> k = c.contents(1);
  Dim size = k && k->size() == 1 ? (*k)[0] : c.fresh_symbol("topk");
  if (size.is_const()) {
    if (size.value() < 0) return c.input_error(1, str_cat("is ", size.value()));
    if (in[axis].is_const() && size.value() > in[axis].value()) {
      return c.input_error(1, str_cat("is ", size.value(), ", axis ", axis, " has only ",
                                      in[axis].value(), " elements"));
    }
  }
  SymDims out = in.dims();
  out[static_cast<size_t>(axis)] = size;
  c.set_output(0, c.dtype(0), out);
  c.set_output(1, DType::kInt64, std::move(out));
  return {};
}

template <class W>
bool greater(W a, W b) {
  if constexpr (std::is_same_v<W, double>) {
    if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && !std::isnan(b);
  }
  return a > b;
}

Status reference_topk(ReferenceContext& c) {
  const auto& attrs = c.attrs<TopKAttrs>();
  const TensorView& in = c.input(0);
  auto axis = static_cast<int>(attrs.axis < 0 ? attrs.axis + in.dims.rank() : attrs.axis);
  int64_t outer = in.dims.count(0, axis);
  int64_t size = in.dims[static_cast<size_t>(axis)];
  int64_t inner = in.dims.count(axis + 1, in.dims.rank());
  int64_t k = c.output(0).dims[static_cast<size_t>(axis)];
  if (k > size) return invalid_argument("k is ", k, ", the axis has only ", size, " elements");
  with_wide_type(in.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> values = read_elements<W>(in);
    std::vector<W> top(static_cast<size_t>(outer * k * inner));
    std::vector<int64_t> order(static_cast<size_t>(size));
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        const W* column = values.data() + i * size * inner + j;
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
          W x = column[a * inner];
          W y = column[b * inner];
          if (attrs.largest ? greater(x, y) : greater(y, x)) return true;
          if (attrs.largest ? greater(y, x) : greater(x, y)) return false;
          return a < b;
        });
        for (int64_t n = 0; n < k; ++n) {
          int64_t at = (i * k + n) * inner + j;
          top[static_cast<size_t>(at)] = column[order[static_cast<size_t>(n)] * inner];
          if (c.wants_output(1)) c.output(1).as<int64_t>()[at] = order[static_cast<size_t>(n)];
        }
      }
    }
    write_elements(top, c.output(0));
  });
  return {};
}

}  // namespace

void register_op_topk(OpRegistry& registry) {
  registry.add({.name = "topk",
                .inputs = {{"x"}, {"k"}},
                .outputs = {{"values"}, {"indices", Arity::kOptional}},
                .attrs = attrs_type<TopKAttrs>(),
                .infer = infer_topk,
                .reference = reference_topk});
}

}  // namespace redline
