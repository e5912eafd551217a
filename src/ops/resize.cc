// SPDX-License-Identifier: Apache-2.0
#include "ops/resize.h"

#include <algorithm>
#include <cmath>

#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {

std::optional<double> resize_coordinate(ResizeCoordinates mode, const AxisResize& a, int64_t o) {
  auto x = static_cast<double>(o);
  double last = static_cast<double>(a.in) - 1;
  double width = a.scale * static_cast<double>(a.in);  // before rounding down
  switch (mode) {
    case ResizeCoordinates::kHalfPixel:
      return (x + 0.5) / a.scale - 0.5;
    case ResizeCoordinates::kHalfPixelSymmetric: {
      double offset = static_cast<double>(a.in) / 2 * (1 - static_cast<double>(a.out) / width);
      return offset + (x + 0.5) / a.scale - 0.5;
    }
    case ResizeCoordinates::kPytorchHalfPixel:
      return width == 1 ? -0.5 : (x + 0.5) / a.scale - 0.5;
    case ResizeCoordinates::kAlignCorners:
      return width == 1 ? 0 : x * last / (width - 1);
    case ResizeCoordinates::kAsymmetric:
      return x / a.scale;
    case ResizeCoordinates::kTfHalfPixelForNn:
      return (x + 0.5) / a.scale;
    case ResizeCoordinates::kTfCropAndResize: {
      double extent = (a.roi_end - a.roi_start) * last;
      double at = a.roi_start * last + (width == 1 ? extent / 2 : x * extent / (width - 1));
      if (!(at >= 0 && at <= last)) return std::nullopt;
      return at;
    }
  }
  return 0;
}

int64_t resize_nearest_index(ResizeNearest mode, double x, int64_t in) {
  double rounded = mode == ResizeNearest::kRoundPreferFloor  ? std::ceil(x - 0.5)
                   : mode == ResizeNearest::kRoundPreferCeil ? std::floor(x + 0.5)
                   : mode == ResizeNearest::kFloor           ? std::floor(x)
                                                             : std::ceil(x);
  return saturating_int64(rounded, 0, in - 1);
}

namespace {

constexpr int64_t kMaxSize = int64_t{1} << 40;

Result<std::vector<size_t>> resized_axes(const std::vector<int64_t>& axes, int rank) {
  std::vector<size_t> result;
  for (int64_t axis : axes) {
    int64_t at = axis < 0 ? axis + rank : axis;
    if (at < 0 || at >= rank) {
      return invalid_argument("axis ", axis, " is out of range for rank ", rank);
    }
    if (std::find(result.begin(), result.end(), static_cast<size_t>(at)) != result.end()) {
      return invalid_argument("axis ", axis, " is given twice");
    }
    result.push_back(static_cast<size_t>(at));
  }
  if (axes.empty()) {
    for (int i = 0; i < rank; ++i) result.push_back(static_cast<size_t>(i));
  }
  return result;
}

bool usable_scale(double scale) { return scale > 0 && scale <= 0x1p24; }

// floor(in * scale): exact on symbols when the scale is a fraction of a power of two.
std::optional<Dim> scaled(const Dim& in, double scale) {
  if (in.is_const()) {
    return Dim(static_cast<int64_t>(std::floor(static_cast<double>(in.value()) * scale)));
  }
  for (int64_t divisor = 1; divisor <= 1024; divisor *= 2) {
    double factor = scale * static_cast<double>(divisor);
    if (factor == std::floor(factor)) {
      return floor_div(in * Dim(static_cast<int64_t>(factor)), Dim(divisor));
    }
  }
  return std::nullopt;
}

int64_t round_half_up(double v) {
  return static_cast<int64_t>(std::floor(std::min(v, static_cast<double>(kMaxSize)) + 0.5));
}

// The common scale of all resized axes, for the policies that keep the aspect ratio.
double common_scale(KeepAspectRatio policy, std::span<const int64_t> sizes,
                    std::span<const int64_t> in) {
  double result = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    double scale = static_cast<double>(sizes[i]) / static_cast<double>(in[i]);
    bool first = i == 0;
    bool smaller = policy == KeepAspectRatio::kNotLarger;
    if (first || (smaller ? scale < result : scale > result)) result = scale;
  }
  return result;
}

Status set_sizes(InferContext& c, const std::vector<size_t>& axes, SymDims& out) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  std::optional<SymDims> sizes = c.contents(3);
  if (!sizes) {
    for (size_t axis : axes) out[axis] = c.fresh_symbol("resize");
    return {};
  }
  if (sizes->size() != axes.size()) {
    return c.input_error(3, str_cat("must have ", axes.size(), " elements, has ", sizes->size()));
  }
  bool known = true;
  std::vector<int64_t> wanted;
  std::vector<int64_t> in;
  for (size_t i = 0; i < axes.size(); ++i) {
    const Dim& size = (*sizes)[i];
    if (size.is_const() && (size.value() < 0 || size.value() > kMaxSize)) {
      return c.input_error(3, str_cat("holds ", size.value()));
    }
    if (attrs.keep_aspect_ratio_policy == KeepAspectRatio::kStretch) {
      out[axes[i]] = size;
      continue;
    }
    known = known && size.is_const() && out[axes[i]].is_const();
    if (!known) continue;
    wanted.push_back(size.value());
    in.push_back(out[axes[i]].value());
  }
  if (attrs.keep_aspect_ratio_policy == KeepAspectRatio::kStretch) return {};
  double scale = known ? common_scale(attrs.keep_aspect_ratio_policy, wanted, in) : 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!known) {
      out[axes[i]] = c.fresh_symbol("resize");
    } else {
      if (in[i] == 0) return c.error("cannot keep the aspect ratio of an empty input");
      out[axes[i]] = Dim(round_half_up(scale * static_cast<double>(in[i])));
    }
  }
  return {};
}

Status set_scaled(InferContext& c, const std::vector<size_t>& axes, SymDims& out) {
  const Tensor* scales = c.constant(2);
  if (scales == nullptr) {
    for (size_t axis : axes) out[axis] = c.fresh_symbol("resize");
    return {};
  }
  if (scales->count() != static_cast<int64_t>(axes.size())) {
    return c.input_error(2, str_cat("must have ", axes.size(), " elements"));
  }
  std::vector<double> values = read_elements<double>(scales->view());
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!usable_scale(values[i])) {
      return c.input_error(2, "holds a scale that is not in (0, 2^24]");
    }
    if (values[i] == 1) continue;
    std::optional<Dim> size = scaled(out[axes[i]], values[i]);
    out[axes[i]] = size ? *size : c.fresh_symbol("resize");
  }
  return {};
}

Status infer_resize(InferContext& c) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  REDLINE_TRY(c.expect_tensor(0));
  if (c.has_input(2) == c.has_input(3)) return c.error("needs either scales or sizes");
  if (c.has_input(2)) REDLINE_TRY(c.expect_rank(2, 1));
  if (c.has_input(3)) REDLINE_TRY(c.expect_rank(3, 1));
  if (c.has_input(2) && !is_float(c.dtype(2))) {
    return c.input_error(2, "must have a floating-point type");
  }
  if (attrs.mode != ResizeMode::kNearest &&
      (c.dtype(0) == DType::kString || c.dtype(0) == DType::kBool)) {
    return c.input_error(0, "cannot be interpolated; mode must be nearest");
  }
  if (attrs.antialias && attrs.mode == ResizeMode::kNearest) {
    return c.error("antialias needs the mode linear or cubic");
  }
  bool crops = attrs.coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize;
  if (crops && !c.has_input(1)) return c.input_error(1, "is needed by tf_crop_and_resize");
  if (!c.shape(0).has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  SymDims out = c.shape(0).dims();
  Result<std::vector<size_t>> axes = resized_axes(attrs.axes, c.shape(0).rank());
  if (!axes.ok()) return axes.status().with_context(c.op().name);
  REDLINE_TRY(c.has_input(3) ? set_sizes(c, *axes, out) : set_scaled(c, *axes, out));
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

double cubic_weight(double x, double a) {
  x = std::fabs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

struct Tap {
  int64_t index;
  double weight;
};

// The weighted inputs of the output at coordinate x. With antialias the kernel is stretched when
// downscaling.
void interpolation_taps(const ResizeAttrs& attrs, const AxisResize& a, double x,
                        std::vector<Tap>& taps) {
  bool linear = attrs.mode == ResizeMode::kLinear;
  double scale = attrs.antialias ? std::min(a.scale, 1.0) : 1.0;
  auto base = static_cast<int64_t>(std::clamp(std::floor(x), -0x1p50, 0x1p50));
  auto first = static_cast<int64_t>(std::floor((linear ? -1.0 : -2.0) / scale)) + 1;
  taps.clear();
  double sum = 0;
  for (int64_t k = first; k < 2 - first; ++k) {
    double distance = (static_cast<double>(base + k) - x) * scale;
    double weight = linear ? std::max(0.0, 1 - std::fabs(distance))
                           : cubic_weight(distance, attrs.cubic_coeff_a);
    bool outside = base + k < 0 || base + k >= a.in;
    if (attrs.exclude_outside && outside) continue;
    sum += weight;
    taps.push_back({std::clamp<int64_t>(base + k, 0, a.in - 1), weight});
  }
  if ((attrs.exclude_outside || attrs.antialias) && sum != 0) {
    for (Tap& tap : taps) tap.weight /= sum;
  }
}

std::vector<double> interpolate_axis(const ResizeAttrs& attrs, const AxisResize& a,
                                     const std::vector<double>& x, int64_t outer, int64_t inner) {
  std::vector<double> y(static_cast<size_t>(outer * a.out * inner));
  std::vector<Tap> taps;
  for (int64_t o = 0; o < a.out; ++o) {
    std::optional<double> at = resize_coordinate(attrs.coordinate_transformation_mode, a, o);
    if (at) interpolation_taps(attrs, a, *at, taps);
    for (int64_t n = 0; n < outer; ++n) {
      double* to = y.data() + (n * a.out + o) * inner;
      if (!at) {
        std::fill_n(to, inner, attrs.extrapolation_value);
        continue;
      }
      for (const Tap& tap : taps) {
        const double* from = x.data() + (n * a.in + tap.index) * inner;
        for (int64_t i = 0; i < inner; ++i) to[i] += tap.weight * from[i];
      }
    }
  }
  return y;
}

void interpolate(ReferenceContext& c, const std::vector<AxisResize>& axes) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  const TensorView& out = c.output(0);
  Dims dims = c.input(0).dims;
  std::vector<double> x = read_elements<double>(c.input(0));
  for (const AxisResize& a : axes) {
    auto at = static_cast<int>(a.axis);
    x = interpolate_axis(attrs, a, x, dims.count(0, at), dims.count(at + 1, dims.rank()));
    dims[a.axis] = a.out;
  }
  if (!is_int(out.dtype)) return write_elements(x, out);
  std::vector<int64_t> whole(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    whole[i] = saturating_int64(std::nearbyint(x[i]), int_min(out.dtype), int_max(out.dtype));
  }
  write_elements(whole, out);
}

void pick_nearest(ReferenceContext& c, const std::vector<AxisResize>& axes) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  Dims in_strides = in.dims.strides();
  // Offset of each output index along each axis; negative: beyond the crop.
  std::vector<std::vector<int64_t>> offsets(in.dims.size());
  for (size_t d = 0; d < in.dims.size(); ++d) {
    for (int64_t i = 0; i < out.dims[d]; ++i) offsets[d].push_back(i * in_strides[d]);
  }
  for (const AxisResize& a : axes) {
    for (int64_t o = 0; o < a.out; ++o) {
      std::optional<double> at = resize_coordinate(attrs.coordinate_transformation_mode, a, o);
      offsets[a.axis][static_cast<size_t>(o)] =
          at ? resize_nearest_index(attrs.nearest_mode, *at, a.in) * in_strides[a.axis] : -1;
    }
  }
  with_storage_type(in.dtype, [&](auto storage) {
    using T = decltype(storage);
    T beyond{};
    if (in.dtype != DType::kString) {
      TensorView one{in.dtype, {}, &beyond};
      write_elements(std::vector<double>{attrs.extrapolation_value}, one);
    }
    // Trailing axes that stay as they are move as one block.
    int rank = out.dims.rank();
    int last = 0;
    for (const AxisResize& a : axes) last = std::max(last, static_cast<int>(a.axis) + 1);
    int64_t block = out.dims.count(last, rank);
    int64_t index[kMaxRank] = {};
    auto* to = out.as<T>();
    for (int64_t left = block == 0 ? 0 : out.count() / block; left > 0; --left, to += block) {
      int64_t from = 0;
      bool inside = true;
      for (int d = 0; d < last; ++d) {
        int64_t offset = offsets[static_cast<size_t>(d)][static_cast<size_t>(index[d])];
        inside = inside && offset >= 0;
        from += offset;
      }
      if (inside) {
        std::copy_n(in.as<const T>() + from, block, to);
      } else {
        std::fill_n(to, block, beyond);
      }
      for (int d = last - 1; d >= 0; --d) {
        if (++index[d] < out.dims[static_cast<size_t>(d)]) break;
        index[d] = 0;
      }
    }
  });
}

// The axes that change, with their scales.
Result<std::vector<AxisResize>> plan_axes(const ReferenceContext& c) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  const TensorView& in = c.input(0);
  const TensorView& out = c.output(0);
  REDLINE_ASSIGN(std::vector<size_t> axes, resized_axes(attrs.axes, in.dims.rank()));
  std::vector<double> scales;
  if (c.has_input(2)) scales = read_elements<double>(c.input(2));
  bool crops = attrs.coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize;
  std::vector<double> roi;
  if (crops) {
    roi = read_elements<double>(c.input(1));
    if (roi.size() != 2 * axes.size()) {
      return invalid_argument("roi has ", roi.size(), " elements, expected ", 2 * axes.size());
    }
  }
  double common = 0;
  if (!c.has_input(2) && attrs.keep_aspect_ratio_policy != KeepAspectRatio::kStretch) {
    std::vector<int64_t> from;
    for (size_t axis : axes) from.push_back(in.dims[axis]);
    common = common_scale(attrs.keep_aspect_ratio_policy, read_ints(c.input(3)), from);
  }
  std::vector<AxisResize> result;
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisResize a{axes[i], in.dims[axes[i]], out.dims[axes[i]]};
    a.scale = !scales.empty() ? scales[i]
              : common != 0   ? common
                              : static_cast<double>(a.out) / static_cast<double>(a.in);
    if (crops) {
      a.roi_start = roi[i];
      a.roi_end = roi[axes.size() + i];
    }
    if (a.out == a.in && a.scale == 1 && a.roi_start == 0 && a.roi_end == 1) continue;
    if (a.out > 0 && a.in == 0) return invalid_argument("cannot enlarge an empty axis");
    result.push_back(a);
  }
  return result;
}

Status reference_resize(ReferenceContext& c) {
  REDLINE_ASSIGN(std::vector<AxisResize> axes, plan_axes(c));
  if (c.output(0).count() == 0) return {};
  if (c.attrs<ResizeAttrs>().mode == ResizeMode::kNearest) {
    pick_nearest(c, axes);
  } else {
    interpolate(c, axes);
  }
  return {};
}

}  // namespace

void register_op_resize(OpRegistry& registry) {
  registry.add({.name = "resize",
                .inputs = {{"x"},
                           {"roi", Arity::kOptional},
                           {"scales", Arity::kOptional},
                           {"sizes", Arity::kOptional}},
                .outputs = {{"y"}},
                .attrs = attrs_type<ResizeAttrs>(),
                .infer = infer_resize,
                .reference = reference_resize});
}

}  // namespace redline
