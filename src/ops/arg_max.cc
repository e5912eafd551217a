// SPDX-License-Identifier: Apache-2.0
#include "ops/arg_max.h"

#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_arg_reduce(InferContext& c) {
  const auto& attrs = c.attrs<ArgReduceAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  if (c.dtype(0) == DType::kString) return c.input_error(0, "must hold numbers");
  const Shape& in = c.shape(0);
  c.set_output(0, DType::kInt64, Shape());
  if (!in.has_rank()) return {};
  if (in.rank() == 0) {
    // numpy takes a scalar for a list of one.
    if (attrs.axis != 0 && attrs.axis != -1) {
      return c.error(str_cat("axis ", attrs.axis, " is out of range for rank 0"));
    }
    c.set_output(0, DType::kInt64, SymDims{});
    return {};
  }
  REDLINE_ASSIGN(int axis, c.normalize_axis(attrs.axis, in.rank()));
  if (in[axis] == Dim(0)) return c.input_error(0, str_cat("is empty along axis ", axis));
  SymDims out = in.dims();
  if (attrs.keepdims) {
    out[static_cast<size_t>(axis)] = 1;
  } else {
    out.erase(out.begin() + axis);
  }
  c.set_output(0, DType::kInt64, std::move(out));
  return {};
}

// Whether b, met after a, takes its place.
template <bool kMax, class W>
bool takes_over(W a, W b, bool last) {
  if constexpr (std::is_same_v<W, double>) {
    if (std::isnan(a)) return last && std::isnan(b);
    if (std::isnan(b)) return true;
  }
  if (a == b) return last;
  return kMax ? b > a : b < a;
}

template <bool kMax>
Status reference_arg_reduce(ReferenceContext& c) {
  const auto& attrs = c.attrs<ArgReduceAttrs>();
  const TensorView& in = c.input(0);
  Dims dims = in.dims.empty() ? Dims{1} : in.dims;
  auto axis = static_cast<int>(attrs.axis < 0 ? attrs.axis + dims.rank() : attrs.axis);
  int64_t outer = dims.count(0, axis);
  int64_t size = dims[static_cast<size_t>(axis)];
  int64_t inner = dims.count(axis + 1, dims.rank());
  if (size == 0) return invalid_argument("the data is empty along axis ", axis);
  auto* out = c.output(0).as<int64_t>();
  with_wide_type(in.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> values = read_elements<W>(in);
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        const W* column = values.data() + i * size * inner + j;
        int64_t best = 0;
        for (int64_t k = 1; k < size; ++k) {
          bool next =
              takes_over<kMax>(column[best * inner], column[k * inner], attrs.select_last_index);
          if (next) best = k;
        }
        *out++ = best;
      }
    }
  });
  return {};
}

}  // namespace

void register_op_arg_max(OpRegistry& registry) {
  OpDef def{.name = "arg_max",
            .inputs = {{"data"}},
            .outputs = {{"indices"}},
            .attrs = attrs_type<ArgReduceAttrs>(),
            .traits = kTraitReduction,
            .infer = infer_arg_reduce,
            .reference = reference_arg_reduce<true>};
  registry.add(def);
  def.name = "arg_min";
  def.reference = reference_arg_reduce<false>;
  registry.add(std::move(def));
}

}  // namespace redline
