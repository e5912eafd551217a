// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/copy_elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// range(start, limit, delta): start + i * delta for all i >= 0 before the limit. Scalars.

// max(0, ceil((limit - start) / delta)) of float operands.
Result<int64_t> float_count(double start, double limit, double delta) {
  double count = std::ceil((limit - start) / delta);
  if (std::isnan(count) || count > 0x1p53) {
    return invalid_argument("a range from ", start, " to ", limit, " by ", delta,
                            " has no representable size");
  }
  return static_cast<int64_t>(std::max(count, 0.0));
}

std::optional<Dim> int_scalar(const InferContext& c, size_t i) {
  std::optional<SymDims> contents = c.contents(i);
  if (!contents || contents->size() != 1) return std::nullopt;
  return (*contents)[0];
}

Status infer_int_range(InferContext& c) {
  std::optional<Dim> start = int_scalar(c, 0);
  std::optional<Dim> limit = int_scalar(c, 1);
  std::optional<Dim> delta = int_scalar(c, 2);
  c.set_output(0, c.dtype(0), SymDims{});
  if (delta && *delta == Dim(0)) return c.input_error(2, "is 0");
  if (!start || !limit || !delta || !delta->is_const() || *delta == Dim(INT64_MIN)) {
    c.set_output(0, c.dtype(0), SymDims{c.fresh_symbol("range")});
    return {};
  }
  Dim distance = delta->value() > 0 ? *limit - *start : *start - *limit;
  Dim count = max(ceil_div(distance, std::abs(delta->value())), 0);
  if (count.is_invalid()) return c.error("the range is too long");
  if (count.is_const() && tracks_contents({count.value()})) {
    SymDims contents;
    for (int64_t i = 0; i < count.value(); ++i) contents.push_back(*start + *delta * i);
    c.set_contents(0, std::move(contents));
  }
  c.set_output(0, c.dtype(0), SymDims{std::move(count)});
  return {};
}

Status infer_range(InferContext& c) {
  for (size_t i : {0, 1, 2}) {
    REDLINE_TRY(c.expect_same_dtype(i, 0));
    std::optional<Dim> count = c.shape(i).count();
    if (count && conflict(*count, Dim(1))) return c.input_error(i, "must be a scalar");
  }
  if (is_int(c.dtype(0))) return infer_int_range(c);
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold numbers");
  Dim count;
  if (c.constant(0) != nullptr && c.constant(1) != nullptr && c.constant(2) != nullptr) {
    double operands[3];
    for (size_t i : {0, 1, 2}) operands[i] = read_elements<double>(c.constant(i)->view())[0];
    if (operands[2] == 0) return c.input_error(2, "is 0");
    REDLINE_ASSIGN(int64_t known, float_count(operands[0], operands[1], operands[2]));
    count = known;
  } else {
    count = c.fresh_symbol("range");
  }
  c.set_output(0, c.dtype(0), SymDims{count});
  return {};
}

Status reference_range(ReferenceContext& c) {
  const TensorView& out = c.output(0);
  with_wide_type(out.dtype, [&](auto wide) {
    using W = decltype(wide);
    W start = read_elements<W>(c.input(0))[0];
    W delta = read_elements<W>(c.input(2))[0];
    std::vector<W> values(static_cast<size_t>(out.count()));
    for (size_t i = 0; i < values.size(); ++i) {
      if constexpr (std::is_same_v<W, double>) {
        values[i] = start + static_cast<double>(i) * delta;
      } else {
        values[i] = static_cast<W>(static_cast<uint64_t>(start) + i * static_cast<uint64_t>(delta));
      }
    }
    write_elements(values, out);
  });
  return {};
}

}  // namespace

void register_op_range(OpRegistry& registry) {
  registry.add({.name = "range",
                .inputs = {{"start"}, {"limit"}, {"delta"}},
                .outputs = {{"y"}},
                .infer = infer_range,
                .reference = reference_range});
}

}  // namespace redline
