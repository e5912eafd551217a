// SPDX-License-Identifier: Apache-2.0
#include "ops/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_softmax(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  const Shape& in = c.shape(0);
  if (in.has_rank()) {
    REDLINE_TRY(c.normalize_axis(c.attrs<SoftmaxAttrs>().axis, in.rank()).status());
  }
  c.set_output(0, c.dtype(0), in);
  return {};
}

void softmax(double* x, int64_t size, int64_t step) {
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < size; ++i) most = std::max(most, x[i * step]);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += x[i * step] = std::exp(x[i * step] - most);
  for (int64_t i = 0; i < size; ++i) x[i * step] /= sum;
}

void log_softmax(double* x, int64_t size, int64_t step) {
  double most = -std::numeric_limits<double>::infinity();
  for (int64_t i = 0; i < size; ++i) most = std::max(most, x[i * step]);
  double sum = 0;
  for (int64_t i = 0; i < size; ++i) sum += std::exp(x[i * step] - most);
  for (int64_t i = 0; i < size; ++i) x[i * step] = x[i * step] - most - std::log(sum);
}

// A NaN counts as the maximum, as in numpy's argmax.
void hardmax(double* x, int64_t size, int64_t step) {
  int64_t best = 0;
  for (int64_t i = 1; i < size && !std::isnan(x[best * step]); ++i) {
    if (!(x[i * step] <= x[best * step])) best = i;
  }
  for (int64_t i = 0; i < size; ++i) x[i * step] = i == best;
}

template <void (*kColumn)(double*, int64_t, int64_t)>
Status reference_softmax(ReferenceContext& c) {
  const TensorView& in = c.input(0);
  int64_t axis = c.attrs<SoftmaxAttrs>().axis;
  auto at = static_cast<int>(axis < 0 ? axis + in.dims.rank() : axis);
  int64_t outer = in.dims.count(0, at);
  int64_t size = in.dims[static_cast<size_t>(at)];
  int64_t inner = in.dims.count(at + 1, in.dims.rank());
  std::vector<double> values = read_elements<double>(in);
  if (size > 0) {
    for (int64_t i = 0; i < outer; ++i) {
      for (int64_t j = 0; j < inner; ++j) {
        kColumn(values.data() + i * size * inner + j, size, inner);
      }
    }
  }
  write_elements(values, c.output(0));
  return {};
}

}  // namespace

void register_op_softmax(OpRegistry& registry) {
  OpDef def{.name = "softmax",
            .inputs = {{"x"}},
            .outputs = {{"y"}},
            .attrs = attrs_type<SoftmaxAttrs>(),
            .infer = infer_softmax,
            .reference = reference_softmax<softmax>};
  registry.add(def);
  def.name = "log_softmax";
  def.reference = reference_softmax<log_softmax>;
  registry.add(def);
  def.name = "hardmax";
  def.reference = reference_softmax<hardmax>;
  registry.add(std::move(def));
}

}  // namespace redline
