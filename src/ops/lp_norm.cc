// SPDX-License-Identifier: Apache-2.0
#include "ops/lp_norm.h"

#include <algorithm>
#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_same(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  c.set_output(0, c.dtype(0), c.shape(0));
  return {};
}

Status infer_lp_norm(InferContext& c) {
  const auto& attrs = c.attrs<LpNormAttrs>();
  if (attrs.p != 1 && attrs.p != 2) return c.error(str_cat("p is ", attrs.p, ", expected 1 or 2"));
  REDLINE_TRY(infer_same(c));
  if (!c.shape(0).has_rank()) return {};
  return c.normalize_axis(attrs.axis, c.shape(0).rank()).status();
}

Status reference_lp_norm(ReferenceContext& c) {
  const auto& attrs = c.attrs<LpNormAttrs>();
  const Dims& dims = c.input(0).dims;
  auto axis = static_cast<int>(attrs.axis < 0 ? attrs.axis + dims.rank() : attrs.axis);
  int64_t outer = dims.count(0, axis);
  int64_t size = dims[static_cast<size_t>(axis)];
  int64_t inner = dims.count(axis + 1, dims.rank());
  std::vector<double> x = read_elements<double>(c.input(0));
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t j = 0; j < inner; ++j) {
      double* column = x.data() + i * size * inner + j;
      double sum = 0;
      for (int64_t k = 0; k < size; ++k) {
        double v = column[k * inner];
        sum += attrs.p == 1 ? std::abs(v) : v * v;
      }
      double norm = attrs.p == 1 ? sum : std::sqrt(sum);
      for (int64_t k = 0; k < size; ++k) {
        column[k * inner] = norm == 0 ? 0 : column[k * inner] / norm;
      }
    }
  }
  write_elements(x, c.output(0));
  return {};
}

Status infer_mean_variance_norm(InferContext& c) {
  REDLINE_TRY(infer_same(c));
  if (!c.shape(0).has_rank()) return {};
  return normalize_axes(c, c.attrs<MeanVarianceNormAttrs>().axes, c.shape(0).rank()).status();
}

Status reference_mean_variance_norm(ReferenceContext& c) {
  const Dims& dims = c.input(0).dims;
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<bool> reduced(dims.size());
  for (int64_t axis : c.attrs<MeanVarianceNormAttrs>().axes) {
    reduced[static_cast<size_t>(axis < 0 ? axis + dims.rank() : axis)] = true;
  }
  Dims strides[1];
  strides[0].resize(dims.rank());
  int64_t groups = 1;
  int64_t size = 1;
  for (size_t d = dims.size(); d-- > 0;) {
    if (!reduced[d]) strides[0][d] = groups;
    (reduced[d] ? size : groups) *= dims[d];
  }
  std::vector<double> means(static_cast<size_t>(groups), 0);
  std::vector<double> deviations(means.size(), 0);
  for_each_offset(dims, strides, [&](int64_t i, const int64_t(&at)[1]) {
    means[static_cast<size_t>(at[0])] += x[static_cast<size_t>(i)] / static_cast<double>(size);
  });
  for_each_offset(dims, strides, [&](int64_t i, const int64_t(&at)[1]) {
    double& v = x[static_cast<size_t>(i)];
    v -= means[static_cast<size_t>(at[0])];
    deviations[static_cast<size_t>(at[0])] += v * v / static_cast<double>(size);
  });
  for (double& v : deviations) v = std::sqrt(v) + 1e-9;
  for_each_offset(dims, strides, [&](int64_t i, const int64_t(&at)[1]) {
    x[static_cast<size_t>(i)] /= deviations[static_cast<size_t>(at[0])];
  });
  write_elements(x, c.output(0));
  return {};
}

Status infer_lrn(InferContext& c) {
  int64_t size = c.attrs<LrnAttrs>().size;
  if (size < 1 || size > INT32_MAX) return c.error(str_cat("size is ", size));
  REDLINE_TRY(infer_same(c));
  if (c.shape(0).has_rank() && c.shape(0).rank() < 2) {
    return c.input_error(0, "must have rank 2 or more");
  }
  return {};
}

Status reference_lrn(ReferenceContext& c) {
  const auto& attrs = c.attrs<LrnAttrs>();
  const Dims& dims = c.input(0).dims;
  int64_t channels = dims[1];
  int64_t pixels = dims.count(2, dims.rank());
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> y(x.size());
  int64_t before = (attrs.size - 1) / 2;
  int64_t after = attrs.size / 2;
  double factor = static_cast<double>(attrs.alpha) / static_cast<double>(attrs.size);
  std::vector<double> sums(static_cast<size_t>(pixels));
  for (int64_t n = 0; n < dims[0]; ++n) {
    const double* sample = x.data() + n * channels * pixels;
    for (int64_t channel = 0; channel < channels; ++channel) {
      std::fill(sums.begin(), sums.end(), 0);
      int64_t last = std::min(channel + after, channels - 1);
      for (int64_t i = std::max<int64_t>(channel - before, 0); i <= last; ++i) {
        for (int64_t p = 0; p < pixels; ++p) {
          sums[static_cast<size_t>(p)] += sample[i * pixels + p] * sample[i * pixels + p];
        }
      }
      for (int64_t p = 0; p < pixels; ++p) {
        double base = static_cast<double>(attrs.bias) + factor * sums[static_cast<size_t>(p)];
        y[static_cast<size_t>((n * channels + channel) * pixels + p)] =
            sample[channel * pixels + p] / std::pow(base, static_cast<double>(attrs.beta));
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

}  // namespace

void register_op_lp_norm(OpRegistry& registry) {
  OpDef def{.name = "lp_norm",
            .inputs = {{"x"}},
            .outputs = {{"y"}},
            .attrs = attrs_type<LpNormAttrs>(),
            .infer = infer_lp_norm,
            .reference = reference_lp_norm};
  registry.add(def);
  def.name = "mean_variance_norm";
  def.attrs = attrs_type<MeanVarianceNormAttrs>();
  def.infer = infer_mean_variance_norm;
  def.reference = reference_mean_variance_norm;
  registry.add(def);
  def.name = "lrn";
  def.attrs = attrs_type<LrnAttrs>();
  def.infer = infer_lrn;
  def.reference = reference_lrn;
  registry.add(std::move(def));
}

}  // namespace redline
