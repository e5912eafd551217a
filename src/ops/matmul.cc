// SPDX-License-Identifier: Apache-2.0
#include "ops/matmul.h"

#include <array>

#include "ops/elements.h"
#include "ops/op.h"
#include "ops/tf32.h"

namespace redline {
namespace {

// numpy.matmul: rank-1 operands get an axis that the result drops; leading axes broadcast.
Status infer_matmul(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  REDLINE_TRY(check_tf32(c, c.attrs<MatmulAttrs>().tf32));
  if (!c.shape(0).has_rank() || !c.shape(1).has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  SymDims a = c.shape(0).dims();
  SymDims b = c.shape(1).dims();
  if (a.empty()) return c.input_error(0, "must have rank 1 or more");
  if (b.empty()) return c.input_error(1, "must have rank 1 or more");
  bool a_vector = a.size() == 1;
  bool b_vector = b.size() == 1;
  if (a_vector) a.insert(a.begin(), Dim(1));
  if (b_vector) b.push_back(Dim(1));
  const Dim& inner_a = a.back();
  const Dim& inner_b = b[b.size() - 2];
  if (inner_a.is_const() && inner_b.is_const() && inner_a != inner_b) {
    return c.error(
        str_cat("inner sizes differ: ", c.type(0).to_string(), " x ", c.type(1).to_string()));
  }
  std::array<Shape, 2> batch = {SymDims(a.begin(), a.end() - 2), SymDims(b.begin(), b.end() - 2)};
  REDLINE_ASSIGN(Shape leading, broadcast_shapes(batch));
  SymDims out = leading.dims();
  if (!a_vector) out.push_back(a[a.size() - 2]);
  if (!b_vector) out.push_back(b.back());
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

template <class W>
void matmul(const TensorView& lhs, const TensorView& rhs, bool tf32, const TensorView& out) {
  Dims a = lhs.dims.rank() == 1 ? Dims{1, lhs.dims[0]} : lhs.dims;
  Dims b = rhs.dims.rank() == 1 ? Dims{rhs.dims[0], 1} : rhs.dims;
  int64_t m = a[a.size() - 2];
  int64_t k = a.back();
  int64_t n = b.back();
  Dims a_batch(std::span(a.begin(), a.size() - 2));
  Dims b_batch(std::span(b.begin(), b.size() - 2));
  Dims batch = broadcast_dims(std::array{a_batch, b_batch});
  std::vector<W> x = factors(read_elements<W>(lhs), tf32);
  std::vector<W> y = factors(read_elements<W>(rhs), tf32);
  std::vector<W> z(static_cast<size_t>(out.count()));
  Dims strides[2] = {broadcast_strides(a_batch, batch), broadcast_strides(b_batch, batch)};
  for_each_offset(batch, strides, [&](int64_t i, const int64_t(&offset)[2]) {
    const W* xm = x.data() + offset[0] * m * k;
    const W* ym = y.data() + offset[1] * k * n;
    W* zm = z.data() + i * m * n;
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t p = 0; p < k; ++p) {
        W scale = xm[row * k + p];
        for (int64_t col = 0; col < n; ++col) zm[row * n + col] += scale * ym[p * n + col];
      }
    }
  });
  write_elements(z, out);
}

Status reference_matmul(ReferenceContext& c) {
  if (c.input(0).dims.back() !=
      c.input(1).dims[c.input(1).dims.rank() == 1 ? 0 : c.input(1).dims.size() - 2]) {
    return invalid_argument("inner sizes differ: ", c.input(0).dims.to_string(), " x ",
                            c.input(1).dims.to_string());
  }
  with_wide_type(c.input(0).dtype, [&](auto wide) {
    matmul<decltype(wide)>(c.input(0), c.input(1), c.attrs<MatmulAttrs>().tf32, c.output(0));
  });
  return {};
}

Status reference_matmul_at(const ReferenceAt& c) {
  bool tf32 = c.attrs.as<MatmulAttrs>().tf32;
  bool a_vector = c.inputs[0].dims.rank() == 1;
  bool b_vector = c.inputs[1].dims.rank() == 1;
  Dims a = a_vector ? Dims{1, c.inputs[0].dims[0]} : c.inputs[0].dims;
  Dims b = b_vector ? Dims{c.inputs[1].dims[0], 1} : c.inputs[1].dims;
  int64_t m = a[a.size() - 2];
  int64_t k = a.back();
  int64_t n = b.back();
  Dims a_batch(std::span(a.begin(), a.size() - 2));
  Dims b_batch(std::span(b.begin(), b.size() - 2));
  Dims batch = broadcast_dims(std::array{a_batch, b_batch});
  Dims a_strides = broadcast_strides(a_batch, batch);
  Dims b_strides = broadcast_strides(b_batch, batch);
  with_wide_type(c.result.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> sums(c.elements.size());
    std::vector<int64_t> a_at(static_cast<size_t>(k));
    std::vector<int64_t> b_at(static_cast<size_t>(k));
    for (size_t i = 0; i < sums.size(); ++i) {
      int64_t a_matrix = 0;
      int64_t b_matrix = 0;
      int64_t rest = c.elements[i] / n / m;
      for (size_t axis = batch.size(); axis-- > 0; rest /= batch[axis]) {
        a_matrix += rest % batch[axis] * a_strides[axis];
        b_matrix += rest % batch[axis] * b_strides[axis];
      }
      int64_t row = c.elements[i] / n % m;
      int64_t column = c.elements[i] % n;
      for (int64_t p = 0; p < k; ++p) {
        a_at[static_cast<size_t>(p)] = (a_matrix * m + row) * k + p;
        b_at[static_cast<size_t>(p)] = (b_matrix * k + p) * n + column;
      }
      std::vector<W> x = factors(read_elements_at<W>(c.inputs[0], a_at), tf32);
      std::vector<W> y = factors(read_elements_at<W>(c.inputs[1], b_at), tf32);
      for (size_t p = 0; p < x.size(); ++p) sums[i] += x[p] * y[p];
    }
    write_elements(sums, c.result);
  });
  return {};
}

Cost cost_matmul(std::span<const Type> inputs, std::span<const Type> outputs, const Attrs&) {
  std::optional<Dims> a = inputs[0].shape.as_static();
  std::optional<Dims> out = outputs[0].shape.as_static();
  if (!a || !out) return {};
  return {2.0 * static_cast<double>(out->count()) * static_cast<double>(a->back())};
}

}  // namespace

void register_op_matmul(OpRegistry& registry) {
  registry.add({.name = "matmul",
                .inputs = {{"a"}, {"b"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<MatmulAttrs>(),
                .infer = infer_matmul,
                .reference = reference_matmul,
                .reference_at = reference_matmul_at,
                .cost = cost_matmul});
}

}  // namespace redline
