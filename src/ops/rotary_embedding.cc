// SPDX-License-Identifier: Apache-2.0
#include "ops/rotary_embedding.h"

#include <algorithm>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr size_t kPositions = 3;

// Sizes as far as they are known: heads and their size by the layout.
Status check_rotation(InferContext& c, const Dim& size) {
  const auto& attrs = c.attrs<RotaryEmbeddingAttrs>();
  std::optional<int64_t> whole = size.as_const();
  if (!whole) return {};
  int64_t dim = attrs.dim > 0 ? attrs.dim : *whole;
  if (dim % 2 != 0 || dim > *whole) {
    return c.error(str_cat("cannot turn pairs of ", dim, " elements of heads of ", *whole));
  }
  for (size_t i : {1, 2}) {
    const Shape& cache = c.shape(i);
    if (!cache.has_rank()) continue;
    if (conflict(cache[cache.rank() - 1], Dim(dim / 2))) {
      return c.input_error(i, str_cat("must have size ", dim / 2, " at its last axis"));
    }
  }
  return {};
}

Status infer_rotary_embedding(InferContext& c) {
  const auto& attrs = c.attrs<RotaryEmbeddingAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  if (attrs.dim < 0 || attrs.heads < 0) return c.error("dim and heads must not be negative");
  bool by_position = c.has_input(kPositions);
  for (size_t i : {1, 2}) {
    REDLINE_TRY(c.expect_rank(i, by_position ? 2 : 3));
    REDLINE_TRY(c.expect_same_dtype(i, 0));
  }
  if (by_position) {
    REDLINE_TRY(c.expect_tensor(kPositions));
    if (!is_int(c.dtype(kPositions))) return c.input_error(kPositions, "must hold integers");
  }
  const Shape& x = c.shape(0);
  c.set_output(0, c.dtype(0), x);
  if (!x.has_rank()) return {};
  if (x.rank() != 3 && x.rank() != 4) return c.input_error(0, "must have rank 3 or 4");
  const Dim& sequence = x.rank() == 4 ? x[2] : x[1];
  if (x.rank() == 3) {
    if (attrs.heads == 0) return c.error("an operand of rank 3 needs heads");
    if (x[2].is_const() && x[2].value() % attrs.heads != 0) {
      return c.input_error(0, str_cat("cannot be split into ", attrs.heads, " heads"));
    }
  }
  REDLINE_TRY(check_rotation(c, x.rank() == 4 ? x[3] : floor_div(x[2], Dim(attrs.heads))));
  if (!by_position) {
    for (size_t i : {1, 2}) {
      const Shape& cache = c.shape(i);
      if (!cache.has_rank()) continue;
      if (conflict(cache[0], x[0]) || conflict(cache[1], sequence)) {
        return c.input_error(
            i, str_cat("must start with ", x[0].to_string(), ", ", sequence.to_string()));
      }
    }
    return {};
  }
  const Shape& positions = c.shape(kPositions);
  if (!positions.has_rank()) return {};
  bool start = positions.rank() <= 1 && (positions.rank() == 0 || !conflict(positions[0], Dim(1)));
  if (start) return {};
  if (positions.rank() != 2 || conflict(positions[0], x[0]) || conflict(positions[1], sequence)) {
    return c.input_error(kPositions, str_cat("must have the sizes ", x[0].to_string(), ", ",
                                             sequence.to_string(), ", or one element"));
  }
  return {};
}

Status reference_rotary_embedding(ReferenceContext& c) {
  const auto& attrs = c.attrs<RotaryEmbeddingAttrs>();
  const TensorView& in = c.input(0);
  bool split = in.dims.rank() == 4;
  int64_t batch = in.dims[0];
  int64_t heads = split ? in.dims[1] : attrs.heads;
  int64_t sequence = split ? in.dims[2] : in.dims[1];
  int64_t size = split ? in.dims[3] : in.dims[2] / heads;
  int64_t half = (attrs.dim > 0 ? attrs.dim : size) / 2;
  std::vector<double> x = read_elements<double>(in);
  std::vector<double> cosines = read_elements<double>(c.input(1));
  std::vector<double> sines = read_elements<double>(c.input(2));
  if (c.input(1).dims != c.input(2).dims) {
    return invalid_argument("the caches differ in size: ", c.input(1).dims.to_string(), " and ",
                            c.input(2).dims.to_string());
  }
  std::vector<int64_t> positions;
  if (c.has_input(kPositions)) positions = read_ints(c.input(kPositions));
  bool start = c.has_input(kPositions) && c.input(kPositions).dims.rank() < 2;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < sequence; ++s) {
      int64_t row = b * sequence + s;
      if (c.has_input(kPositions)) {
        int64_t rows = c.input(1).dims[0];
        int64_t position = positions[start ? 0 : static_cast<size_t>(row)];
        int64_t step = start ? s : 0;
        // The caches are indexed as numpy does: negative rows count from the end.
        int64_t from = position < 0 && !start ? position + rows : position;
        if (from < 0 || from >= rows - step) {
          return invalid_argument("position ", position, step > 0 ? str_cat(" + ", step) : "",
                                  " is beyond the ", rows, " rows of the caches");
        }
        row = from + step;
      }
      const double* cosine = cosines.data() + row * half;
      const double* sine = sines.data() + row * half;
      for (int64_t h = 0; h < heads; ++h) {
        int64_t at = split ? (b * heads + h) * sequence + s : (b * sequence + s) * heads + h;
        double* v = x.data() + at * size;
        for (int64_t i = 0; i < half; ++i) {
          double& first = attrs.interleaved ? v[2 * i] : v[i];
          double& second = attrs.interleaved ? v[2 * i + 1] : v[i + half];
          double real = cosine[i] * first - sine[i] * second;
          second = sine[i] * first + cosine[i] * second;
          first = real;
        }
      }
    }
  }
  write_elements(x, c.output(0));
  return {};
}

}  // namespace

void register_op_rotary_embedding(OpRegistry& registry) {
  registry.add({.name = "rotary_embedding",
                .inputs = {{"x"}, {"cos"}, {"sin"}, {"positions", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<RotaryEmbeddingAttrs>(),
                .infer = infer_rotary_embedding,
                .reference = reference_rotary_embedding});
}

}  // namespace redline
