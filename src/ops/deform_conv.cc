// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "ops/conv.h"
#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

Window window_of(const DeformConvAttrs& attrs, std::span<const int64_t> kernel) {
  return {kernel, attrs.strides, attrs.dilations, attrs.pads};
}

Status infer_deform_conv(InferContext& c) {
  const auto& attrs = c.attrs<DeformConvAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  for (size_t i = 1; i < 5; ++i) {
    if (i < 3 || c.has_input(i)) REDLINE_TRY(c.expect_same_dtype(i, 0));
  }
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  constexpr int64_t kMaxGroups = int64_t{1} << 32;
  if (attrs.group < 1 || attrs.offset_group < 1 || attrs.group > kMaxGroups ||
      attrs.offset_group > kMaxGroups) {
    return c.error(str_cat("group is ", attrs.group, ", offset_group is ", attrs.offset_group));
  }
  const Shape& x = c.shape(0);
  const Shape& w = c.shape(1);
  if (!x.has_rank() || !w.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  if (x.rank() < 3) return c.input_error(0, "must have rank 3 or more");
  if (w.rank() != x.rank()) return c.input_error(1, str_cat("must have rank ", x.rank()));
  REDLINE_TRY(c.expect_rank(2, x.rank()));
  std::vector<int64_t> kernel;
  for (int i = 2; i < w.rank(); ++i) {
    if (w[i].is_const()) kernel.push_back(w[i].value());
  }
  SymDims out = {x[0], w[0]};
  if (static_cast<int>(kernel.size()) + 2 != w.rank()) {
    for (int i = 2; i < x.rank(); ++i) out.push_back(c.fresh_symbol("conv"));
  } else {
    Window window = window_of(attrs, kernel);
    REDLINE_TRY(check_window(window).with_context(c.op().name));
    for (int i = 2; i < x.rank(); ++i) {
      Result<Dim> size = window_output(window, static_cast<size_t>(i - 2), x[i]);
      if (!size.ok()) return size.status().with_context(c.op().name);
      out.push_back(*std::move(size));
    }
  }
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

struct Tap {
  int64_t index;
  double weight;
};

// Linear interpolation around a point; what lies outside of x is zero.
void taps_around(std::span<const double> point, std::span<const int64_t> sizes, double scale,
                 std::vector<Tap>& taps) {
  taps.assign(1, {0, scale});
  std::vector<Tap> next;
  for (size_t d = 0; d < sizes.size(); ++d) {
    int64_t base = saturating_int64(std::floor(point[d]), -2, sizes[d] + 1);
    double t = point[d] - static_cast<double>(base);
    if (!(t >= 0 && t <= 1)) t = 0;  // far outside, or NaN: both neighbours are
    next.clear();
    for (const Tap& tap : taps) {
      for (int k = 0; k < 2; ++k) {
        int64_t at = base + k;
        double weight = k == 0 ? 1 - t : t;
        if (at < 0 || at >= sizes[d] || weight == 0) continue;
        next.push_back({tap.index * sizes[d] + at, tap.weight * weight});
      }
    }
    taps.swap(next);
  }
}

Status reference_deform_conv(ReferenceContext& c) {
  const auto& attrs = c.attrs<DeformConvAttrs>();
  const Dims& in = c.input(0).dims;
  const Dims& w_dims = c.input(1).dims;
  const Dims& out = c.output(0).dims;
  std::vector<int64_t> kernel(w_dims.begin() + 2, w_dims.end());
  size_t rank = kernel.size();
  int64_t taps_count = w_dims.count(2, w_dims.rank());
  int64_t in_area = in.count(2, in.rank());
  int64_t out_area = out.count(2, out.rank());
  int64_t in_group = w_dims[1];
  bool fits = in[1] == in_group * attrs.group && out[1] % attrs.group == 0 &&
              in[1] % attrs.offset_group == 0;
  Dims expected = out;
  expected[1] = attrs.offset_group * taps_count * static_cast<int64_t>(rank);
  fits = fits && c.input(2).dims == expected;
  expected[1] = attrs.offset_group * taps_count;
  fits = fits && (!c.has_input(4) || c.input(4).dims == expected);
  fits = fits && (!c.has_input(3) || c.input(3).count() == out[1]);
  if (!fits) {
    return invalid_argument("weights ", w_dims.to_string(), ", offsets ",
                            c.input(2).dims.to_string(),
                            ", mask and bias do not fit data of sizes ", in.to_string());
  }
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> w = read_elements<double>(c.input(1));
  std::vector<double> offset = read_elements<double>(c.input(2));
  std::vector<double> mask;
  if (c.has_input(4)) mask = read_elements<double>(c.input(4));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  if (c.has_input(3)) {
    std::vector<double> bias = read_elements<double>(c.input(3));
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = bias[i / static_cast<size_t>(out_area) % bias.size()];
    }
  }
  if (y.empty() || w.empty()) {
    write_elements(y, c.output(0));
    return {};
  }
  Window window = window_of(attrs, kernel);
  std::span<const int64_t> in_sizes(in.begin() + 2, in.end());
  std::span<const int64_t> out_sizes(out.begin() + 2, out.end());
  int64_t channels_per_offset = in[1] / attrs.offset_group;
  int64_t out_group = out[1] / attrs.group;
  std::vector<double> point(rank);
  std::vector<Tap> taps;
  for (int64_t n = 0; n < in[0]; ++n) {
    for (int64_t og = 0; og < attrs.offset_group; ++og) {
      std::vector<int64_t> k(rank);
      int64_t tap = 0;
      do {
        int64_t row = (n * attrs.offset_group + og) * taps_count + tap;
        std::vector<int64_t> o(rank);
        int64_t flat = 0;
        do {
          for (size_t d = 0; d < rank; ++d) {
            int64_t at = (row * static_cast<int64_t>(rank) + static_cast<int64_t>(d)) * out_area;
            point[d] = static_cast<double>(o[d] * window.stride(d) - window.pad_begin(d) +
                                           k[d] * window.dilation(d)) +
                       offset[static_cast<size_t>(at + flat)];
          }
          double scale = mask.empty() ? 1 : mask[static_cast<size_t>(row * out_area + flat)];
          taps_around(point, in_sizes, scale, taps);
          for (int64_t i = 0; i < channels_per_offset && !taps.empty(); ++i) {
            int64_t ch = og * channels_per_offset + i;
            const double* plane = x.data() + (n * in[1] + ch) * in_area;
            double value = 0;
            for (const Tap& t : taps) value += t.weight * plane[t.index];
            int64_t g = ch / in_group;
            for (int64_t m = g * out_group; m < (g + 1) * out_group; ++m) {
              y[static_cast<size_t>((n * out[1] + m) * out_area + flat)] +=
                  value * w[static_cast<size_t>((m * in_group + ch % in_group) * taps_count + tap)];
            }
          }
          ++flat;
        } while (next_index(o, out_sizes));
        ++tap;
      } while (next_index(k, kernel));
    }
  }
  write_elements(y, c.output(0));
  return {};
}

}  // namespace

void register_op_deform_conv(OpRegistry& registry) {
  registry.add(
      {.name = "deform_conv",
       .inputs = {{"x"}, {"w"}, {"offset"}, {"b", Arity::kOptional}, {"mask", Arity::kOptional}},
       .outputs = {{"y"}},
       .attrs = attrs_type<DeformConvAttrs>(),
       .infer = infer_deform_conv,
       .reference = reference_deform_conv});
}

}  // namespace redline
