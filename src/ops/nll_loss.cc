// SPDX-License-Identifier: Apache-2.0
#include "ops/nll_loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_loss(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  if (!is_int(c.dtype(1))) return c.input_error(1, "must hold integers");
  const Shape& scores = c.shape(0);
  const Shape& target = c.shape(1);
  if (scores.has_rank()) {
    if (scores.rank() < 2) return c.input_error(0, "must have rank 2 or more");
    REDLINE_TRY(c.expect_rank(1, scores.rank() - 1));
    for (int d = 0; target.has_rank() && d < target.rank(); ++d) {
      const Dim& size = scores[d == 0 ? 0 : d + 1];
      if (conflict(target[d], size)) {
        return c.input_error(1, str_cat("must have size ", size.value(), " at axis ", d));
      }
    }
  }
  if (c.has_input(2)) {
    REDLINE_TRY(c.expect_same_dtype(2, 0));
    REDLINE_TRY(c.expect_rank(2, 1));
    if (scores.has_rank() && c.shape(2).has_rank() && conflict(c.shape(2)[0], scores[1])) {
      return c.input_error(2, str_cat("must have ", scores[1].value(), " elements, one a class"));
    }
  }
  bool each = c.attrs<LossAttrs>().reduction == LossReduction::kNone;
  c.set_output(0, c.dtype(0), each ? target : Shape(SymDims{}));
  c.set_output(1, c.dtype(0), scores);
  return {};
}

// Losses of the log-probabilities `x` of dims [n, c, ...].
Status write_loss(ReferenceContext& c, const std::vector<double>& x) {
  const auto& attrs = c.attrs<LossAttrs>();
  const Dims& dims = c.input(0).dims;
  int64_t classes = dims[1];
  int64_t inner = dims.count(2, dims.rank());
  std::vector<int64_t> target = read_ints(c.input(1));
  std::vector<double> weight;
  if (c.has_input(2)) weight = read_elements<double>(c.input(2));
  std::vector<double> losses(target.size(), 0);
  double sum = 0;
  double weights = 0;
  for (size_t i = 0; i < target.size(); ++i) {
    int64_t label = target[i];
    if (attrs.ignore_index && label == *attrs.ignore_index) continue;
    if (label < 0 || label >= classes) {
      return invalid_argument("target ", label, " is not one of ", classes, " classes");
    }
    auto at = static_cast<int64_t>(i);
    double factor = weight.empty() ? 1 : weight[static_cast<size_t>(label)];
    int64_t row = at / inner * classes + label;
    losses[i] = -x[static_cast<size_t>(row * inner + at % inner)] * factor;
    sum += losses[i];
    weights += factor;
  }
  if (attrs.reduction == LossReduction::kMean) sum /= weights;
  if (attrs.reduction != LossReduction::kNone) losses = {sum};
  write_elements(losses, c.output(0));
  return {};
}

Status reference_nll_loss(ReferenceContext& c) {
  return write_loss(c, read_elements<double>(c.input(0)));
}

Status reference_softmax_cross_entropy_loss(ReferenceContext& c) {
  const Dims& dims = c.input(0).dims;
  int64_t classes = dims[1];
  int64_t inner = dims.count(2, dims.rank());
  std::vector<double> x = read_elements<double>(c.input(0));
  for (int64_t i = 0; i < dims[0] * inner && classes > 0; ++i) {
    double* column = x.data() + i / inner * classes * inner + i % inner;
    double most = -std::numeric_limits<double>::infinity();
    for (int64_t k = 0; k < classes; ++k) most = std::max(most, column[k * inner]);
    double sum = 0;
    for (int64_t k = 0; k < classes; ++k) sum += std::exp(column[k * inner] - most);
    for (int64_t k = 0; k < classes; ++k) {
      column[k * inner] = column[k * inner] - most - std::log(sum);
    }
  }
  if (c.wants_output(1)) write_elements(x, c.output(1));
  return write_loss(c, x);
}

}  // namespace

void register_op_nll_loss(OpRegistry& registry) {
  OpDef def{.name = "nll_loss",
            .inputs = {{"log_probs"}, {"target"}, {"weight", Arity::kOptional}},
            .outputs = {{"loss"}},
            .attrs = attrs_type<LossAttrs>(),
            .infer = infer_loss,
            .reference = reference_nll_loss};
  registry.add(def);
  def.name = "softmax_cross_entropy_loss";
  def.inputs[0].name = "scores";
  def.outputs.push_back({"log_prob", Arity::kOptional});
  def.reference = reference_softmax_cross_entropy_loss;
  registry.add(std::move(def));
}

}  // namespace redline
