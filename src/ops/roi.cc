// SPDX-License-Identifier: Apache-2.0
#include "ops/roi.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/elements.h"
#include "ops/numeric.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr int64_t kMaxPooled = int64_t{1} << 20;

Status check_columns(const InferContext& c, size_t i, int axis, int64_t columns) {
  const Shape& shape = c.shape(i);
  if (shape.has_rank() && shape[axis].is_const() && shape[axis] != Dim(columns)) {
    return c.input_error(i, str_cat("must have ", columns, " columns"));
  }
  return {};
}

Status infer_pooled(InferContext& c, int64_t height, int64_t width, int64_t columns) {
  REDLINE_TRY(c.expect_rank(0, 4));
  REDLINE_TRY(c.expect_rank(1, 2));
  REDLINE_TRY(c.expect_same_dtype(1, 0));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  REDLINE_TRY(check_columns(c, 1, 1, columns));
  if (height < 1 || width < 1 || height > kMaxPooled || width > kMaxPooled) {
    return c.error(str_cat("output size ", height, " x ", width));
  }
  Dim rois = c.shape(1).has_rank() ? c.shape(1)[0] : c.fresh_symbol("rois");
  Dim channels = c.shape(0).has_rank() ? c.shape(0)[1] : c.fresh_symbol("channels");
  c.set_output(0, c.dtype(0), SymDims{rois, channels, Dim(height), Dim(width)});
  return {};
}

Status infer_roi_align(InferContext& c) {
  const auto& attrs = c.attrs<RoiAlignAttrs>();
  if (attrs.sampling_ratio < 0 || attrs.sampling_ratio > 4096) {
    return c.error(str_cat("sampling_ratio is ", attrs.sampling_ratio));
  }
  REDLINE_TRY(c.expect_rank(2, 1));
  if (!is_int(c.dtype(2))) return c.input_error(2, "must have an integer type");
  return infer_pooled(c, attrs.output_height, attrs.output_width, 4);
}

// The four pixels around a point and their weights; all zero outside of the image.
struct Corners {
  int64_t at[4] = {};
  double weight[4] = {};
};

Corners corners(double y, double x, int64_t height, int64_t width) {
  Corners result;
  if (!(y >= -1 && y <= static_cast<double>(height) && x >= -1 &&
        x <= static_cast<double>(width))) {
    return result;
  }
  auto low = [](double v, int64_t size) { return std::min(static_cast<int64_t>(v), size - 1); };
  y = std::max(y, 0.0);
  x = std::max(x, 0.0);
  int64_t y0 = low(y, height);
  int64_t x0 = low(x, width);
  int64_t y1 = std::min(y0 + 1, height - 1);
  int64_t x1 = std::min(x0 + 1, width - 1);
  double ty = y1 == y0 ? 0 : y - static_cast<double>(y0);
  double tx = x1 == x0 ? 0 : x - static_cast<double>(x0);
  int64_t at[4] = {y0 * width + x0, y0 * width + x1, y1 * width + x0, y1 * width + x1};
  double weight[4] = {(1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx};
  std::copy_n(at, 4, result.at);
  std::copy_n(weight, 4, result.weight);
  return result;
}

Status reference_roi_align(ReferenceContext& c) {
  const auto& attrs = c.attrs<RoiAlignAttrs>();
  const Dims& in = c.input(0).dims;
  const Dims& out = c.output(0).dims;
  if (c.input(2).count() != out[0] || c.input(1).dims[1] != 4) {
    return invalid_argument("batch_indices has ", c.input(2).count(), " elements for rois ",
                            c.input(1).dims.to_string());
  }
  if (c.output(0).count() == 0) return {};
  if (in[2] == 0 || in[3] == 0) return invalid_argument("the image is empty");
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> rois = read_elements<double>(c.input(1));
  std::vector<int64_t> batches = read_ints(c.input(2));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  int64_t area = in[2] * in[3];
  bool half = attrs.coordinate_transformation_mode == RoiCoordinates::kHalfPixel;
  double offset = half ? 0.5 : 0;
  double scale = attrs.spatial_scale;
  std::vector<Corners> samples;
  for (int64_t r = 0; r < out[0]; ++r) {
    int64_t batch = batches[static_cast<size_t>(r)];
    if (batch < 0 || batch >= in[0]) {
      return invalid_argument("batch index ", batch, " is out of range for ", in[0], " images");
    }
    const double* roi = rois.data() + r * 4;
    double left = roi[0] * scale - offset;
    double top = roi[1] * scale - offset;
    double width = roi[2] * scale - offset - left;
    double height = roi[3] * scale - offset - top;
    if (!half) {
      width = std::max(width, 1.0);
      height = std::max(height, 1.0);
    }
    double bin_h = height / static_cast<double>(out[2]);
    double bin_w = width / static_cast<double>(out[3]);
    int64_t grid_h = attrs.sampling_ratio;
    int64_t grid_w = attrs.sampling_ratio;
    if (grid_h == 0) {
      grid_h = saturating_int64(std::ceil(bin_h), 0, kMaxPooled);
      grid_w = saturating_int64(std::ceil(bin_w), 0, kMaxPooled);
    }
    if (grid_h * grid_w > (int64_t{1} << 24)) {
      return invalid_argument("roi ", r, " needs ", grid_h, " x ", grid_w, " samples in a bin");
    }
    double count = static_cast<double>(std::max<int64_t>(grid_h * grid_w, 1));
    for (int64_t bin = 0; bin < out[2] * out[3]; ++bin) {
      int64_t bin_row = bin / out[3];
      int64_t bin_column = bin % out[3];
      samples.clear();
      for (int64_t iy = 0; iy < grid_h; ++iy) {
        double py = top + static_cast<double>(bin_row) * bin_h +
                    (static_cast<double>(iy) + 0.5) * bin_h / static_cast<double>(grid_h);
        for (int64_t ix = 0; ix < grid_w; ++ix) {
          double px = left + static_cast<double>(bin_column) * bin_w +
                      (static_cast<double>(ix) + 0.5) * bin_w / static_cast<double>(grid_w);
          samples.push_back(corners(py, px, in[2], in[3]));
        }
      }
      for (int64_t ch = 0; ch < in[1]; ++ch) {
        const double* plane = x.data() + (batch * in[1] + ch) * area;
        double sum = 0;
        double best = samples.empty() ? 0 : -std::numeric_limits<double>::infinity();
        for (const Corners& s : samples) {
          for (int k = 0; k < 4; ++k) {
            double v = s.weight[k] * plane[s.at[k]];
            sum += v;
            best = std::max(best, v);
          }
        }
        y[static_cast<size_t>((r * in[1] + ch) * out[2] * out[3] + bin)] =
            attrs.mode == RoiMode::kAvg ? sum / count : best;
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

Status infer_max_roi_pool(InferContext& c) {
  const auto& attrs = c.attrs<MaxRoiPoolAttrs>();
  if (attrs.pooled_shape.size() != 2) return c.error("pooled_shape must have 2 entries");
  return infer_pooled(c, attrs.pooled_shape[0], attrs.pooled_shape[1], 5);
}

Status reference_max_roi_pool(ReferenceContext& c) {
  double scale = c.attrs<MaxRoiPoolAttrs>().spatial_scale;
  const Dims& in = c.input(0).dims;
  const Dims& out = c.output(0).dims;
  std::vector<double> x = read_elements<double>(c.input(0));
  std::vector<double> rois = read_elements<double>(c.input(1));
  std::vector<double> y(static_cast<size_t>(c.output(0).count()));
  auto pixel = [&](double v) {
    return saturating_int64(std::round(v * scale), -(int64_t{1} << 40), int64_t{1} << 40);
  };
  size_t at = 0;
  for (int64_t r = 0; r < out[0]; ++r) {
    const double* roi = rois.data() + r * 5;
    int64_t batch = saturating_int64(roi[0], -1, in[0]);
    if (batch < 0 || batch >= in[0]) {
      return invalid_argument("roi ", r, " names image ", batch, " of ", in[0]);
    }
    int64_t left = pixel(roi[1]);
    int64_t top = pixel(roi[2]);
    double bin_w = static_cast<double>(std::max<int64_t>(pixel(roi[3]) - left + 1, 1)) /
                   static_cast<double>(out[3]);
    double bin_h = static_cast<double>(std::max<int64_t>(pixel(roi[4]) - top + 1, 1)) /
                   static_cast<double>(out[2]);
    auto bound = [](double v, int64_t start, int64_t size) {
      return std::clamp<int64_t>(static_cast<int64_t>(v) + start, 0, size);
    };
    for (int64_t ch = 0; ch < in[1]; ++ch) {
      const double* plane = x.data() + (batch * in[1] + ch) * in[2] * in[3];
      for (int64_t ph = 0; ph < out[2]; ++ph) {
        int64_t y0 = bound(std::floor(static_cast<double>(ph) * bin_h), top, in[2]);
        int64_t y1 = bound(std::ceil(static_cast<double>(ph + 1) * bin_h), top, in[2]);
        for (int64_t pw = 0; pw < out[3]; ++pw) {
          int64_t x0 = bound(std::floor(static_cast<double>(pw) * bin_w), left, in[3]);
          int64_t x1 = bound(std::ceil(static_cast<double>(pw + 1) * bin_w), left, in[3]);
          bool empty = y1 <= y0 || x1 <= x0;
          double best = empty ? 0 : -std::numeric_limits<double>::infinity();
          for (int64_t i = y0; i < y1; ++i) {
            for (int64_t j = x0; j < x1; ++j) best = std::max(best, plane[i * in[3] + j]);
          }
          y[at++] = best;
        }
      }
    }
  }
  write_elements(y, c.output(0));
  return {};
}

Status infer_nms(InferContext& c) {
  REDLINE_TRY(c.expect_rank(0, 3));
  REDLINE_TRY(c.expect_rank(1, 3));
  if (!is_float(c.dtype(0))) return c.input_error(0, "must have a floating-point type");
  if (!is_float(c.dtype(1))) return c.input_error(1, "must have a floating-point type");
  REDLINE_TRY(check_columns(c, 0, 2, 4));
  if (c.shape(0).has_rank() && c.shape(1).has_rank()) {
    const Shape& boxes = c.shape(0);
    const Shape& scores = c.shape(1);
    bool batch = boxes[0].is_const() && scores[0].is_const() && boxes[0] != scores[0];
    bool count = boxes[1].is_const() && scores[2].is_const() && boxes[1] != scores[2];
    if (batch || count) {
      return c.input_error(1, str_cat("does not fit the boxes ", boxes.to_string()));
    }
  }
  for (size_t i = 2; i < 5; ++i) {
    if (c.has_input(i)) REDLINE_TRY(c.expect_tensor(i));
  }
  c.set_output(0, DType::kInt64, SymDims{c.fresh_symbol("selected"), Dim(3)});
  return {};
}

struct Box {
  double x0, y0, x1, y1;
  double area() const { return (x1 - x0) * (y1 - y0); }
};

Box read_box(const double* b, bool centre) {
  if (centre) {
    return {b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2};
  }
  return {std::min(b[1], b[3]), std::min(b[0], b[2]), std::max(b[1], b[3]), std::max(b[0], b[2])};
}

bool overlaps(const Box& a, const Box& b, double threshold) {
  double width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  double height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0);
  if (!(width > 0 && height > 0)) return false;
  double common = width * height;
  double together = a.area() + b.area() - common;
  if (!(a.area() > 0 && b.area() > 0 && together > 0)) return false;
  // Rounded like the float arithmetic whose ties models are tuned to.
  return static_cast<float>(common / together) > static_cast<float>(threshold);
}

Result<double> scalar(const ReferenceContext& c, size_t i, double fallback) {
  if (!c.has_input(i)) return fallback;
  if (c.input(i).count() != 1) {
    return invalid_argument("input ", i, " has ", c.input(i).count(), " elements, expected 1");
  }
  return read_elements<double>(c.input(i))[0];
}

Status reference_nms(ReferenceContext& c) {
  bool centre = c.attrs<NonMaxSuppressionAttrs>().center_point_box;
  const Dims& scores_dims = c.input(1).dims;
  REDLINE_ASSIGN(double limit, scalar(c, 2, 0));
  REDLINE_ASSIGN(double threshold, scalar(c, 3, 0));
  constexpr double kAll = -std::numeric_limits<double>::infinity();
  REDLINE_ASSIGN(double lowest, scalar(c, 4, kAll));
  int64_t batches = scores_dims[0];
  int64_t classes = scores_dims[1];
  int64_t count = scores_dims[2];
  if (c.input(0).dims[0] != batches || c.input(0).dims[1] != count) {
    return invalid_argument("boxes of sizes ", c.input(0).dims.to_string(), " for scores of sizes ",
                            scores_dims.to_string());
  }
  auto most = static_cast<size_t>(saturating_int64(limit, 0, count));
  std::vector<double> raw = read_elements<double>(c.input(0));
  std::vector<double> scores = read_elements<double>(c.input(1));
  std::vector<Box> boxes;
  for (size_t i = 0; i + 3 < raw.size(); i += 4) boxes.push_back(read_box(raw.data() + i, centre));
  std::vector<int64_t> result;
  for (int64_t n = 0; n < batches; ++n) {
    for (int64_t k = 0; k < classes; ++k) {
      const double* own = scores.data() + (n * classes + k) * count;
      std::vector<int64_t> order;
      for (int64_t i = 0; i < count; ++i) {
        if (own[i] > lowest) order.push_back(i);
      }
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return own[a] > own[b]; });
      std::vector<int64_t> kept;
      for (int64_t i : order) {
        if (kept.size() >= most) break;
        const Box* from = boxes.data() + n * count;
        bool suppressed = std::any_of(kept.begin(), kept.end(), [&](int64_t j) {
          return overlaps(from[i], from[j], threshold);
        });
        if (suppressed) continue;
        kept.push_back(i);
        result.insert(result.end(), {n, k, i});
      }
    }
  }
  Dims dims = {static_cast<int64_t>(result.size() / 3), 3};
  REDLINE_ASSIGN(TensorView out, c.allocate_output(0, DType::kInt64, dims));
  write_elements(result, out);
  return {};
}

}  // namespace

void register_op_roi(OpRegistry& registry) {
  registry.add({.name = "roi_align",
                .inputs = {{"x"}, {"rois"}, {"batch_indices"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<RoiAlignAttrs>(),
                .infer = infer_roi_align,
                .reference = reference_roi_align});
  registry.add({.name = "max_roi_pool",
                .inputs = {{"x"}, {"rois"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<MaxRoiPoolAttrs>(),
                .infer = infer_max_roi_pool,
                .reference = reference_max_roi_pool});
  registry.add({.name = "non_max_suppression",
                .inputs = {{"boxes"},
                           {"scores"},
                           {"max_output_boxes_per_class", Arity::kOptional},
                           {"iou_threshold", Arity::kOptional},
                           {"score_threshold", Arity::kOptional}},
                .outputs = {{"selected_indices"}},
                .attrs = attrs_type<NonMaxSuppressionAttrs>(),
                .traits = kTraitDataDependent,
                .infer = infer_nms,
                .reference = reference_nms});
}

}  // namespace redline
