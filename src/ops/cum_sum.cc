// SPDX-License-Identifier: Apache-2.0
#include "ops/cum_sum.h"

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_cumulative(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (c.dtype(0) == DType::kString || c.dtype(0) == DType::kBool) {
    return c.input_error(0, "must hold numbers");
  }
  std::optional<Dim> count = c.shape(1).count();
  if (count && conflict(*count, Dim(1))) return c.input_error(1, "must have one element");
  std::optional<std::vector<int64_t>> axis = c.const_ints(1);
  if (axis && axis->size() == 1 && c.shape(0).has_rank()) {
    REDLINE_TRY(c.normalize_axis((*axis)[0], c.shape(0).rank()).status());
  }
  c.set_output(0, c.dtype(0), c.shape(0));
  return {};
}

// Integers wrap.
template <bool kProduct, class W>
W accumulate(W a, W b) {
  if constexpr (std::is_same_v<W, double>) {
    return kProduct ? a * b : a + b;
  } else {
    auto x = static_cast<uint64_t>(a);
    auto y = static_cast<uint64_t>(b);
    return static_cast<W>(kProduct ? x * y : x + y);
  }
}

template <bool kProduct>
Status reference_cumulative(ReferenceContext& c) {
  const auto& attrs = c.attrs<CumulativeAttrs>();
  const TensorView& in = c.input(0);
  int64_t axis = read_ints(c.input(1))[0];
  if (axis < -in.dims.rank() || axis >= in.dims.rank()) {
    return invalid_argument("axis ", axis, " is out of range for rank ", in.dims.rank());
  }
  auto at = static_cast<int>(axis < 0 ? axis + in.dims.rank() : axis);
  int64_t outer = in.dims.count(0, at);
  int64_t size = in.dims[static_cast<size_t>(at)];
  int64_t inner = in.dims.count(at + 1, in.dims.rank());
  with_wide_type(in.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> values = read_elements<W>(in);
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        W* column = values.data() + i * size * inner + j;
        W total = kProduct ? W{1} : W{0};
        for (int64_t n = 0; n < size; ++n) {
          W& element = column[(attrs.reverse ? size - 1 - n : n) * inner];
          W next = accumulate<kProduct>(total, element);
          element = attrs.exclusive ? total : next;
          total = next;
        }
      }
    }
    write_elements(values, c.output(0));
  });
  return {};
}

}  // namespace

void register_op_cum_sum(OpRegistry& registry) {
  OpDef def{.name = "cum_sum",
            .inputs = {{"x"}, {"axis"}},
            .outputs = {{"y"}},
            .attrs = attrs_type<CumulativeAttrs>(),
            .infer = infer_cumulative,
            .reference = reference_cumulative<false>};
  registry.add(def);
  def.name = "cum_prod";
  def.reference = reference_cumulative<true>;
  registry.add(std::move(def));
}

}  // namespace redline
