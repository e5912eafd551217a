// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/elements.h"
#include "ops/resize.h"
#include "tactics/cuda/element_writer.h"
#include "tactics/cuda/kernel_launch.h"
#include "tactics/cuda/kernel_sizes.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

constexpr const char* kEntry = "resize_nearest";
constexpr int kThreads = 128;
constexpr int kAccessBytes = 16;
// Two places and a factor of 2 multiply to an int.
constexpr int64_t kMostPlaces = 1 << 14;

// A half of a place of the largest factor is far more than what the coordinates are rounded by.
constexpr double kMostTimes = 64;

// Place o of an axis comes from place (o * step + shift) * times / over, rounded down. Sizes may be
// unknown.
struct Axis {
  int64_t in = 1, out = 1;
  int64_t step = 1, shift = 0;
  int64_t times = 1, over = 1;
  bool same = true;    // place o comes from place o
  int64_t factor = 1;  // of the sizes
};

// Leading axes that stay are rows; of the others neighbours that stay are one.
struct Boxes {
  size_t row_axes = 0;
  std::vector<Axis> axes;
  int bytes = 1;

  int lanes() const {
    if (!axes.back().same) return 1;
    return static_cast<int>(
        std::gcd(axes.back().factor, static_cast<int64_t>(kAccessBytes / bytes)));
  }
  int64_t count(int64_t Axis::*size) const {
    int64_t count = 1;
    for (const Axis& axis : axes) count = known_product(count, axis.*size);
    return count;
  }
};

// Whether place o of an axis that grows `scale` times comes from place o / scale, however long it
// is. Halves: o = q * scale + r gives the coordinate q + (r + 1/2) / scale - 1/2, which is less
// than a half away from q.
bool repeats(const ResizeAttrs& attrs, double scale) {
  using enum ResizeCoordinates;
  if (scale != std::floor(scale) || scale < 1 || scale > kMostTimes) return false;
  ResizeCoordinates mode = attrs.coordinate_transformation_mode;
  bool halves = mode == kHalfPixel || mode == kPytorchHalfPixel || mode == kHalfPixelSymmetric;
  bool rounds = attrs.nearest_mode == ResizeNearest::kRoundPreferFloor ||
                attrs.nearest_mode == ResizeNearest::kRoundPreferCeil;
  bool from_start = mode == kAsymmetric || mode == kTfHalfPixelForNn;
  return (halves && rounds) || (from_start && attrs.nearest_mode == ResizeNearest::kFloor);
}

// The op's own arithmetic, at every place, against the two forms that integers can say.
std::optional<Axis> checked_at_all(const ResizeAttrs& attrs, int64_t in, int64_t out,
                                   double scale) {
  AxisResize given{0, in, out, scale, 0, 1};
  for (auto [step, shift] : {std::pair{1, 0}, {2, 1}}) {
    bool right = true;
    for (int64_t o = 0; right && o < out; ++o) {
      std::optional<double> x = resize_coordinate(attrs.coordinate_transformation_mode, given, o);
      int64_t place = (o * step + shift) * in / (out * step);
      right = x && resize_nearest_index(attrs.nearest_mode, *x, in) == place;
    }
    int64_t factor = std::gcd(in, out * step);
    if (right) return Axis{in, out, step, shift, in / factor, out * step / factor, false, out};
  }
  return std::nullopt;
}

Result<Axis> as_integers(const ResizeAttrs& attrs, int64_t in, int64_t out, double scale) {
  bool unknown = in == kDynamicDim || out == kDynamicDim;
  bool few = in > 0 && out > 0 && out <= kMostPlaces && in <= kMostPlaces;
  if (few) {
    std::optional<Axis> axis = checked_at_all(attrs, in, out, scale);
    if (axis) return *axis;
  }
  if (repeats(attrs, scale)) {
    auto times = static_cast<int64_t>(scale);
    if (unknown || out == in * times) return Axis{in, out, 1, 0, 1, times, false};
  }
  if (unknown) return unsupported("takes unknown sizes that become a whole number of times larger");
  if (!few) return unsupported("takes axes of 1 to ", kMostPlaces, " places");
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
    if (scale_of[i] != 1) {
      REDLINE_ASSIGN(Axis axis, as_integers(attrs, in[i], out[i], scale_of[i]));
      boxes.axes.push_back(axis);
      continue;
    }
    if (!boxes.axes.back().same) boxes.axes.emplace_back();
    Axis& axis = boxes.axes.back();
    int64_t size = known_or(in[i], out[i]);
    axis.in = axis.out = known_product(axis.in, size);
    axis.factor *= known_or(size, 1);
  }
  return boxes;
}

Status supports(const Problem& problem) {
  REDLINE_TRY(element_supports(problem));
  return boxes_of(problem).status();
}

// `boxes` of the sizes that are wanted, `lanes` of what the kernel is written for. An empty image's
// kernel is never launched.
KernelSizes sizes_of(const Boxes& boxes, int lanes) {
  KernelSizes sizes = KernelSizes::indexed();
  auto groups_of = [&](int64_t size) {
    return size == kDynamicDim ? size : std::max<int64_t>(size / lanes, 1);
  };
  sizes.add_divisor("groups", groups_of(boxes.count(&Axis::out)));
  sizes.add("row_elements", boxes.count(&Axis::in));
  int64_t stride = 1;
  for (size_t i = boxes.axes.size(); i-- > 0;) {
    const Axis& axis = boxes.axes[i];
    int64_t size = i + 1 == boxes.axes.size() ? groups_of(axis.out) : axis.out;
    if (size != kDynamicDim) size = std::max<int64_t>(size, 1);
    if (i > 0) sizes.add_divisor(str_cat("size", i), size);
    sizes.add(str_cat("stride", i), stride);
    stride = known_product(stride, axis.in);
  }
  return sizes;
}

std::string statements(const Boxes& boxes, const KernelSizes& sizes, const ElementWriter& writer) {
  int lanes = boxes.lanes();
  auto number = [&](const std::string& name) { return str_cat("idx(", sizes.size(name), ")"); };
  auto is_known = [&](const std::string& name) { return sizes.size(name).known.has_value(); };
  std::string type = str_cat("u", 8 * boxes.bytes);
  std::string text = "  wait_for_former();\n  release_next();\n";
  text += "  const idx rows = idx(1)";
  for (size_t axis = 0; axis < boxes.row_axes; ++axis) {
    text += " * " + writer.value(0).dims[axis];
  }
  std::string groups = number("groups");
  text += str_cat(";\n  const idx group = (idx)blockIdx.x * ", kThreads,
                  " + (int)threadIdx.x;\n  if (group >= rows * ", groups,
                  ") return;\n  const idx row = ", sizes.divided("group", "groups"),
                  ";\n  idx rest = group - row * ", groups, ";\n");
  std::string from = str_cat("row * ", number("row_elements"));
  for (size_t i = boxes.axes.size(); i-- > 0;) {
    const Axis& axis = boxes.axes[i];
    std::string name = str_cat("size", i);
    bool divided = i > 0 && !is_known(name);
    if (divided) text += str_cat("  const idx rest", i, " = ", sizes.divided("rest", name), ";\n");
    std::string place = i == 0    ? "rest"
                        : divided ? str_cat("rest - rest", i, " * ", number(name))
                                  : str_cat("rest % ", number(name));
    place = str_cat("(", place, ")");
    if (i + 1 == boxes.axes.size()) place += str_cat(" * ", lanes);
    if (!axis.same) {
      place = str_cat("(", place, " * ", axis.step, " + ", axis.shift, ") * idx(", axis.times,
                      ") / idx(", axis.over, ")");
    }
    text += str_cat("  const idx c", i, " = ", place, ";\n");
    if (divided) text += str_cat("  rest = rest", i, ";\n");
    if (i > 0 && !divided) text += str_cat("  rest /= ", number(name), ";\n");
    from += str_cat(" + c", i, " * ", number(str_cat("stride", i)));
  }
  return str_cat(text, "  store_lanes((", type, "*)out_raw0 + group * ", lanes, ", load_lanes<",
                 lanes, ">((const ", type, "*)in0 + (", from, ")));\n");
}

Result<std::vector<cuda::KernelSource>> kernels(const Problem& problem, const Config&,
                                                const cuda::DeviceInfo& device) {
  REDLINE_ASSIGN(Boxes boxes, boxes_of(problem));
  ElementWriter writer(problem);
  REDLINE_TRY(writer.check());
  KernelSizes sizes = sizes_of(boxes, boxes.lanes());
  std::string text = statements(boxes, sizes, writer);
  ElementKernel kernel = writer.whole(kEntry, kThreads, {"lanes.cuh"}, std::move(text), sizes);
  return indexed_sources(kernel, problem, device);
}

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config&,
                                        const PrepareArgs& args) {
  REDLINE_ASSIGN(Boxes written, boxes_of(*args.written));
  REDLINE_ASSIGN(Boxes boxes, boxes_of(problem));
  int lanes = written.lanes();
  std::vector<int64_t> sizes = parameter_values(*args.written, problem);
  std::vector<int64_t> own = sizes_of(boxes, lanes).indexed_values(sizes_of(written, lanes));
  size_t module = !sizes.empty() && !fits_short_indices(problem) ? 1 : 0;
  sizes.insert(sizes.end(), own.begin(), own.end());
  int64_t groups = problem.outputs[0].dims.count() / lanes;
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
