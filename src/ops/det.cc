// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

// det(x [..., m, m]): the determinant of each matrix.

Status infer_det(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must hold floating-point numbers");
  const Shape& x = c.shape(0);
  c.set_output(0, c.dtype(0), Shape());
  if (!x.has_rank()) return {};
  if (x.rank() < 2 || conflict(x[x.rank() - 1], x[x.rank() - 2])) {
    return c.input_error(0, "must hold square matrices");
  }
  c.set_output(0, c.dtype(0), SymDims(x.dims().begin(), x.dims().end() - 2));
  return {};
}

// By elimination with partial pivoting; destroys the matrix.
double determinant(double* a, int64_t n) {
  double result = 1;
  for (int64_t col = 0; col < n; ++col) {
    int64_t pivot = col;
    for (int64_t row = col + 1; row < n; ++row) {
      if (std::abs(a[row * n + col]) > std::abs(a[pivot * n + col])) pivot = row;
    }
    if (a[pivot * n + col] == 0) return 0;
    if (pivot != col) {
      for (int64_t k = 0; k < n; ++k) std::swap(a[pivot * n + k], a[col * n + k]);
      result = -result;
    }
    result *= a[col * n + col];
    for (int64_t row = col + 1; row < n; ++row) {
      double factor = a[row * n + col] / a[col * n + col];
      for (int64_t k = col; k < n; ++k) a[row * n + k] -= factor * a[col * n + k];
    }
  }
  return result;
}

Status reference_det(ReferenceContext& c) {
  const Dims& dims = c.input(0).dims;
  int64_t n = dims.back();
  if (n != dims[dims.size() - 2]) return invalid_argument("matrices are not square");
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> result(static_cast<size_t>(c.output(0).count()));
  for (size_t i = 0; i < result.size(); ++i) {
    result[i] = determinant(x.data() + static_cast<int64_t>(i) * n * n, n);
  }
  write_elements(result, c.output(0));
  return {};
}

}  // namespace

void register_op_det(OpRegistry& registry) {
  registry.add({.name = "det",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .infer = infer_det,
                .reference = reference_det});
}

}  // namespace redline
