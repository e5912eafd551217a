// SPDX-License-Identifier: Apache-2.0
#include "ops/batch_norm.h"

#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_batch_norm(InferContext& c) {
  bool training = c.attrs<BatchNormAttrs>().training_mode;
  REDLINE_TRY(c.expect_tensor(0));
  const Shape& x = c.shape(0);
  if (x.has_rank() && x.rank() == 0) return c.input_error(0, "must have rank 1 or more");
  // A vector is one channel.
  std::optional<Dim> channels;
  if (x.has_rank()) channels = x.rank() > 1 ? x[1] : Dim(1);
  for (size_t i = 0; i < 5; ++i) {
    REDLINE_TRY(c.expect_tensor(i));
    if (!is_float(c.dtype(i))) return c.input_error(i, "must hold floating-point numbers");
    if (i == 0) continue;
    REDLINE_TRY(c.expect_rank(i, 1));
    if (channels && c.shape(i).has_rank() && conflict(c.shape(i)[0], *channels)) {
      return c.input_error(i, str_cat("must have ", channels->value(), " elements, one a channel"));
    }
  }
  if (!training && c.num_outputs() > 1) {
    return c.error("running statistics are an output of training mode only");
  }
  c.set_output(0, c.dtype(0), x);
  c.set_output(1, c.dtype(3), c.shape(3));
  c.set_output(2, c.dtype(4), c.shape(4));
  return {};
}

Status reference_batch_norm(ReferenceContext& c) {
  const auto& attrs = c.attrs<BatchNormAttrs>();
  const Dims& dims = c.input(0).dims;
  bool vector = dims.rank() == 1;
  int64_t batch = dims[0];
  int64_t channels = vector ? 1 : dims[1];
  int64_t pixels = vector ? 1 : dims.count(2, dims.rank());
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> scale = read_elements<double>(c.input(1));
  std::vector<double> bias = read_elements<double>(c.input(2));
  std::vector<double> mean = read_elements<double>(c.input(3));
  std::vector<double> var = read_elements<double>(c.input(4));
  auto momentum = static_cast<double>(attrs.momentum);
  std::vector<double> running[2] = {mean, var};
  auto for_channel = [&](int64_t channel, auto&& fn) {
    for (int64_t n = 0; n < batch; ++n) {
      double* plane = x.data() + (n * channels + channel) * pixels;
      for (int64_t i = 0; i < pixels; ++i) fn(plane[i]);
    }
  };
  for (int64_t channel = 0; channel < channels; ++channel) {
    auto at = static_cast<size_t>(channel);
    if (attrs.training_mode) {
      auto count = static_cast<double>(batch * pixels);
      double sum = 0;
      for_channel(channel, [&](double v) { sum += v; });
      mean[at] = sum / count;
      double squares = 0;
      for_channel(channel, [&](double v) { squares += (v - mean[at]) * (v - mean[at]); });
      var[at] = squares / count;
      running[0][at] = running[0][at] * momentum + mean[at] * (1 - momentum);
      running[1][at] = running[1][at] * momentum + var[at] * (1 - momentum);
    }
    double factor = scale[at] / std::sqrt(var[at] + static_cast<double>(attrs.epsilon));
    for_channel(channel, [&](double& v) { v = (v - mean[at]) * factor + bias[at]; });
  }
  write_elements(x, c.output(0));
  for (size_t i : {1, 2}) {
    if (c.wants_output(i)) write_elements(running[i - 1], c.output(i));
  }
  return {};
}

}  // namespace

void register_op_batch_norm(OpRegistry& registry) {
  registry.add(
      {.name = "batch_norm",
       .inputs = {{"x"}, {"scale"}, {"bias"}, {"mean"}, {"var"}},
       .outputs = {{"y"}, {"running_mean", Arity::kOptional}, {"running_var", Arity::kOptional}},
       .attrs = attrs_type<BatchNormAttrs>(),
       .infer = infer_batch_norm,
       .reference = reference_batch_norm});
}

}  // namespace redline
