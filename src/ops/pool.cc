// SPDX-License-Identifier: Apache-2.0
#include "ops/pool.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/channels_last.h"
#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

template <class A>
Window window_of(const A& attrs) {
  return {attrs.kernel_shape, attrs.strides,  attrs.dilations,
          attrs.pads,         attrs.auto_pad, attrs.ceil_mode};
}

template <class A>
bool channels_last(const A& attrs) {
  if constexpr (requires { attrs.channels_last; }) return attrs.channels_last;
  return false;
}

template <class A>
Status infer_pool(InferContext& c) {
  const auto& attrs = c.attrs<A>();
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0)) && !(std::is_same_v<A, MaxPoolAttrs> && is_int(c.dtype(0)))) {
    return c.input_error(0, "must have a floating-point type");
  }
  Window window = window_of(attrs);
  REDLINE_TRY(check_window(window).with_context(c.op().name));
  if constexpr (std::is_same_v<A, LpPoolAttrs>) {
    if (attrs.p < 1) return c.error(str_cat("p is ", attrs.p));
  }
  if (window.rank() == 0) return c.error("kernel_shape is empty");
  auto rank = static_cast<int>(window.rank()) + 2;
  REDLINE_TRY(c.expect_rank(0, rank));
  if (channels_last(attrs) && c.num_outputs() > 1) {
    return c.error("gives no indices with channels_last");
  }
  Shape x = image_shape(c.shape(0), channels_last(attrs));
  SymDims out;
  for (int i = 0; i < rank; ++i) {
    if (!x.has_rank()) {
      out.push_back(c.fresh_symbol("pool"));
    } else if (i < 2) {
      out.push_back(x[i]);
    } else {
      Result<Dim> size = window_output(window, static_cast<size_t>(i - 2), x[i]);
      if (!size.ok()) return size.status().with_context(c.op().name);
      out.push_back(*std::move(size));
    }
  }
  c.set_output(0, c.dtype(0), stored_shape(Shape(out), channels_last(attrs)));
  c.set_output(1, DType::kInt64, std::move(out));
  return {};
}

// Calls fn(output position in its plane, input positions in their plane, elements under the window
// that lie in the input or its padding).
template <class Fn>
void for_each_window(std::span<const WindowAxis> axes, Fn&& fn) {
  std::vector<int64_t> sizes;
  for (const WindowAxis& axis : axes) {
    sizes.push_back(axis.out);
    if (axis.out == 0) return;
  }
  std::vector<int64_t> o(axes.size());
  std::vector<int64_t> taps;
  int64_t covered = 0;
  int64_t flat = 0;
  do {
    window_taps(axes, o, taps, covered);
    fn(flat++, taps, covered);
  } while (next_index(o, sizes));
}

template <class A>
std::vector<WindowAxis> axes_of(const ReferenceContext& c) {
  Dims in = image_dims(c.input(0).dims, channels_last(c.attrs<A>()));
  Dims out = image_dims(c.output(0).dims, channels_last(c.attrs<A>()));
  return window_axes(window_of(c.attrs<A>()), std::span(in.begin() + 2, in.end()),
                     std::span(out.begin() + 2, out.end()));
}

struct Planes {
  int64_t count, in_area, out_area;
};
Planes planes_of(const Dims& in, const Dims& out) {
  return {in.count(0, 2), in.count(2, in.rank()), out.count(2, out.rank())};
}

// A flat position within a plane when the first spatial axis varies fastest.
int64_t column_major(int64_t flat, std::span<const WindowAxis> axes) {
  int64_t result = 0;
  int64_t area = 1;
  for (const WindowAxis& axis : axes) area *= axis.in;
  int64_t rest = area;
  int64_t stride = 1;
  for (const WindowAxis& axis : axes) {
    rest /= axis.in;
    result += flat / rest % axis.in * stride;
    stride *= axis.in;
  }
  return result;
}

template <class W>
void pool_max(ReferenceContext& c) {
  std::vector<WindowAxis> axes = axes_of<MaxPoolAttrs>(c);
  bool last = c.attrs<MaxPoolAttrs>().channels_last;
  Dims in = image_dims(c.input(0).dims, last);
  Dims out = image_dims(c.output(0).dims, last);
  Planes planes = planes_of(in, out);
  bool columns = c.attrs<MaxPoolAttrs>().storage_order;
  std::vector<W> x = read_elements<W>(c.input(0));
  if (last) x = move_channels(x, in, true);
  std::vector<W> y(static_cast<size_t>(c.output(0).count()));
  std::vector<int64_t> indices(y.size());
  // What a window of nothing but padding gives.
  W lowest = std::is_floating_point_v<W> ? -std::numeric_limits<W>::infinity()
                                         : static_cast<W>(int_min(c.input(0).dtype));
  for_each_window(axes, [&](int64_t o, const std::vector<int64_t>& taps, int64_t) {
    for (int64_t p = 0; p < planes.count; ++p) {
      const W* from = x.data() + p * planes.in_area;
      W best = lowest;
      int64_t at = taps.empty() ? 0 : taps[0];
      for (int64_t tap : taps) {
        // NaN wins, as in PyTorch.
        if (from[tap] > best || (from[tap] != from[tap] && best == best)) {
          best = from[tap];
          at = tap;
        }
      }
      auto to = static_cast<size_t>(p * planes.out_area + o);
      y[to] = best;
      indices[to] = p * planes.in_area + (columns && !taps.empty() ? column_major(at, axes) : at);
    }
  });
  if (last) y = move_channels(y, out, false);
  write_elements(y, c.output(0));
  if (c.wants_output(1)) write_elements(indices, c.output(1));
}

Status reference_max_pool(ReferenceContext& c) {
  with_wide_type(c.input(0).dtype, [&](auto wide) { pool_max<decltype(wide)>(c); });
  return {};
}

Status reference_average_pool(ReferenceContext& c) {
  std::vector<WindowAxis> axes = axes_of<AveragePoolAttrs>(c);
  bool last = c.attrs<AveragePoolAttrs>().channels_last;
  Dims in = image_dims(c.input(0).dims, last);
  Dims out = image_dims(c.output(0).dims, last);
  Planes planes = planes_of(in, out);
  bool with_pad = c.attrs<AveragePoolAttrs>().count_include_pad;
  std::vector<double> x = read_elements<double>(c.input(0));
  if (last) x = move_channels(x, in, true);
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  for_each_window(axes, [&](int64_t o, const std::vector<int64_t>& taps, int64_t covered) {
    auto divisor = static_cast<double>(with_pad ? covered : static_cast<int64_t>(taps.size()));
    for (int64_t p = 0; p < planes.count; ++p) {
      const double* from = x.data() + p * planes.in_area;
      double sum = 0;
      for (int64_t tap : taps) sum += from[tap];
      y[static_cast<size_t>(p * planes.out_area + o)] = sum / divisor;
    }
  });
  if (last) y = move_channels(y, out, false);
  write_elements(y, c.output(0));
  return {};
}

double power_norm(double sum, int64_t p) {
  return p == 1 ? sum : p == 2 ? std::sqrt(sum) : std::pow(sum, 1 / static_cast<double>(p));
}
double power_of(double v, int64_t p) {
  v = std::fabs(v);
  return p == 1 ? v : p == 2 ? v * v : std::pow(v, static_cast<double>(p));
}

Status reference_lp_pool(ReferenceContext& c) {
  std::vector<WindowAxis> axes = axes_of<LpPoolAttrs>(c);
  Planes planes = planes_of(c.input(0).dims, c.output(0).dims);
  int64_t exponent = c.attrs<LpPoolAttrs>().p;
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  for_each_window(axes, [&](int64_t o, const std::vector<int64_t>& taps, int64_t) {
    for (int64_t p = 0; p < planes.count; ++p) {
      double sum = 0;
      for (int64_t tap : taps)
        sum += power_of(x[static_cast<size_t>(p * planes.in_area + tap)], exponent);
      y[static_cast<size_t>(p * planes.out_area + o)] = power_norm(sum, exponent);
    }
  });
  write_elements(y, c.output(0));
  return {};
}

Status infer_global_pool(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  const Shape& x = c.shape(0);
  if (!x.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  if (x.rank() < 2) return c.input_error(0, "must have rank 2 or more");
  SymDims out(x.dims().begin(), x.dims().begin() + 2);
  out.resize(static_cast<size_t>(x.rank()), Dim(1));
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

template <class Reduce>
void pool_globally(ReferenceContext& c, Reduce&& reduce) {
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  auto area = static_cast<size_t>(c.input(0).dims.count(2, c.input(0).dims.rank()));
  for (size_t p = 0; p < y.size(); ++p) y[p] = reduce(std::span(x).subspan(p * area, area));
  write_elements(y, c.output(0));
}

Status reference_global_average(ReferenceContext& c) {
  pool_globally(c, [](std::span<const double> plane) {
    double sum = 0;
    for (double v : plane) sum += v;
    return sum / static_cast<double>(plane.size());
  });
  return {};
}

Status reference_global_max(ReferenceContext& c) {
  pool_globally(c, [](std::span<const double> plane) {
    double best = -std::numeric_limits<double>::infinity();
    for (double v : plane) best = v > best || v != v ? v : best;
    return best;
  });
  return {};
}

Status infer_global_lp_pool(InferContext& c) {
  if (c.attrs<GlobalLpPoolAttrs>().p < 1) {
    return c.error(str_cat("p is ", c.attrs<GlobalLpPoolAttrs>().p));
  }
  return infer_global_pool(c);
}

Status reference_global_lp(ReferenceContext& c) {
  int64_t p = c.attrs<GlobalLpPoolAttrs>().p;
  pool_globally(c, [p](std::span<const double> plane) {
    double sum = 0;
    for (double v : plane) sum += power_of(v, p);
    return power_norm(sum, p);
  });
  return {};
}

Status infer_max_unpool(InferContext& c) {
  const auto& attrs = c.attrs<MaxUnpoolAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (c.dtype(1) != DType::kInt64) return c.input_error(1, "must be i64");
  Window window{attrs.kernel_shape, attrs.strides, {}, attrs.pads};
  REDLINE_TRY(check_window(window).with_context(c.op().name));
  auto rank = static_cast<int>(window.rank()) + 2;
  REDLINE_TRY(c.expect_rank(0, rank));
  if (c.has_input(2)) {
    std::optional<SymDims> sizes = c.contents(2);
    if (sizes && static_cast<int>(sizes->size()) != rank) {
      return c.input_error(2, str_cat("must have ", rank, " elements"));
    }
    SymDims out;
    for (int i = 0; i < rank; ++i) {
      out.push_back(sizes ? (*sizes)[static_cast<size_t>(i)] : c.fresh_symbol("unpool"));
      if (out.back().is_const() && out.back().value() < 0) {
        return c.input_error(2, str_cat("holds ", out.back().value()));
      }
    }
    c.set_output(0, c.dtype(0), std::move(out));
    return {};
  }
  const Shape& x = c.shape(0);
  if (!x.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  SymDims out = {x[0], x[1]};
  for (int i = 2; i < rank; ++i) {
    auto axis = static_cast<size_t>(i - 2);
    Dim size = (x[i] - Dim(1)) * Dim(window.stride(axis)) +
               Dim(window.kernel[axis] - window.pad_begin(axis) - window.pad_end(axis));
    if (size.is_const() && size.value() < 0) return c.error(str_cat("output size ", size.value()));
    out.push_back(std::move(size));
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_max_unpool(ReferenceContext& c) {
  const auto& attrs = c.attrs<MaxUnpoolAttrs>();
  const TensorView& x = c.input(0);
  const TensorView& out = c.output(0);
  if (c.input(1).count() != x.count()) {
    return invalid_argument("indices have ", c.input(1).count(), " elements, the data ", x.count());
  }
  REDLINE_ASSIGN(Dims pooled, pooled_sizes(attrs, x.dims));
  std::vector<int64_t> indices = read_ints(c.input(1));
  int64_t total = pooled.count();
  Dims strides = out.dims.strides();
  std::vector<int64_t> targets(indices.size());
  for (size_t k = 0; k < indices.size(); ++k) {
    int64_t index = indices[k];
    if (index < 0 || index >= total) {
      return invalid_argument("index ", index, " is out of range for ", pooled.to_string());
    }
    int64_t target = 0;
    for (size_t d = pooled.size(); d-- > 0;) {
      int64_t position = index % pooled[d];
      index /= pooled[d];
      if (position >= out.dims[d]) {
        return invalid_argument("an index lies outside of the output ", out.dims.to_string());
      }
      target += position * strides[d];
    }
    targets[k] = target;
  }
  with_storage_type(x.dtype, [&](auto storage) {
    using T = decltype(storage);
    T* to = out.as<T>();
    std::fill_n(to, out.count(), T{});
    for (size_t k = 0; k < targets.size(); ++k) to[targets[k]] = x.as<T>()[k];
  });
  return {};
}

}  // namespace

Result<Dims> pooled_sizes(const MaxUnpoolAttrs& attrs, const Dims& x) {
  Window window{attrs.kernel_shape, attrs.strides, {}, attrs.pads};
  Dims pooled = x;
  for (size_t i = 2; i < x.size(); ++i) {
    pooled[i] = (x[i] - 1) * window.stride(i - 2) + window.kernel[i - 2] - window.pad_begin(i - 2) -
                window.pad_end(i - 2);
    if (pooled[i] < 0) return invalid_argument("pooled size ", pooled[i], " at axis ", i);
  }
  if (!checked_count({pooled.begin(), pooled.size()})) {
    return invalid_argument("pooled sizes ", pooled.to_string(), " are too large");
  }
  return pooled;
}

void register_op_pool(OpRegistry& registry) {
  registry.add({.name = "max_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}, {"indices", Arity::kOptional}},
                .attrs = attrs_type<MaxPoolAttrs>(),
                .infer = infer_pool<MaxPoolAttrs>,
                .reference = reference_max_pool});
  registry.add({.name = "average_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<AveragePoolAttrs>(),
                .infer = infer_pool<AveragePoolAttrs>,
                .reference = reference_average_pool});
  registry.add({.name = "lp_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<LpPoolAttrs>(),
                .infer = infer_pool<LpPoolAttrs>,
                .reference = reference_lp_pool});
  registry.add({.name = "global_average_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .infer = infer_global_pool,
                .reference = reference_global_average});
  registry.add({.name = "global_max_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .infer = infer_global_pool,
                .reference = reference_global_max});
  registry.add({.name = "global_lp_pool",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<GlobalLpPoolAttrs>(),
                .infer = infer_global_lp_pool,
                .reference = reference_global_lp});
  registry.add({.name = "max_unpool",
                .inputs = {{"x"}, {"indices"}, {"output_shape", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<MaxUnpoolAttrs>(),
                .infer = infer_max_unpool,
                .reference = reference_max_unpool});
}

}  // namespace redline
