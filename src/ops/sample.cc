// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include <algorithm>
#include <cmath>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

Status infer_grid_sample(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  REDLINE_TRY(c.expect_tensor(1));
  if (!is_float(c.dtype(1))) return c.input_error(1, "must have a floating-point type");
  bool nearest = c.attrs<GridSampleAttrs>().mode == SampleMode::kNearest;
  if (!is_float(c.dtype(0)) && !nearest) {
    return c.input_error(0, "must have a floating-point type unless the mode is nearest");
  }
  const Shape& x = c.shape(0);
  const Shape& grid = c.shape(1);
  if (x.has_rank() && x.rank() < 3) return c.input_error(0, "must have rank 3 or more");
  if (!x.has_rank() || !grid.has_rank()) {
    c.set_output(0, c.dtype(0), Shape());
    return {};
  }
  if (grid.rank() != x.rank()) return c.input_error(1, str_cat("must have rank ", x.rank()));
  const Dim& last = grid[grid.rank() - 1];
  if (last.is_const() && last.value() != x.rank() - 2) {
    return c.input_error(1,
                         str_cat("must have ", x.rank() - 2, " coordinates, has ", last.value()));
  }
  if (x[0].is_const() && grid[0].is_const() && x[0] != grid[0]) {
    return c.input_error(1, "must have the batch size of the data");
  }
  SymDims out = {x[0], x[1]};
  for (int i = 1; i + 1 < grid.rank(); ++i) out.push_back(grid[i]);
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

// Mirrors x at both borders until it lies between them.
double reflect(double x, double low, double high) {
  double range = high - low;
  if (range <= 0 || !std::isfinite(x)) return low;
  double over = x < low ? low - x : x > high ? x - high : 0;
  if (over == 0) return x;
  double turns = std::floor(over / range);
  double rest = over - turns * range;
  bool even = std::fmod(turns, 2) == 0;
  return (x < low) == even ? low + rest : high - rest;
}

struct Tap {
  int64_t index;  // negative: zero
  double weight;
};

// The elements along one axis that make up the value at x.
struct AxisSampler {
  const GridSampleAttrs& attrs;
  int64_t size;
  double low, high;  // the borders of the image

  AxisSampler(const GridSampleAttrs& a, int64_t size_)
      : attrs(a),
        size(size_),
        low(a.align_corners ? 0 : -0.5),
        high(static_cast<double>(size_) - (a.align_corners ? 1 : 0.5)) {}

  int64_t element(int64_t i) const {
    if (i >= 0 && i < size) return i;
    if (attrs.padding_mode == SamplePadding::kZeros) return -1;
    if (attrs.padding_mode == SamplePadding::kBorder) return std::clamp<int64_t>(i, 0, size - 1);
    return saturating_int64(reflect(static_cast<double>(i), low, high), 0, size - 1);
  }

  int taps(double normalised, Tap (&out)[4]) const {
    auto extent = static_cast<double>(size);
    double x = attrs.align_corners ? (normalised + 1) / 2 * (extent - 1)
                                   : ((normalised + 1) * extent - 1) / 2;
    if (attrs.mode == SampleMode::kNearest) x = std::nearbyint(x);
    // A cubic keeps its place and pads each of its elements, as in PyTorch.
    if (attrs.mode != SampleMode::kCubic && (x < low || x > high)) {
      if (attrs.padding_mode == SamplePadding::kBorder) x = std::clamp(x, 0.0, extent - 1);
      if (attrs.padding_mode == SamplePadding::kReflection) x = reflect(x, low, high);
    }
    int64_t base = saturating_int64(std::floor(x), -(int64_t{1} << 50), int64_t{1} << 50);
    double t = std::isfinite(x) ? x - static_cast<double>(base) : x;
    switch (attrs.mode) {
      case SampleMode::kNearest:
        out[0] = {element(saturating_int64(x, -(int64_t{1} << 50), int64_t{1} << 50)), 1};
        return 1;
      case SampleMode::kLinear:
        out[0] = {element(base), 1 - t};
        out[1] = {element(base + 1), t};
        return 2;
      case SampleMode::kCubic: {
        constexpr double a = -0.75;
        double u = 1 - t;
        out[0] = {element(base - 1), ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a};
        out[1] = {element(base), ((a + 2) * t - (a + 3)) * t * t + 1};
        out[2] = {element(base + 1), ((a + 2) * u - (a + 3)) * u * u + 1};
        out[3] = {element(base + 2), ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a};
        return 4;
      }
    }
    return 0;
  }
};

template <class W>
void sample(ReferenceContext& c) {
  const auto& attrs = c.attrs<GridSampleAttrs>();
  const Dims& in = c.input(0).dims;
  const Dims& out = c.output(0).dims;
  size_t rank = in.size() - 2;
  std::vector<W> x = read_elements<W>(c.input(0));
  std::vector<double> grid = read_elements<double>(c.input(1));
  std::vector<W> y(static_cast<size_t>(c.output(0).count()));
  std::vector<AxisSampler> samplers;
  for (size_t d = 0; d < rank; ++d) samplers.emplace_back(attrs, in[d + 2]);
  int64_t in_area = in.count(2, in.rank());
  int64_t out_area = out.count(2, out.rank());
  std::vector<Tap> taps;
  std::vector<Tap> next;
  for (int64_t n = 0; n < in[0]; ++n) {
    for (int64_t o = 0; o < out_area; ++o) {
      const double* place = grid.data() + (n * out_area + o) * static_cast<int64_t>(rank);
      taps.assign(1, {0, 1});
      for (size_t d = 0; d < rank; ++d) {
        Tap along[4];
        int count = samplers[d].taps(place[rank - 1 - d], along);
        next.clear();
        for (const Tap& tap : taps) {
          for (int k = 0; k < count; ++k) {
            if (along[k].index < 0) continue;
            next.push_back({tap.index * in[d + 2] + along[k].index, tap.weight * along[k].weight});
          }
        }
        taps.swap(next);
      }
      for (int64_t ch = 0; ch < in[1]; ++ch) {
        const W* plane = x.data() + (n * in[1] + ch) * in_area;
        W& to = y[static_cast<size_t>((n * in[1] + ch) * out_area + o)];
        for (const Tap& tap : taps) {
          if constexpr (std::is_floating_point_v<W>) {
            to += tap.weight * plane[tap.index];
          } else {
            to = plane[tap.index];  // nearest: the only tap
          }
        }
      }
    }
  }
  write_elements(y, c.output(0));
}

Status reference_grid_sample(ReferenceContext& c) {
  const Dims& in = c.input(0).dims;
  const Dims& grid = c.input(1).dims;
  if (grid[0] != in[0] || grid.back() != in.rank() - 2) {
    return invalid_argument("grid of sizes ", grid.to_string(), " for data of sizes ",
                            in.to_string());
  }
  if (c.output(0).count() == 0) return {};
  if (in.count(2, in.rank()) == 0) return invalid_argument("cannot sample an empty image");
  if (in.count() > 0 && c.input(0).dtype == DType::kString) {
    return unsupported("strings; nearest supported: numbers");
  }
  with_wide_type(c.input(0).dtype, [&](auto wide) { sample<decltype(wide)>(c); });
  return {};
}

Status infer_affine_grid(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 3));
  REDLINE_TRY(c.expect_rank(1, 1));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  std::optional<SymDims> sizes = c.contents(1);
  if (!sizes) {
    c.set_output(0, c.dtype(0), Shape());
    std::optional<int64_t> axes = const_length(c, 1);
    if (axes != 4 && axes != 5) return {};
    SymDims unknown = fresh_dims(c, *axes - 1, "affine_grid");
    unknown.emplace_back(*axes - 2);
    c.set_output(0, c.dtype(0), std::move(unknown));
    return {};
  }
  if (sizes->size() != 4 && sizes->size() != 5) {
    return c.input_error(1, str_cat("must have 4 or 5 elements, has ", sizes->size()));
  }
  auto rank = static_cast<int64_t>(sizes->size()) - 2;
  for (const Dim& dim : *sizes) {
    if (dim.is_const() && dim.value() < 0) return c.input_error(1, str_cat("holds ", dim.value()));
  }
  const Shape& theta = c.shape(0);
  if (theta.has_rank()) {
    for (int i = 1; i < 3; ++i) {
      if (theta[i].is_const() && theta[i].value() != rank + i - 1) {
        return c.input_error(0, str_cat("must have the sizes [n, ", rank, ", ", rank + 1, "]"));
      }
    }
    if (theta[0].is_const() && (*sizes)[0].is_const() && theta[0] != (*sizes)[0]) {
      return c.input_error(0, "must have the batch size that 'size' tells");
    }
  }
  SymDims out = {(*sizes)[0]};
  out.insert(out.end(), sizes->begin() + 2, sizes->end());
  out.emplace_back(rank);
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

Status reference_affine_grid(ReferenceContext& c) {
  bool align = c.attrs<AffineGridAttrs>().align_corners;
  const Dims& out = c.output(0).dims;
  auto rank = static_cast<size_t>(out.back());
  const Dims& theta_dims = c.input(0).dims;
  if (theta_dims.count() != out[0] * static_cast<int64_t>(rank * (rank + 1))) {
    return invalid_argument("theta of sizes ", theta_dims.to_string(), " for a grid of sizes ",
                            out.to_string());
  }
  std::vector<double> theta = read_elements<double>(c.input(0));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  int64_t area = out.count(1, out.rank() - 1);
  for (int64_t n = 0; n < out[0]; ++n) {
    const double* matrix = theta.data() + n * static_cast<int64_t>(rank * (rank + 1));
    for (int64_t o = 0; o < area; ++o) {
      double place[3] = {};  // innermost axis first
      int64_t rest = o;
      for (size_t d = 0; d < rank; ++d) {
        int64_t size = out[rank - d];
        auto i = static_cast<double>(rest % size);
        rest /= size;
        if (!align) {
          place[d] = -1 + (2 * i + 1) / static_cast<double>(size);
        } else {
          place[d] = size == 1 ? -1 : -1 + 2 * i / static_cast<double>(size - 1);
        }
      }
      for (size_t row = 0; row < rank; ++row) {
        double sum = matrix[row * (rank + 1) + rank];
        for (size_t d = 0; d < rank; ++d) sum += matrix[row * (rank + 1) + d] * place[d];
        y[static_cast<size_t>(n * area + o) * rank + row] = sum;
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

}  // namespace

void register_op_sample(OpRegistry& registry) {
  registry.add({.name = "grid_sample",
                .inputs = {{"x"}, {"grid"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<GridSampleAttrs>(),
                .infer = infer_grid_sample,
                .reference = reference_grid_sample});
  registry.add({.name = "affine_grid",
                .inputs = {{"theta"}, {"size"}},
                .outputs = {{"grid"}},
                .attrs = attrs_type<AffineGridAttrs>(),
                .infer = infer_affine_grid,
                .reference = reference_affine_grid});
}

}  // namespace redline
