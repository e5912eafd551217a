// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm.h"

#include <array>

#include "ops/elements.h"
#include "ops/op.h"
#include "ops/tf32.h"

namespace redline {
namespace {

Status infer_gemm(InferContext& c) {
  const auto& attrs = c.attrs<GemmAttrs>();
  REDLINE_TRY(c.expect_rank(0, 2));
  REDLINE_TRY(c.expect_rank(1, 2));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  if (!is_float(c.dtype(0)) && !is_int(c.dtype(0))) return c.input_error(0, "must be numeric");
  REDLINE_TRY(check_tf32(c, attrs.tf32));
  const Shape& a = c.shape(0);
  const Shape& b = c.shape(1);
  Dim m = a.has_rank() ? a[attrs.trans_a ? 1 : 0] : c.fresh_symbol("m");
  Dim n = b.has_rank() ? b[attrs.trans_b ? 0 : 1] : c.fresh_symbol("n");
  if (a.has_rank() && b.has_rank()) {
    const Dim& inner_a = a[attrs.trans_a ? 0 : 1];
    const Dim& inner_b = b[attrs.trans_b ? 1 : 0];
    if (inner_a.is_const() && inner_b.is_const() && inner_a != inner_b) {
      return c.error(str_cat("inner sizes differ: ", inner_a.value(), " and ", inner_b.value()));
    }
  }
  if (c.has_input(2)) {
    REDLINE_TRY(c.expect_same_dtype(2, 0));
    const Shape& bias = c.shape(2);
    if (bias.has_rank() && bias.rank() > 2) return c.input_error(2, "must have rank 2 or less");
    for (int i = 0; bias.has_rank() && i < bias.rank(); ++i) {
      const Dim& size = bias[bias.rank() - 1 - i];
      const Dim& wanted = i == 0 ? n : m;
      if (size.is_const() && wanted.is_const() && size != wanted && size != Dim(1)) {
        return c.input_error(
            2, str_cat("does not broadcast to [", m.to_string(), ", ", n.to_string(), "]"));
      }
    }
  }
  c.set_output(0, c.dtype(0), SymDims{m, n});
  return {};
}

template <class W>
void multiply(ReferenceContext& c) {
  const auto& attrs = c.attrs<GemmAttrs>();
  const TensorView& out = c.output(0);
  int64_t m = out.dims[0];
  int64_t n = out.dims[1];
  int64_t k = c.input(0).dims[attrs.trans_a ? 0 : 1];
  std::vector<W> a = factors(read_elements<W>(c.input(0)), attrs.tf32);
  std::vector<W> b = factors(read_elements<W>(c.input(1)), attrs.tf32);
  std::vector<W> y(static_cast<size_t>(m * n));
  auto at = [](int64_t i) { return static_cast<size_t>(i); };
  for (int64_t row = 0; row < m; ++row) {
    for (int64_t p = 0; p < k; ++p) {
      W scale = a[at(attrs.trans_a ? p * m + row : row * k + p)];
      const W* from = b.data() + (attrs.trans_b ? p : p * n);
      int64_t stride = attrs.trans_b ? k : 1;
      for (int64_t col = 0; col < n; ++col) y[at(row * n + col)] += scale * from[col * stride];
    }
  }
  if (attrs.alpha != 1) {
    for (W& v : y) v = static_cast<W>(static_cast<double>(attrs.alpha) * static_cast<double>(v));
  }
  if (c.has_input(2)) {
    std::vector<W> bias = read_elements<W>(c.input(2));
    Dims strides[1] = {broadcast_strides(c.input(2).dims, out.dims)};
    for_each_offset(out.dims, strides, [&](int64_t i, const int64_t(&offset)[1]) {
      W v = bias[at(offset[0])];
      y[at(i)] += attrs.beta == 1
                      ? v
                      : static_cast<W>(static_cast<double>(attrs.beta) * static_cast<double>(v));
    });
  }
  write_elements(y, out);
}

Status reference_gemm(ReferenceContext& c) {
  const auto& attrs = c.attrs<GemmAttrs>();
  const Dims& a = c.input(0).dims;
  const Dims& b = c.input(1).dims;
  if (a[attrs.trans_a ? 0 : 1] != b[attrs.trans_b ? 1 : 0]) {
    return invalid_argument("inner sizes differ: ", a.to_string(), " and ", b.to_string());
  }
  with_wide_type(c.input(0).dtype, [&](auto wide) { multiply<decltype(wide)>(c); });
  return {};
}

Status reference_gemm_at(const ReferenceAt& c) {
  const auto& attrs = c.attrs.as<GemmAttrs>();
  int64_t m = c.dims[0];
  int64_t n = c.dims[1];
  int64_t k = c.inputs[0].dims[attrs.trans_a ? 0 : 1];
  with_wide_type(c.result.dtype, [&](auto wide) {
    using W = decltype(wide);
    auto scaled = [](float by, W v) {
      return by == 1 ? v : static_cast<W>(static_cast<double>(by) * static_cast<double>(v));
    };
    std::vector<W> sums(c.elements.size());
    std::vector<int64_t> a_at(static_cast<size_t>(k));
    std::vector<int64_t> b_at(static_cast<size_t>(k));
    Dims bias_strides;
    if (c.has_input(2)) bias_strides = broadcast_strides(c.inputs[2].dims, c.dims);
    for (size_t i = 0; i < sums.size(); ++i) {
      int64_t row = c.elements[i] / n;
      int64_t column = c.elements[i] % n;
      for (int64_t p = 0; p < k; ++p) {
        a_at[static_cast<size_t>(p)] = attrs.trans_a ? p * m + row : row * k + p;
        b_at[static_cast<size_t>(p)] = attrs.trans_b ? column * k + p : p * n + column;
      }
      std::vector<W> a = factors(read_elements_at<W>(c.inputs[0], a_at), attrs.tf32);
      std::vector<W> b = factors(read_elements_at<W>(c.inputs[1], b_at), attrs.tf32);
      for (size_t p = 0; p < a.size(); ++p) sums[i] += a[p] * b[p];
      sums[i] = scaled(attrs.alpha, sums[i]);
      if (!c.has_input(2)) continue;
      int64_t at[1] = {row * bias_strides[0] + column * bias_strides[1]};
      sums[i] += scaled(attrs.beta, read_elements_at<W>(c.inputs[2], at)[0]);
    }
    write_elements(sums, c.result);
  });
  return {};
}

Cost cost_gemm(std::span<const Type> inputs, std::span<const Type> outputs, const Attrs& attrs) {
  std::optional<Dims> a = inputs[0].shape.as_static();
  std::optional<Dims> out = outputs[0].shape.as_static();
  if (!a || !out) return {};
  int64_t k = (*a)[attrs.as<GemmAttrs>().trans_a ? 0 : 1];
  return {2.0 * static_cast<double>(out->count()) * static_cast<double>(k)};
}

// matmul_integer(a, b, a_zero_point?, b_zero_point?) -> i32: numpy.matmul of
// (a - a_zero_point) and (b - b_zero_point). A zero point is one number, or one for each row of a
// or column of b (a vector, or shaped to broadcast).
Status infer_matmul_integer(InferContext& c) {
  for (size_t i = 0; i < 4; ++i) {
    if (i >= 2 && !c.has_input(i)) continue;
    REDLINE_TRY(c.expect_tensor(i));
    if (!is_int(c.dtype(i)) || dtype_bits(c.dtype(i)) > 8) {
      return c.input_error(i, "must be i8 or u8");
    }
    if (i >= 2) REDLINE_TRY(c.expect_same_dtype(i, i - 2));
  }
  if (!c.shape(0).has_rank() || !c.shape(1).has_rank()) {
    c.set_output(0, DType::kInt32, Shape());
    return {};
  }
  SymDims a = c.shape(0).dims();
  SymDims b = c.shape(1).dims();
  if (a.empty() || b.empty()) return c.input_error(a.empty() ? 0 : 1, "must have rank 1 or more");
  bool a_vector = a.size() == 1;
  bool b_vector = b.size() == 1;
  if (a_vector) a.insert(a.begin(), Dim(1));
  if (b_vector) b.push_back(Dim(1));
  const Dim& inner = b[b.size() - 2];
  if (a.back().is_const() && inner.is_const() && a.back() != inner) {
    return c.error(
        str_cat("inner sizes differ: ", c.type(0).to_string(), " x ", c.type(1).to_string()));
  }
  std::array<Shape, 2> batch = {SymDims(a.begin(), a.end() - 2), SymDims(b.begin(), b.end() - 2)};
  REDLINE_ASSIGN(Shape leading, broadcast_shapes(batch));
  SymDims out;
  if (leading.has_rank()) out = leading.dims();
  if (!a_vector) out.push_back(a[a.size() - 2]);
  if (!b_vector) out.push_back(b.back());
  c.set_output(0, DType::kInt32, std::move(out));
  return {};
}

// The operand as int64 without its zero point; `sizes` has rank 2 or more.
Result<std::vector<int64_t>> centred(const TensorView& x, const Dims& sizes, const TensorView* zero,
                                     bool per_row) {
  std::vector<int64_t> values = read_ints(x);
  if (zero == nullptr) return values;
  std::vector<int64_t> offsets = read_ints(*zero);
  Dims shape = zero->dims;
  if (shape.rank() == 1 && per_row) shape.push_back(1);
  if (zero->count() == 1) shape = Dims();
  for (int i = 1; i <= shape.rank(); ++i) {
    int64_t size = shape[static_cast<size_t>(shape.rank() - i)];
    bool fits =
        i <= sizes.rank() && (size == 1 || size == sizes[static_cast<size_t>(sizes.rank() - i)]);
    if (!fits) {
      return invalid_argument("zero point of sizes ", zero->dims.to_string(),
                              " does not fit the operand's ", x.dims.to_string());
    }
  }
  Dims strides[1] = {broadcast_strides(shape, sizes)};
  for_each_offset(sizes, strides, [&](int64_t i, const int64_t(&offset)[1]) {
    values[static_cast<size_t>(i)] -= offsets[static_cast<size_t>(offset[0])];
  });
  return values;
}

Status reference_matmul_integer(ReferenceContext& c) {
  Dims a = c.input(0).dims;
  Dims b = c.input(1).dims;
  if (a.rank() == 1) a = Dims{1, a[0]};
  if (b.rank() == 1) b = Dims{b[0], 1};
  int64_t m = a[a.size() - 2];
  int64_t k = a.back();
  int64_t n = b.back();
  if (k != b[b.size() - 2]) {
    return invalid_argument("inner sizes differ: ", a.to_string(), " x ", b.to_string());
  }
  const TensorView* a_zero = c.has_input(2) ? &c.input(2) : nullptr;
  const TensorView* b_zero = c.has_input(3) ? &c.input(3) : nullptr;
  REDLINE_ASSIGN(std::vector<int64_t> x, centred(c.input(0), a, a_zero, true));
  REDLINE_ASSIGN(std::vector<int64_t> y, centred(c.input(1), b, b_zero, false));
  Dims a_batch(std::span(a.begin(), a.size() - 2));
  Dims b_batch(std::span(b.begin(), b.size() - 2));
  Dims batch = broadcast_dims(std::array{a_batch, b_batch});
  std::vector<int64_t> z(static_cast<size_t>(c.output(0).count()));
  Dims strides[2] = {broadcast_strides(a_batch, batch), broadcast_strides(b_batch, batch)};
  for_each_offset(batch, strides, [&](int64_t i, const int64_t(&offset)[2]) {
    const int64_t* xs = x.data() + offset[0] * m * k;
    const int64_t* ys = y.data() + offset[1] * k * n;
    int64_t* zs = z.data() + i * m * n;
    for (int64_t row = 0; row < m; ++row) {
      for (int64_t p = 0; p < k; ++p) {
        int64_t scale = xs[row * k + p];
        for (int64_t col = 0; col < n; ++col) zs[row * n + col] += scale * ys[p * n + col];
      }
    }
  });
  write_elements(z, c.output(0));
  return {};
}

Cost cost_matmul_integer(std::span<const Type> inputs, std::span<const Type> outputs,
                         const Attrs&) {
  std::optional<Dims> a = inputs[0].shape.as_static();
  std::optional<Dims> out = outputs[0].shape.as_static();
  if (!a || !out) return {};
  return {2.0 * static_cast<double>(out->count()) * static_cast<double>(a->back())};
}

}  // namespace

void register_op_gemm(OpRegistry& registry) {
  registry.add({.name = "gemm",
                .inputs = {{"a"}, {"b"}, {"c", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<GemmAttrs>(),
                .infer = infer_gemm,
                .reference = reference_gemm,
                .reference_at = reference_gemm_at,
                .cost = cost_gemm});
  registry.add({.name = "matmul_integer",
                .inputs = {{"a"},
                           {"b"},
                           {"a_zero_point", Arity::kOptional},
                           {"b_zero_point", Arity::kOptional}},
                .outputs = {{"y"}},
                .infer = infer_matmul_integer,
                .reference = reference_matmul_integer,
                .cost = cost_matmul_integer});
}

}  // namespace redline
