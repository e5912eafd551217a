// SPDX-License-Identifier: Apache-2.0
#include "ops/layer_norm.h"

#include <array>
#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// Fails unless input i broadcasts to x without making it larger.
Status expect_broadcast(const InferContext& c, size_t i) {
  REDLINE_TRY(c.expect_tensor(i));
  if (!is_float(c.dtype(i))) return c.input_error(i, "must hold floating-point numbers");
  const Shape& x = c.shape(0);
  const Shape& own = c.shape(i);
  if (!x.has_rank() || !own.has_rank()) return {};
  bool fits = own.rank() <= x.rank();
  for (int d = 0; fits && d < own.rank(); ++d) {
    const Dim& size = own[own.rank() - 1 - d];
    fits = size == Dim(1) || !conflict(size, x[x.rank() - 1 - d]);
  }
  if (fits) return {};
  return c.input_error(i, "must broadcast to the data, " + x.to_string());
}

template <bool kRms>
Status infer_norm(InferContext& c) {
  const auto& attrs = c.attrs<LayerNormAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  if (!is_float(attrs.stash_dtype)) return c.error("stash_dtype must be a floating-point type");
  REDLINE_TRY(expect_broadcast(c, 1));
  if (c.has_input(2)) REDLINE_TRY(expect_broadcast(c, 2));
  const Shape& x = c.shape(0);
  c.set_output(0, kRms ? c.dtype(1) : c.dtype(0), x);
  Shape statistics;
  if (x.has_rank()) {
    REDLINE_ASSIGN(int axis, c.normalize_axis(attrs.axis, x.rank()));
    SymDims dims = x.dims();
    std::fill(dims.begin() + axis, dims.end(), Dim(1));
    statistics = Shape(std::move(dims));
  }
  for (size_t i = 1; i < c.num_outputs(); ++i) c.set_output(i, attrs.stash_dtype, statistics);
  return {};
}

// y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias; the mean is 0 for RMS.
template <bool kRms>
Status reference_norm(ReferenceContext& c) {
  const auto& attrs = c.attrs<LayerNormAttrs>();
  const Dims& dims = c.input(0).dims;
  auto axis = static_cast<int>(attrs.axis < 0 ? attrs.axis + dims.rank() : attrs.axis);
  int64_t rows = dims.count(0, axis);
  int64_t size = dims.count(axis, dims.rank());
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> means(static_cast<size_t>(rows), 0);
  std::vector<double> scales(static_cast<size_t>(rows), 0);
  for (int64_t i = 0; i < rows; ++i) {
    double* row = x.data() + i * size;
    double mean = 0;
    for (int64_t j = 0; j < size && !kRms; ++j) mean += row[j];
    mean /= static_cast<double>(size);
    if (kRms) mean = 0;
    double variance = 0;
    for (int64_t j = 0; j < size; ++j) variance += (row[j] - mean) * (row[j] - mean);
    variance /= static_cast<double>(size);
    double scale = 1 / std::sqrt(variance + static_cast<double>(attrs.epsilon));
    for (int64_t j = 0; j < size; ++j) row[j] = (row[j] - mean) * scale;
    means[static_cast<size_t>(i)] = mean;
    scales[static_cast<size_t>(i)] = scale;
  }
  std::vector<double> scale = read_elements<double>(c.input(1));
  std::vector<double> bias = c.has_input(2) ? read_elements<double>(c.input(2)) : std::vector{0.0};
  Dims bias_dims = c.has_input(2) ? c.input(2).dims : Dims{};
  Dims strides[2] = {broadcast_strides(c.input(1).dims, dims), broadcast_strides(bias_dims, dims)};
  for_each_offset(dims, strides, [&](int64_t i, const int64_t(&offset)[2]) {
    double& v = x[static_cast<size_t>(i)];
    v = v * scale[static_cast<size_t>(offset[0])] + bias[static_cast<size_t>(offset[1])];
  });
  write_elements(x, c.output(0));
  size_t inverse = kRms ? 1 : 2;
  if (!kRms && c.wants_output(1)) write_elements(means, c.output(1));
  if (c.wants_output(inverse)) write_elements(scales, c.output(inverse));
  return {};
}

}  // namespace

void register_op_layer_norm(OpRegistry& registry) {
  registry.add({.name = "layer_norm",
                .inputs = {{"x"}, {"scale"}, {"bias", Arity::kOptional}},
                .outputs = {{"y"}, {"mean", Arity::kOptional}, {"inv_std_dev", Arity::kOptional}},
                .attrs = attrs_type<LayerNormAttrs>(),
                .infer = infer_norm<false>,
                .reference = reference_norm<false>});
  registry.add({.name = "rms_norm",
                .inputs = {{"x"}, {"scale"}},
                .outputs = {{"y"}, {"inv_rms", Arity::kOptional}},
                .attrs = attrs_type<LayerNormAttrs>(),
                .infer = infer_norm<true>,
                .reference = reference_norm<true>});
}

}  // namespace redline
