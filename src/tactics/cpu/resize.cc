// SPDX-License-Identifier: Apache-2.0
#include "ops/resize.h"

#include <cmath>
#include <cstring>

#include "kernels/cpu/resize/resize.h"
#include "ops/elements.h"
#include "tactics/cpu/loop_kernel.h"

namespace redline {
namespace {

std::vector<size_t> named_axes(const Problem& problem) {
  const Dims& dims = problem.inputs[0].dims;
  std::vector<size_t> axes;
  for (int64_t axis : problem.attrs.as<ResizeAttrs>().axes) {
    axes.push_back(static_cast<size_t>(loop_axis(axis, dims)));
  }
  for (size_t d = 0; axes.size() < dims.size() && d < dims.size(); ++d) {
    if (problem.attrs.as<ResizeAttrs>().axes.empty()) axes.push_back(d);
  }
  return axes;
}

// What may change, by axis; sizes may be kDynamicDim.
std::vector<AxisResize> changing_axes(const Problem& problem) {
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  std::vector<double> scales;
  if (has_operand(problem.inputs, 2)) {
    scales = read_elements<double>(problem.inputs[2].constant->view());
  }
  std::vector<AxisResize> result;
  std::vector<size_t> axes = named_axes(problem);
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisResize a{axes[i], in[axes[i]], out[axes[i]]};
    a.scale = scales.empty() ? static_cast<double>(a.out) / static_cast<double>(a.in) : scales[i];
    bool same = scales.empty() ? a.in == a.out && a.in != kDynamicDim : scales[i] == 1;
    if (!same) result.push_back(a);
  }
  std::sort(result.begin(), result.end(),
            [](const AxisResize& a, const AxisResize& b) { return a.axis < b.axis; });
  return result;
}

Status supports(const Problem& problem) {
  const auto& attrs = problem.attrs.as<ResizeAttrs>();
  REDLINE_TRY(expect_f32(problem.inputs[0]));
  if (attrs.mode == ResizeMode::kCubic) return unsupported("cubic interpolation");
  if (attrs.antialias || attrs.exclude_outside) return unsupported("antialias, exclude_outside");
  if (attrs.coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize) {
    return unsupported("tf_crop_and_resize");
  }
  if (has_operand(problem.inputs, 2) && problem.inputs[2].constant == nullptr) {
    return unsupported("scales that are not constant");
  }
  if (attrs.keep_aspect_ratio_policy != KeepAspectRatio::kStretch) {
    return unsupported("keep_aspect_ratio_policy");
  }
  std::vector<AxisResize> axes = changing_axes(problem);
  if (!axes.empty() && axes.back().axis - axes[0].axis > 1) {
    return unsupported("sizes that may change on more than two neighbouring axes");
  }
  return {};
}

// For each output along an axis, its two inputs and how much the second counts (nearest: 0).
struct Table {
  std::vector<int32_t> first;
  std::vector<int32_t> second;
  std::vector<float> weights;
};

Table make_table(const ResizeAttrs& attrs, const AxisResize& a, bool changes) {
  Table table;
  for (int64_t o = 0; o < a.out; ++o) {
    double x = static_cast<double>(o);
    if (changes) x = *resize_coordinate(attrs.coordinate_transformation_mode, a, o);
    int64_t first;
    int64_t second;
    double weight = 0;
    if (attrs.mode == ResizeMode::kNearest) {
      first = second = changes ? resize_nearest_index(attrs.nearest_mode, x, a.in) : o;
    } else {
      double base = std::clamp(std::floor(x), -0x1p50, 0x1p50);
      weight = std::clamp(x - base, 0.0, 1.0);
      first = std::clamp<int64_t>(static_cast<int64_t>(base), 0, a.in - 1);
      second = std::clamp<int64_t>(static_cast<int64_t>(base) + 1, 0, a.in - 1);
    }
    table.first.push_back(static_cast<int32_t>(first));
    table.second.push_back(static_cast<int32_t>(second));
    table.weights.push_back(static_cast<float>(weight));
  }
  return table;
}

// [planes][height][width][inner]: the axes that change are height and width.
struct Image {
  int64_t planes = 1, height = 1, width = 1, inner = 1, out_height = 1, out_width = 1;
  Table rows;
  Table columns;
};

// One output row with the channels innermost.
void nearest_row(const Image& image, const float* x, float* y, int64_t row) {
  const float* plane = x + row / image.out_height * image.height * image.width * image.inner;
  auto at = static_cast<size_t>(row % image.out_height);
  const float* from = plane + image.rows.first[at] * image.width * image.inner;
  float* to = y + row * image.out_width * image.inner;
  auto bytes = static_cast<size_t>(image.inner) * sizeof(float);
  for (int32_t column : image.columns.first) {
    std::memcpy(to, from + column * image.inner, bytes);
    to += image.inner;
  }
}

void linear_row(const Image& image, const float* x, float* y, int64_t row) {
  const float* plane = x + row / image.out_height * image.height * image.width * image.inner;
  auto at = static_cast<size_t>(row % image.out_height);
  const float* above = plane + image.rows.first[at] * image.width * image.inner;
  const float* below = plane + image.rows.second[at] * image.width * image.inner;
  float v = image.rows.weights[at];
  float* to = y + row * image.out_width * image.inner;
  for (size_t o = 0; o < image.columns.first.size(); ++o) {
    int64_t left = image.columns.first[o] * image.inner;
    int64_t right = image.columns.second[o] * image.inner;
    float w = image.columns.weights[o];
    for (int64_t c = 0; c < image.inner; ++c) {
      float top = (1 - w) * above[left + c] + w * above[right + c];
      float bottom = (1 - w) * below[left + c] + w * below[right + c];
      to[c] = (1 - v) * top + v * bottom;
    }
    to += image.inner;
  }
}

std::unique_ptr<Kernel> make_rows_kernel(Image image, bool nearest) {
  int64_t grain = loop_grain(image.out_width * image.inner);
  return make_loop_kernel([grain, nearest, image = std::move(image)](const KernelArgs& args) {
    const auto* x = args.inputs[0].as<const float>();
    auto* y = args.outputs[0].as<float>();
    auto row = nearest ? nearest_row : linear_row;
    args.pool->parallel_for(image.planes * image.out_height, grain,
                            [&](int64_t begin, int64_t end) {
                              for (int64_t i = begin; i < end; ++i) row(image, x, y, i);
                            });
    return Status();
  });
}

std::unique_ptr<Kernel> make_nearest_kernel(Image image) {
  kernels::NearestArgs nearest;
  nearest.repeat = kernels::column_repeat(image.columns.first.data(), image.out_width);
  nearest.height = image.height;
  nearest.width = image.width;
  nearest.out_height = image.out_height;
  nearest.out_width = image.out_width;
  auto run = kernels::resize_kernels(kernels::detect_isa()).nearest;
  return make_loop_kernel([nearest, run, image = std::move(image)](const KernelArgs& args) {
    kernels::NearestArgs a = nearest;
    a.x = args.inputs[0].as<const float>();
    a.y = args.outputs[0].as<float>();
    a.rows = image.rows.first.data();
    a.columns = image.columns.first.data();
    args.pool->parallel_for(image.planes * image.out_height, loop_grain(image.out_width),
                            [&](int64_t begin, int64_t end) { run(a, begin, end); });
    return Status();
  });
}

std::unique_ptr<Kernel> make_linear_kernel(Image image) {
  auto run = kernels::resize_kernels(kernels::detect_isa()).linear;
  return make_loop_kernel([run, image = std::move(image)](const KernelArgs& args) {
    kernels::LinearArgs a;
    a.x = args.inputs[0].as<const float>();
    a.y = args.outputs[0].as<float>();
    a.height = image.height;
    a.width = image.width;
    a.out_height = image.out_height;
    a.out_width = image.out_width;
    a.rows0 = image.rows.first.data();
    a.rows1 = image.rows.second.data();
    a.row_weights = image.rows.weights.data();
    a.columns0 = image.columns.first.data();
    a.columns1 = image.columns.second.data();
    a.column_weights = image.columns.weights.data();
    args.pool->parallel_for(image.planes * image.out_height, loop_grain(image.out_width),
                            [&](int64_t begin, int64_t end) { run(a, begin, end); });
    return Status();
  });
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&, const PrepareArgs&) {
  const auto& attrs = problem.attrs.as<ResizeAttrs>();
  const Dims& in = problem.inputs[0].dims;
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  for (int64_t size : in) {
    if (size == 0) return invalid_argument("cannot enlarge an empty axis");
    if (size > INT32_MAX) return unsupported("an axis of 2^31 elements");
  }
  std::vector<AxisResize> axes = changing_axes(problem);
  // Without a change the whole is one row.
  AxisResize rows{0, 1, 1};
  AxisResize columns{0, 1, 1};
  Image image;
  image.inner = in.count();
  if (!axes.empty()) {
    columns = axes.back();
    int first = static_cast<int>(axes[0].axis);
    if (axes.size() == 2) rows = axes[0];
    image.planes = in.count(0, first);
    image.inner = in.count(static_cast<int>(columns.axis) + 1, in.rank());
  }
  image.height = rows.in;
  image.out_height = rows.out;
  image.width = columns.in;
  image.out_width = columns.out;
  image.rows = make_table(attrs, rows, axes.size() == 2);
  image.columns = make_table(attrs, columns, !axes.empty());
  bool nearest = attrs.mode == ResizeMode::kNearest;
  if (image.inner > 1) return make_rows_kernel(std::move(image), nearest);
  return nearest ? make_nearest_kernel(std::move(image)) : make_linear_kernel(std::move(image));
}

}  // namespace

void register_tactic_resize(TacticRegistry& registry) {
  registry.add({.name = "cpu.resize",
                .device = "cpu",
                .ops = {"resize"},
                .supports = supports,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
