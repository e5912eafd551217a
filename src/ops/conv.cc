// SPDX-License-Identifier: Apache-2.0
#include "ops/conv.h"

#include <algorithm>

#include "ops/channels_last.h"
#include "ops/elements.h"
#include "ops/op.h"
#include "ops/tf32.h"

namespace redline {
namespace {

Window window_of(const ConvAttrs& attrs, std::span<const int64_t> kernel) {
  return {kernel, attrs.strides, attrs.dilations, attrs.pads, attrs.auto_pad};
}

// Channels of x, w and group agree where they are known.
Status check_channels(const InferContext& c, const Shape& x, int64_t group) {
  const Shape& w = c.shape(1);
  if (group < 1) return c.error(str_cat("group is ", group));
  if (w[0].is_const() && w[0].value() % group != 0) {
    return c.error(str_cat("group ", group, " does not divide the ", w[0].value(), " outputs"));
  }
  if (x[1].is_const() && w[1].is_const()) {
    int64_t expected = 0;
    if (__builtin_mul_overflow(w[1].value(), group, &expected) || expected != x[1].value()) {
      return c.input_error(1, str_cat("needs ", w[1].value(), " * ", group,
                                      " input channels, the data has ", x[1].value()));
    }
  }
  return {};
}

Status check_bias(const InferContext& c, size_t i, const Dim& channels) {
  if (!c.has_input(i)) return {};
  REDLINE_TRY(c.expect_rank(i, 1));
  if (!c.shape(i).has_rank()) return {};
  const Dim& count = c.shape(i)[0];
  if (count.is_const() && channels.is_const() && count != channels) {
    return c.input_error(i, str_cat("must have ", channels.value(), " elements"));
  }
  return {};
}

// Output shape of conv and conv_integer, channels first.
Result<Shape> conv_shape(InferContext& c) {
  const auto& attrs = c.attrs<ConvAttrs>();
  Shape x = image_shape(c.shape(0), attrs.channels_last);
  const Shape& w = c.shape(1);
  if (!x.has_rank() && !w.has_rank()) return Shape();
  int rank = x.has_rank() ? x.rank() : w.rank();
  if (rank < 3) return c.input_error(0, "must have rank 3 or more");
  if (x.has_rank() && w.has_rank() && x.rank() != w.rank()) {
    return c.input_error(1, str_cat("must have rank ", x.rank()));
  }
  if (!x.has_rank()) return Shape();
  SymDims out = {x[0], w.has_rank() ? w[0] : c.fresh_symbol("channels")};
  std::vector<int64_t> kernel;
  for (int i = 2; i < rank; ++i) {
    std::optional<int64_t> size = w.has_rank() ? w[i].as_const() : std::nullopt;
    if (!size) {
      kernel.clear();
      break;
    }
    kernel.push_back(*size);
  }
  if (w.has_rank()) REDLINE_TRY(check_channels(c, x, attrs.group));
  if (kernel.empty()) {
    for (int i = 2; i < rank; ++i) out.push_back(c.fresh_symbol("conv"));
    return Shape(std::move(out));
  }
  Window window = window_of(attrs, kernel);
  REDLINE_TRY(check_window(window).with_context(c.op().name));
  for (int i = 2; i < rank; ++i) {
    Result<Dim> size = window_output(window, static_cast<size_t>(i - 2), x[i]);
    if (!size.ok()) return size.status().with_context(c.op().name);
    out.push_back(*std::move(size));
  }
  return Shape(std::move(out));
}

Status infer_conv(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  if (c.dtype(0) == DType::kBool || c.dtype(0) == DType::kString) {
    return c.input_error(0, "must be numeric");
  }
  REDLINE_TRY(check_tf32(c, c.attrs<ConvAttrs>().tf32));
  REDLINE_ASSIGN(Shape shape, conv_shape(c));
  if (c.has_input(2)) REDLINE_TRY(c.expect_same_dtype(2, 0));
  if (shape.has_rank()) REDLINE_TRY(check_bias(c, 2, shape[1]));
  c.set_output(0, c.dtype(0), stored_shape(shape, c.attrs<ConvAttrs>().channels_last));
  return {};
}

struct ConvSizes {
  int64_t batch, channels, outputs, group;
  int64_t in_area, out_area, kernel_area;
  std::vector<WindowAxis> axes;
  std::vector<int64_t> kernel;
};

Result<ConvSizes> conv_sizes(const ConvAttrs& attrs, const Dims& x, const Dims& w,
                             const Dims& out) {
  if (x.rank() != w.rank() || x[1] != w[1] * attrs.group || w[0] % attrs.group != 0) {
    return invalid_argument("weights of sizes ", w.to_string(), " in ", attrs.group,
                            " groups do not fit data of sizes ", x.to_string());
  }
  ConvSizes s;
  s.kernel.assign(w.begin() + 2, w.end());
  s.axes = conv_axes(attrs, x, w, out);
  s.batch = x[0];
  s.channels = x[1];
  s.outputs = w[0];
  s.group = attrs.group;
  s.in_area = x.count(2, x.rank());
  s.out_area = out.count(2, out.rank());
  s.kernel_area = w.count(2, w.rank());
  return s;
}

// y[n, m, o] += w[m, c, k] * x[n, c, i] over the (o, i) that tap k joins.
template <class W>
void convolve(const ConvSizes& s, const W* x, const W* w, W* y) {
  int64_t in_group = s.channels / s.group;
  int64_t out_group = s.outputs / s.group;
  std::vector<int64_t> k(s.kernel.size());
  int64_t tap = 0;
  do {
    std::vector<TapPair> pairs = tap_pairs(s.axes, k);
    for (int64_t n = 0; n < s.batch; ++n) {
      for (int64_t m = 0; m < s.outputs; ++m) {
        W* plane = y + (n * s.outputs + m) * s.out_area;
        for (int64_t c = 0; c < in_group; ++c) {
          W scale = w[(m * in_group + c) * s.kernel_area + tap];
          if (scale == W(0) && std::is_integral_v<W>) continue;
          const W* from = x + (n * s.channels + m / out_group * in_group + c) * s.in_area;
          for (const TapPair& pair : pairs) plane[pair.out] += scale * from[pair.in];
        }
      }
    }
    ++tap;
  } while (next_index(k, s.kernel));
}

template <class W>
void add_bias(std::vector<W>& y, const TensorView& bias, int64_t batch, int64_t area) {
  std::vector<W> b = read_elements<W>(bias);
  size_t at = 0;
  for (int64_t n = 0; n < batch; ++n) {
    for (W value : b) {
      for (int64_t i = 0; i < area; ++i) y[at++] += value;
    }
  }
}

Status check_bias_size(const ReferenceContext& c, size_t i, int64_t channels) {
  if (!c.has_input(i) || c.input(i).count() == channels) return {};
  return invalid_argument("bias has ", c.input(i).count(), " elements, expected ", channels);
}

Status reference_conv(ReferenceContext& c) {
  const TensorView& x = c.input(0);
  const TensorView& w = c.input(1);
  const TensorView& out = c.output(0);
  const auto& attrs = c.attrs<ConvAttrs>();
  Dims x_dims = image_dims(x.dims, attrs.channels_last);
  Dims out_dims = image_dims(out.dims, attrs.channels_last);
  REDLINE_ASSIGN(ConvSizes sizes, conv_sizes(attrs, x_dims, w.dims, out_dims));
  REDLINE_TRY(check_bias_size(c, 2, sizes.outputs));
  with_wide_type(x.dtype, [&](auto wide) {
    using W = decltype(wide);
    std::vector<W> y(static_cast<size_t>(out.count()));
    if (c.has_input(2)) add_bias(y, c.input(2), sizes.batch, sizes.out_area);
    std::vector<W> data = factors(read_elements<W>(x), attrs.tf32);
    if (attrs.channels_last) data = move_channels(data, x_dims, true);
    std::vector<W> weights = factors(read_elements<W>(w), attrs.tf32);
    if (!y.empty() && !weights.empty()) convolve(sizes, data.data(), weights.data(), y.data());
    if (attrs.channels_last) y = move_channels(y, out_dims, false);
    write_elements(y, out);
  });
  return {};
}

Status infer_conv_integer(InferContext& c) {
  REDLINE_TRY(check_tf32(c, c.attrs<ConvAttrs>().tf32));
  for (size_t i = 0; i < 4; ++i) {
    if (i >= 2 && !c.has_input(i)) continue;
    REDLINE_TRY(c.expect_tensor(i));
    if (i >= 2) REDLINE_TRY(c.expect_same_dtype(i, i - 2));
    if (dtype_bits(c.dtype(i)) > 8 || !is_int(c.dtype(i))) {
      return c.input_error(i, "must be i8 or u8");
    }
  }
  REDLINE_ASSIGN(Shape shape, conv_shape(c));
  c.set_output(0, DType::kInt32, stored_shape(shape, c.attrs<ConvAttrs>().channels_last));
  return {};
}

// x - zero_point, where the zero point is one number, or one for each of the leading axis.
Result<std::vector<int64_t>> centred(const TensorView& x, const TensorView* zero) {
  std::vector<int64_t> values = read_ints(x);
  if (zero == nullptr) return values;
  std::vector<int64_t> offsets = read_ints(*zero);
  int64_t rows = zero->count() == 1 || x.dims.empty() ? 1 : x.dims[0];
  if (zero->count() != rows) {
    return invalid_argument("zero point has ", zero->count(), " elements, expected 1 or ", rows);
  }
  size_t row = rows == 0 ? 1 : std::max<size_t>(1, values.size() / static_cast<size_t>(rows));
  for (size_t i = 0; i < values.size(); ++i) values[i] -= offsets[i / row];
  return values;
}

Status reference_conv_integer(ReferenceContext& c) {
  const TensorView& x = c.input(0);
  const TensorView& w = c.input(1);
  const TensorView& out = c.output(0);
  const auto& attrs = c.attrs<ConvAttrs>();
  Dims x_dims = image_dims(x.dims, attrs.channels_last);
  Dims out_dims = image_dims(out.dims, attrs.channels_last);
  REDLINE_ASSIGN(ConvSizes sizes, conv_sizes(attrs, x_dims, w.dims, out_dims));
  if (c.has_input(2) && c.input(2).count() != 1) {
    return invalid_argument("x_zero_point has ", c.input(2).count(), " elements, expected 1");
  }
  REDLINE_ASSIGN(std::vector<int64_t> data, centred(x, c.has_input(2) ? &c.input(2) : nullptr));
  REDLINE_ASSIGN(std::vector<int64_t> weights, centred(w, c.has_input(3) ? &c.input(3) : nullptr));
  if (attrs.channels_last) data = move_channels(data, x_dims, true);
  std::vector<int64_t> y(static_cast<size_t>(out.count()));
  if (!y.empty() && !weights.empty()) convolve(sizes, data.data(), weights.data(), y.data());
  if (attrs.channels_last) y = move_channels(y, out_dims, false);
  write_elements(y, out);
  return {};
}

Cost cost_conv(std::span<const Type> inputs, std::span<const Type> outputs, const Attrs&) {
  std::optional<Dims> w = inputs[1].shape.as_static();
  std::optional<Dims> out = outputs[0].shape.as_static();
  if (!w || !out) return {};
  return {2.0 * static_cast<double>(out->count()) * static_cast<double>(w->count(1, w->rank()))};
}

Window window_of(const ConvTransposeAttrs& attrs, std::span<const int64_t> kernel) {
  return {kernel, attrs.strides, attrs.dilations, attrs.pads, attrs.auto_pad};
}

Status check_transposed(const ConvTransposeAttrs& attrs, const Window& window) {
  REDLINE_TRY(check_window(window));
  size_t rank = window.rank();
  if (!attrs.output_shape.empty() && attrs.output_shape.size() != rank) {
    return invalid_argument("output_shape has ", attrs.output_shape.size(), " entries, expected ",
                            rank);
  }
  if (!attrs.output_padding.empty() && attrs.output_padding.size() != rank) {
    return invalid_argument("output_padding has ", attrs.output_padding.size(),
                            " entries, expected ", rank);
  }
  for (int64_t v : attrs.output_shape) {
    if (v < 0 || v > (int64_t{1} << 32)) return invalid_argument("output_shape holds ", v);
  }
  for (int64_t v : attrs.output_padding) {
    if (v < 0 || v > (int64_t{1} << 24)) return invalid_argument("output_padding holds ", v);
  }
  return {};
}

// Size without padding: what the windows of all inputs cover.
Dim transposed_room(const ConvTransposeAttrs& attrs, const Window& w, size_t axis, const Dim& in) {
  int64_t extra = attrs.output_padding.empty() ? 0 : attrs.output_padding[axis];
  return (in - Dim(1)) * Dim(w.stride(axis)) + Dim(w.extent(axis) + extra);
}

Dim transposed_output(const ConvTransposeAttrs& attrs, const Window& w, size_t axis,
                      const Dim& in) {
  if (!attrs.output_shape.empty()) return Dim(attrs.output_shape[axis]);
  if (w.auto_pad == AutoPad::kSameUpper || w.auto_pad == AutoPad::kSameLower) {
    return in * Dim(w.stride(axis));
  }
  return transposed_room(attrs, w, axis, in) - Dim(w.pad_begin(axis) + w.pad_end(axis));
}

Status infer_conv_transpose(InferContext& c) {
  const auto& attrs = c.attrs<ConvTransposeAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  if (c.has_input(2)) REDLINE_TRY(c.expect_same_dtype(2, 0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  REDLINE_TRY(check_tf32(c, attrs.tf32));
  Shape x = image_shape(c.shape(0), attrs.channels_last);
  const Shape& w = c.shape(1);
  if (attrs.group < 1 || attrs.group > (int64_t{1} << 32)) {
    return c.error(str_cat("group is ", attrs.group));
  }
  if (!x.has_rank() || !w.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  if (x.rank() < 3) return c.input_error(0, "must have rank 3 or more");
  if (x.rank() != w.rank()) return c.input_error(1, str_cat("must have rank ", x.rank()));
  if (x[1].is_const() && w[0].is_const() && x[1] != w[0]) {
    return c.input_error(1,
                         str_cat("takes ", w[0].value(), " channels, the data has ", x[1].value()));
  }
  if (w[0].is_const() && w[0].value() % attrs.group != 0) {
    return c.error(
        str_cat("group ", attrs.group, " does not divide the ", w[0].value(), " channels"));
  }
  SymDims out = {x[0], w[1] * Dim(attrs.group)};
  std::vector<int64_t> kernel;
  for (int i = 2; i < w.rank(); ++i) {
    if (w[i].is_const()) kernel.push_back(w[i].value());
  }
  if (static_cast<int>(kernel.size()) != w.rank() - 2) {
    for (int i = 2; i < w.rank(); ++i) out.push_back(c.fresh_symbol("conv"));
  } else {
    Window window = window_of(attrs, kernel);
    REDLINE_TRY(check_transposed(attrs, window).with_context(c.op().name));
    for (int i = 2; i < x.rank(); ++i) {
      Dim size = transposed_output(attrs, window, static_cast<size_t>(i - 2), x[i]);
      if (size.is_const() && size.value() < 0) {
        if (x[i] != Dim(0)) return c.error(str_cat("output size ", size.value()));
        size = Dim(0);
      }
      out.push_back(std::move(size));
    }
  }
  REDLINE_TRY(check_bias(c, 2, out[1]));
  c.set_output(0, c.dtype(0), stored_shape(Shape(std::move(out)), attrs.channels_last));
  return {};
}

Status reference_conv_transpose(ReferenceContext& c) {
  const auto& attrs = c.attrs<ConvTransposeAttrs>();
  const TensorView& x = c.input(0);
  const TensorView& w = c.input(1);
  const TensorView& out = c.output(0);
  Dims x_dims = image_dims(x.dims, attrs.channels_last);
  Dims out_dims = image_dims(out.dims, attrs.channels_last);
  if (w.dims[0] != x_dims[1] || x_dims[1] % attrs.group != 0) {
    return invalid_argument("weights of sizes ", w.dims.to_string(), " in ", attrs.group,
                            " groups do not fit data of sizes ", x.dims.to_string());
  }
  REDLINE_TRY(check_bias_size(c, 2, out_dims[1]));
  std::vector<int64_t> kernel(w.dims.begin() + 2, w.dims.end());
  std::vector<WindowAxis> axes = conv_transpose_axes(attrs, x_dims, w.dims, out_dims);
  int64_t in_area = x_dims.count(2, x_dims.rank());
  int64_t out_area = out_dims.count(2, out_dims.rank());
  int64_t kernel_area = w.dims.count(2, w.dims.rank());
  int64_t channels = x_dims[1];
  int64_t in_group = channels / attrs.group;
  int64_t out_group = w.dims[1];
  std::vector<double> data = factors(read_elements<double>(x), attrs.tf32);
  if (attrs.channels_last) data = move_channels(data, x_dims, true);
  std::vector<double> weights = factors(read_elements<double>(w), attrs.tf32);
  std::vector<double> y(static_cast<size_t>(out.count()));
  if (c.has_input(2)) add_bias(y, c.input(2), x_dims[0], out_area);
  if (!y.empty() && !data.empty() && !weights.empty()) {
    std::vector<int64_t> k(kernel.size());
    int64_t tap = 0;
    do {
      std::vector<TapPair> pairs = tap_pairs(axes, k);
      for (int64_t n = 0; n < x_dims[0]; ++n) {
        for (int64_t ch = 0; ch < channels; ++ch) {
          const double* from = data.data() + (n * channels + ch) * in_area;
          for (int64_t m = 0; m < out_group; ++m) {
            double scale = weights[static_cast<size_t>((ch * out_group + m) * kernel_area + tap)];
            int64_t plane = n * out_dims[1] + ch / in_group * out_group + m;
            double* to = y.data() + plane * out_area;
            for (const TapPair& pair : pairs) to[pair.in] += scale * from[pair.out];
          }
        }
      }
      ++tap;
    } while (next_index(k, kernel));
  }
  if (attrs.channels_last) y = move_channels(y, out_dims, false);
  write_elements(y, out);
  return {};
}

Cost cost_conv_transpose(std::span<const Type> inputs, std::span<const Type>, const Attrs&) {
  std::optional<Dims> x = inputs[0].shape.as_static();
  std::optional<Dims> w = inputs[1].shape.as_static();
  if (!x || !w) return {};
  return {2.0 * static_cast<double>(x->count()) * static_cast<double>(w->count(1, w->rank()))};
}

}  // namespace

std::vector<WindowAxis> conv_axes(const ConvAttrs& attrs, const Dims& x, const Dims& w,
                                  const Dims& out) {
  return window_axes(window_of(attrs, {w.begin() + 2, w.end()}), {x.begin() + 2, x.end()},
                     {out.begin() + 2, out.end()});
}

std::vector<WindowAxis> conv_transpose_axes(const ConvTransposeAttrs& attrs, const Dims& x,
                                            const Dims& w, const Dims& out) {
  std::span<const int64_t> kernel(w.begin() + 2, w.end());
  Window window = window_of(attrs, kernel);
  std::vector<WindowAxis> axes;
  for (size_t i = 0; i < kernel.size(); ++i) {
    int64_t in = x[i + 2];
    WindowAxis axis{out[i + 2],          in, kernel[i], window.stride(i), window.dilation(i),
                    window.pad_begin(i), 0};
    bool same = window.auto_pad == AutoPad::kSameUpper || window.auto_pad == AutoPad::kSameLower;
    if (same || !attrs.output_shape.empty()) {
      int64_t total = transposed_room(attrs, window, i, Dim(in)).value() - out[i + 2];
      // The half that is rounded down; a negative total only lengthens the end.
      int64_t half = total < 0 ? 0 : total / 2;
      axis.pad_begin = window.auto_pad == AutoPad::kSameUpper ? half : total < 0 ? 0 : total - half;
    }
    axes.push_back(axis);
  }
  return axes;
}

void register_op_conv(OpRegistry& registry) {
  registry.add({.name = "conv",
                .inputs = {{"x"}, {"w"}, {"b", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<ConvAttrs>(),
                .infer = infer_conv,
                .reference = reference_conv,
                .reference_at = reference_conv_at,
                .cost = cost_conv});
  registry.add({.name = "conv_integer",
                .inputs = {{"x"},
                           {"w"},
                           {"x_zero_point", Arity::kOptional},
                           {"w_zero_point", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<ConvAttrs>(),
                .infer = infer_conv_integer,
                .reference = reference_conv_integer,
                .cost = cost_conv});
  registry.add({.name = "conv_transpose",
                .inputs = {{"x"}, {"w"}, {"b", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<ConvTransposeAttrs>(),
                .infer = infer_conv_transpose,
                .reference = reference_conv_transpose,
                .reference_at = reference_conv_transpose_at,
                .cost = cost_conv_transpose});
}

}  // namespace redline
