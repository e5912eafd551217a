// SPDX-License-Identifier: Apache-2.0
#include "ops/group_norm.h"

#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_channel_norm(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  const Shape& x = c.shape(0);
  c.set_output(0, c.dtype(0), x);
  if (x.has_rank() && x.rank() < 2) return c.input_error(0, "must have rank 2 or more");
  for (size_t i : {1, 2}) {
    REDLINE_TRY(c.expect_same_dtype(i, 0));
    REDLINE_TRY(c.expect_rank(i, 1));
    if (x.has_rank() && c.shape(i).has_rank() && conflict(c.shape(i)[0], x[1])) {
      return c.input_error(i, str_cat("must have ", x[1].value(), " elements, one a channel"));
    }
  }
  return {};
}

Status infer_group_norm(InferContext& c) {
  int64_t groups = c.attrs<GroupNormAttrs>().num_groups;
  if (groups < 1) return c.error(str_cat("num_groups is ", groups));
  REDLINE_TRY(infer_channel_norm(c));
  const Shape& x = c.shape(0);
  std::optional<int64_t> channels = x.has_rank() ? x[1].as_const() : std::nullopt;
  if (channels && *channels % groups != 0) {
    return c.error(str_cat("num_groups ", groups, " does not divide ", *channels, " channels"));
  }
  return {};
}

void normalize(ReferenceContext& c, int64_t groups, double epsilon) {
  const Dims& dims = c.input(0).dims;
  int64_t channels = dims[1];
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> scale = read_elements<double>(c.input(1));
  std::vector<double> bias = read_elements<double>(c.input(2));
  int64_t pixels = dims.count(2, dims.rank());
  int64_t size = channels / groups * pixels;
  for (int64_t i = 0; i < dims[0] * groups && size > 0; ++i) {
    double* group = x.data() + i * size;
    double mean = 0;
    for (int64_t j = 0; j < size; ++j) mean += group[j];
    mean /= static_cast<double>(size);
    double variance = 0;
    for (int64_t j = 0; j < size; ++j) variance += (group[j] - mean) * (group[j] - mean);
    double inverse = 1 / std::sqrt(variance / static_cast<double>(size) + epsilon);
    for (int64_t j = 0; j < size; ++j) {
      auto channel = static_cast<size_t>(i % groups * (channels / groups) + j / pixels);
      group[j] = (group[j] - mean) * inverse * scale[channel] + bias[channel];
    }
  }
  write_elements(x, c.output(0));
}

Status reference_group_norm(ReferenceContext& c) {
  const auto& attrs = c.attrs<GroupNormAttrs>();
  if (c.input(0).dims[1] % attrs.num_groups != 0) {
    return invalid_argument("num_groups ", attrs.num_groups, " does not divide ",
                            c.input(0).dims[1], " channels");
  }
  normalize(c, attrs.num_groups, static_cast<double>(attrs.epsilon));
  return {};
}

Status reference_instance_norm(ReferenceContext& c) {
  normalize(c, std::max<int64_t>(c.input(0).dims[1], 1),
            static_cast<double>(c.attrs<InstanceNormAttrs>().epsilon));
  return {};
}

}  // namespace

void register_op_group_norm(OpRegistry& registry) {
  OpDef def{.name = "group_norm",
            .inputs = {{"x"}, {"scale"}, {"bias"}},
            .outputs = {{"y"}},
            .attrs = attrs_type<GroupNormAttrs>(),
            .infer = infer_group_norm,
            .reference = reference_group_norm};
  registry.add(def);
  def.name = "instance_norm";
  def.attrs = attrs_type<InstanceNormAttrs>();
  def.infer = infer_channel_norm;
  def.reference = reference_instance_norm;
  registry.add(std::move(def));
}

}  // namespace redline
