// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "ops/elements.h"
#include "ops/resize.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

constexpr const char* kEntry = "resize_nearest";
constexpr int kThreads = 128;
constexpr int kAccessBytes = 16;
// Two places and a factor of 2 multiply to an int.
constexpr int64_t kMostPlaces = 1 << 14;

// Place o of an axis comes from place (o * step + shift) * in / (out * step), rounded down.
struct Axis {
  int64_t in = 1, out = 1;
  int64_t step = 1, shift = 0;
  bool same = true;  // place o comes from place o
};

// Leading axes that stay are rows, whose number need not be known; of the others neighbours that
// stay are one.
struct Boxes {
  size_t row_axes = 0;
  std::vector<Axis> axes;
  int bytes = 1;

  int lanes() const {
    if (!axes.back().same) return 1;
    return static_cast<int>(std::gcd(axes.back().out, static_cast<int64_t>(kAccessBytes / bytes)));
  }
  int64_t count(int64_t Axis::*size) const {
    int64_t product = 1;
    for (const Axis& axis : axes) product *= axis.*size;
    return product;
  }
};

// The op's own arithmetic, at every place, against the two forms that integers can say.
Result<Axis> as_integers(const ResizeAttrs& attrs, int64_t in, int64_t out, double scale) {
  if (in <= 0 || out <= 0 || out > kMostPlaces || in > kMostPlaces) {
    return unsupported("takes axes of 1 to ", kMostPlaces, " places");
  }
  AxisResize given{0, in, out, scale, 0, 1};
  for (Axis axis : {Axis{in, out, 1, 0, false}, Axis{in, out, 2, 1, false}}) {
    bool right = true;
    for (int64_t o = 0; right && o < out; ++o) {
      std::optional<double> x = resize_coordinate(attrs.coordinate_transformation_mode, given, o);
      int64_t place = (o * axis.step + axis.shift) * in / (out * axis.step);
      right = x && resize_nearest_index(attrs.nearest_mode, *x, in) == place;
    }
    if (right) return axis;
  }
  return unsupported("places that are no fraction of the output's");
}

// The scale of each axis that is named; none where the op has to find out.
Result<std::vector<double>> scales_of(const Problem& problem, const std::vector<size_t>& axes) {
  bool scaled = problem.inputs.size() > 2 && problem.inputs[2].present;
  if (scaled) {
    const Tensor* constant = problem.inputs[2].constant;
    if (constant == nullptr || constant->count() != static_cast<int64_t>(axes.size())) {
      return unsupported("takes known scales");
    }
    return read_elements<double>(constant->view());
  }
  std::vector<double> scales;
  for (size_t axis : axes) {
    int64_t in = problem.inputs[0].dims[axis];
    int64_t out = problem.outputs[0].dims[axis];
    if (in == kDynamicDim || out == kDynamicDim || in == 0) return unsupported("takes known sizes");
    scales.push_back(static_cast<double>(out) / static_cast<double>(in));
  }
  return scales;
}

Status check(const Problem& problem) {
  const auto& attrs = problem.attrs.as<ResizeAttrs>();
  const OperandDesc& x = problem.inputs[0];
  if (!x.is_tensor || !x.has_rank || x.dims.empty()) return unsupported("takes tensors of axes");
  if (x.dtype == DType::kString || dtype_bits(x.dtype) < 8 || dtype_bytes(x.dtype) > 8) {
    return unsupported("takes elements of 1 to 8 bytes");
  }
  if (attrs.mode != ResizeMode::kNearest) return unsupported("does not interpolate");
  if (attrs.coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize) {
    return unsupported("does not crop");
  }
  if (attrs.keep_aspect_ratio_policy != KeepAspectRatio::kStretch) {
    return unsupported("does not keep the aspect ratio");
  }
  return {};
}

Result<Boxes> boxes_of(const Problem& problem) {
  REDLINE_TRY(check(problem));
  const auto& attrs = problem.attrs.as<ResizeAttrs>();
  const Dims& in = problem.inputs[0].dims;
  const Dims& out = problem.outputs[0].dims;
  std::vector<size_t> named;
  for (int64_t axis : attrs.axes) named.push_back(at_axis(axis, in.rank()));
  for (size_t i = 0; attrs.axes.empty() && i < in.size(); ++i) named.push_back(i);
  REDLINE_ASSIGN(std::vector<double> scales, scales_of(problem, named));
  std::vector<double> scale_of(in.size(), 1);
  for (size_t i = 0; i < named.size(); ++i) scale_of[named[i]] = scales[i];
  Boxes boxes;
  boxes.bytes = static_cast<int>(dtype_bytes(problem.inputs[0].dtype));
  while (boxes.row_axes < in.size() && scale_of[boxes.row_axes] == 1) ++boxes.row_axes;
  if (boxes.row_axes == in.size()) return unsupported("resizes nothing");
  for (size_t i = boxes.row_axes; i < in.size(); ++i) {
    if (in[i] == kDynamicDim || out[i] == kDynamicDim) {
      return unsupported("takes known sizes from the first axis that changes on");
    }
    if (scale_of[i] != 1) {
      REDLINE_ASSIGN(Axis axis, as_integers(attrs, in[i], out[i], scale_of[i]));
      boxes.axes.push_back(axis);
    } else if (boxes.axes.back().same) {
      boxes.axes.back().in *= in[i];
      boxes.axes.back().out *= out[i];
    } else {
      boxes.axes.push_back({in[i], out[i]});
    }
  }
  if (boxes.count(&Axis::out) == 0) return unsupported("takes no empty images");
  return boxes;
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  return boxes_of(problem).status();
}

std::string statements(const Boxes& boxes, const ElementWriter& writer) {
  int lanes = boxes.lanes();
  int64_t groups = boxes.count(&Axis::out) / lanes;
  std::string type = str_cat("u", 8 * boxes.bytes);
  std::string text = "  wait_for_former_kernels();\n  let_next_kernel_start();\n";
  text += "  const idx rows = idx(1)";
  for (size_t axis = 0; axis < boxes.row_axes; ++axis) {
    text += " * " + writer.value(0).dims[axis];
  }
  text += str_cat(";\n  const idx group = (idx)blockIdx.x * ", kThreads,
                  " + (int)threadIdx.x;\n  if (group >= rows * idx(", groups,
                  ")) return;\n  const idx row = group / idx(", groups,
                  ");\n  idx rest = group - row * idx(", groups, ");\n");
  std::string from = str_cat("row * idx(", boxes.count(&Axis::in), ")");
  int64_t stride = 1;
  for (size_t i = boxes.axes.size(); i-- > 0;) {
    const Axis& axis = boxes.axes[i];
    bool last = i + 1 == boxes.axes.size();
    int64_t size = last ? axis.out / lanes : axis.out;
    std::string place = str_cat("(", i == 0 ? "rest" : str_cat("rest % idx(", size, ")"), ")");
    if (last) place += str_cat(" * ", lanes);
    if (!axis.same) {
      int64_t factor = std::gcd(axis.in, axis.out * axis.step);
      place = str_cat("(", place, " * ", axis.step, " + ", axis.shift, ") * idx(", axis.in / factor,
                      ") / idx(", axis.out * axis.step / factor, ")");
    }
    text += str_cat("  const idx c", i, " = ", place, ";\n");
    if (i > 0) text += str_cat("  rest /= idx(", size, ");\n");
    from += str_cat(" + c", i, " * idx(", stride, ")");
    stride *= axis.in;
  }
  return str_cat(text, "  store_lanes((", type, "*)out_raw0 + group * ", lanes, ", load_lanes<",
                 lanes, ">((const ", type, "*)in0 + (", from, ")));\n");
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Boxes boxes, boxes_of(problem));
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  ElementKernel kernel =
      writer.whole(kEntry, kThreads, {"lanes.cuh", "block.cuh"}, statements(boxes, writer));
  return indexed_sources(kernel, problem, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Boxes boxes, boxes_of(*args.written));
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  int64_t groups = problem.outputs[0].dims.count() / boxes.lanes();
  size_t module = !sizes.empty() && !fits_short_indices(problem) ? 1 : 0;
  REDLINE_ASSIGN(
      KernelLaunch::Step step,
      KernelLaunch::step(args, module, kEntry, (groups + kThreads - 1) / kThreads, kThreads));
  return KernelLaunch::create(problem, "cuda.resize_nearest", {std::move(step)}, std::move(sizes));
}

}  // namespace

void register_tactic_resize_nearest(TacticRegistry& registry) {
  registry.add({.name = "cuda.resize_nearest",
                .device = "cuda",
                .ops = {"resize"},
                .supports = supports,
                .kernels = kernels,
                .prepare = prepare,
                .preference = 20});
}

}  // namespace redline
