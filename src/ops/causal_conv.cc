// SPDX-License-Identifier: Apache-2.0
#include "ops/causal_conv.h"

#include <cmath>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status expect_size(const InferContext& c, size_t i, int axis, const Dim& wanted) {
  const Dim& size = c.shape(i)[axis];
  if (!size.is_const() || !wanted.is_const() || size == wanted) return {};
  return c.input_error(i, str_cat("must have the size ", wanted.value(), " at axis ", axis));
}

Status infer_causal_conv(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 3));
  REDLINE_TRY(c.expect_rank(1, 3));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  for (size_t i = 1; i < 4; ++i) {
    if (c.has_input(i)) REDLINE_TRY(c.expect_same_dtype(i, 0));
  }
  if (c.has_input(2)) REDLINE_TRY(c.expect_rank(2, 1));
  if (c.has_input(3)) REDLINE_TRY(c.expect_rank(3, 3));
  if (!c.shape(0).has_rank() || !c.shape(1).has_rank()) {
    c.set_output(0, c.dtype(0), c.shape(0));
    c.set_output(1, c.dtype(0), Shape());
    return {};
  }
  const Shape& x = c.shape(0);
  Dim state = c.shape(1)[2] - Dim(1);
  if (state.is_const() && state.value() < 0) return c.input_error(1, "has no taps");
  REDLINE_TRY(expect_size(c, 1, 0, x[1]));
  REDLINE_TRY(expect_size(c, 1, 1, Dim(1)));
  if (c.has_input(2) && c.shape(2).has_rank()) REDLINE_TRY(expect_size(c, 2, 0, x[1]));
  if (c.has_input(3) && c.shape(3).has_rank()) {
    REDLINE_TRY(expect_size(c, 3, 0, x[0]));
    REDLINE_TRY(expect_size(c, 3, 1, x[1]));
    REDLINE_TRY(expect_size(c, 3, 2, state));
  }
  c.set_output(0, c.dtype(0), x);
  c.set_output(1, c.dtype(0), SymDims{x[0], x[1], state});
  return {};
}

Status reference_causal_conv(ReferenceContext& c) {
  const Dims& in = c.input(0).dims;
  int64_t channels = in[1];
  int64_t length = in[2];
  int64_t taps = c.input(1).dims[2];
  int64_t state = taps - 1;
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> w = read_elements<double>(c.input(1));
  std::vector<double> bias(static_cast<size_t>(channels));
  if (c.has_input(2)) bias = read_elements<double>(c.input(2));
  std::vector<double> past(static_cast<size_t>(in[0] * channels * state));
  if (c.has_input(3)) past = read_elements<double>(c.input(3));
  if (static_cast<int64_t>(bias.size()) != channels ||
      static_cast<int64_t>(past.size()) != in[0] * channels * state ||
      static_cast<int64_t>(w.size()) != channels * taps) {
    return invalid_argument("weight, bias or past_state do not fit an input of sizes ",
                            in.to_string());
  }
  bool silu = c.attrs<CausalConvAttrs>().activation == CausalActivation::kSilu;
  std::vector<double> y(x.size());
  std::vector<double> present(past.size());
  std::vector<double> line(static_cast<size_t>(state + length));
  for (int64_t row = 0; row < in[0] * channels; ++row) {
    std::copy_n(past.data() + row * state, state, line.data());
    std::copy_n(x.data() + row * length, length, line.data() + state);
    const double* kernel = w.data() + row % channels * taps;
    for (int64_t i = 0; i < length; ++i) {
      double sum = bias[static_cast<size_t>(row % channels)];
      for (int64_t k = 0; k < taps; ++k) sum += kernel[k] * line[static_cast<size_t>(i + k)];
      y[static_cast<size_t>(row * length + i)] = silu ? sum / (1 + std::exp(-sum)) : sum;
    }
    std::copy_n(line.data() + length, state, present.data() + row * state);
  }
  write_elements(y, c.output(0));
  if (c.wants_output(1)) write_elements(present, c.output(1));
  return {};
}

}  // namespace

void register_op_causal_conv(OpRegistry& registry) {
  registry.add({.name = "causal_conv_with_state",
                .inputs = {{"input"},
                           {"weight"},
                           {"bias", Arity::kOptional},
                           {"past_state", Arity::kOptional}},
                .outputs = {{"output"}, {"present_state", Arity::kOptional}},
                .attrs = attrs_type<CausalConvAttrs>(),
                .infer = infer_causal_conv,
                .reference = reference_causal_conv});
}

}  // namespace redline
