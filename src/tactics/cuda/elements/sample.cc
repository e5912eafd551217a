// SPDX-License-Identifier: Apache-2.0
#include "ops/sample.h"

#include "ops/conv.h"
#include "ops/roi.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/window_code.h"

// Ops that read between the elements, at places that data names. Coordinates are in double, as the
// references have them.
namespace redline {
namespace {

// Elements along one axis that make up the value at a place; a negative index is a zero.
constexpr const char* kGridTaps = R"(struct grid_taps {
  i64 index[4];
  double weight[4];
};
__device__ inline double grid_reflect(double x, double low, double high) {
  double range = high - low;
  if (range <= 0 || x - x != 0) return low;
  double over = x < low ? low - x : x > high ? x - high : 0;
  if (over == 0) return x;
  double turns = floor(over / range);
  double rest = over - turns * range;
  bool even = fmod(turns, 2.0) == 0;
  return (x < low) == even ? low + rest : high - rest;
}
// PADDING: 0 zeros, 1 border, 2 reflection.
template <int PADDING>
__device__ inline i64 grid_element(i64 i, i64 size, double low, double high) {
  if (i >= 0 && i < size) return i;
  if (PADDING == 0 || size <= 0) return -1;
  if (PADDING == 1) return i < 0 ? 0 : size - 1;
  return saturating_i64(grid_reflect((double)i, low, high), 0, size - 1);
}
// MODE: 0 linear, 1 nearest, 2 cubic.
template <int MODE, int PADDING, bool ALIGN>
__device__ inline grid_taps grid_taps_at(double place, i64 size) {
  const i64 far = 1LL << 50;
  double extent = (double)size;
  double low = ALIGN ? 0 : -0.5;
  double high = extent - (ALIGN ? 1 : 0.5);
  double x = ALIGN ? (place + 1) / 2 * (extent - 1) : ((place + 1) * extent - 1) / 2;
  if (MODE == 1) x = rint(x);
  // A cubic keeps its place and pads each of its elements.
  if (MODE != 2 && (x < low || x > high)) {
    if (PADDING == 1) x = x < 0 ? 0 : x > extent - 1 ? extent - 1 : x;
    if (PADDING == 2) x = grid_reflect(x, low, high);
  }
  i64 base = saturating_i64(floor(x), -far, far);
  double t = x - x == 0 ? x - (double)base : x;
  double u = 1 - t;
  const double a = -0.75;
  grid_taps r = {{-1, -1, -1, -1}, {0, 0, 0, 0}};
  if (MODE == 1) {
    r.index[0] = grid_element<PADDING>(saturating_i64(x, -far, far), size, low, high);
    r.weight[0] = 1;
  } else if (MODE == 0) {
    for (int k = 0; k < 2; ++k) r.index[k] = grid_element<PADDING>(base + k, size, low, high);
    r.weight[0] = u;
    r.weight[1] = t;
  } else {
    for (int k = 0; k < 4; ++k) r.index[k] = grid_element<PADDING>(base + k - 1, size, low, high);
    r.weight[0] = ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a;
    r.weight[1] = ((a + 2) * t - (a + 3)) * t * t + 1;
    r.weight[2] = ((a + 2) * u - (a + 3)) * u * u + 1;
    r.weight[3] = ((a * (u + 1) - 5 * a) * (u + 1) + 8 * a) * (u + 1) - 4 * a;
  }
  return r;
})";

Result<std::string> grid_sample(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<GridSampleAttrs>();
  c.function(kGridTaps);
  size_t axes = at.size() - 2;
  std::string function =
      str_cat("grid_taps_at<", static_cast<int>(attrs.mode), ", ",
              static_cast<int>(attrs.padding_mode), attrs.align_corners ? ", true>" : ", false>");
  const char* count = attrs.mode == SampleMode::kNearest  ? "1"
                      : attrs.mode == SampleMode::kLinear ? "2"
                                                          : "4";
  ElementIndex where = {at[0]};
  where.insert(where.end(), at.begin() + 2, at.end());
  where.emplace_back();
  std::vector<std::string> taps;
  for (size_t d = 0; d < axes; ++d) {
    where.back() = std::to_string(axes - 1 - d);
    REDLINE_ASSIGN(std::string place, c.read(1, where));
    taps.push_back(c.let("grid_taps", str_cat(function, "((double)", place, ", (i64)(",
                                              c.input(0).dims[d + 2], "))")));
  }
  std::string type(compute_type(c.output().dtype));
  std::string acc = c.variable(type, type + "(0)");
  ElementIndex from = {at[0], at[1]};
  std::string weight;
  for (size_t d = 0; d < axes; ++d) {
    std::string k = c.loop(count);
    c.open(str_cat("if (", taps[d], ".index[", k, "] >= 0)"));
    from.push_back(c.let("idx", str_cat("(idx)", taps[d], ".index[", k, "]")));
    std::string own = str_cat(taps[d], ".weight[", k, "]");
    weight = c.let("double", weight.empty() ? own : str_cat(weight, " * ", own));
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  c.line(is_float(c.output().dtype) ? str_cat(acc, " += (", type, ")", weight, " * ", value, ";")
                                    : str_cat(acc, " = ", value, ";"));
  for (size_t i = 0; i < 2 * axes; ++i) c.close();
  return acc;
}

Result<std::string> affine_grid(ElementContext& c, const ElementIndex& at) {
  bool align = c.attrs<AffineGridAttrs>().align_corners;
  size_t rank = at.size() - 2;
  std::vector<std::string> places;  // innermost axis first
  for (size_t d = 0; d < rank; ++d) {
    std::string i = str_cat("(double)(", at[rank - d], ")");
    std::string size = str_cat("(double)(", c.output().dims[rank - d], ")");
    places.push_back(
        c.let("double", align ? str_cat(size, " == 1 ? -1.0 : -1 + 2 * ", i, " / (", size, " - 1)")
                              : str_cat("-1 + (2 * ", i, " + 1) / ", size)));
  }
  REDLINE_ASSIGN(std::string shift, c.read(0, {at[0], at.back(), std::to_string(rank)}));
  std::string sum = c.variable("double", "(double)" + shift);
  for (size_t d = 0; d < rank; ++d) {
    REDLINE_ASSIGN(std::string factor, c.read(0, {at[0], at.back(), std::to_string(d)}));
    c.line(str_cat(sum, " += (double)", factor, " * ", places[d], ";"));
  }
  return str_cat("(", compute_type(c.output().dtype), ")", sum);
}

constexpr const char* kRoiCorners = R"(struct roi_corners {
  i64 row[4], column[4];
  double weight[4];
};
// The four pixels around a point; weights of zero outside of the image, which is not empty.
__device__ inline roi_corners roi_corners_at(double y, double x, i64 height, i64 width) {
  roi_corners r = {{0, 0, 0, 0}, {0, 0, 0, 0}, {0, 0, 0, 0}};
  if (!(y >= -1 && y <= (double)height && x >= -1 && x <= (double)width)) return r;
  y = y < 0 ? 0 : y;
  x = x < 0 ? 0 : x;
  i64 y0 = (i64)y < height - 1 ? (i64)y : height - 1;
  i64 x0 = (i64)x < width - 1 ? (i64)x : width - 1;
  i64 y1 = y0 + 1 < height - 1 ? y0 + 1 : height - 1;
  i64 x1 = x0 + 1 < width - 1 ? x0 + 1 : width - 1;
  double ty = y1 == y0 ? 0 : y - (double)y0;
  double tx = x1 == x0 ? 0 : x - (double)x0;
  roi_corners s = {{y0, y0, y1, y1}, {x0, x1, x0, x1},
                   {(1 - ty) * (1 - tx), (1 - ty) * tx, ty * (1 - tx), ty * tx}};
  return s;
})";

// A grid of samples in each bin of a box.
Result<std::string> roi_align(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<RoiAlignAttrs>();
  const std::vector<std::string>& in = c.input(0).dims;
  c.function(kRoiCorners);
  bool half = attrs.coordinate_transformation_mode == RoiCoordinates::kHalfPixel;
  std::string type(compute_type(c.output().dtype));
  std::string edge[4];
  for (size_t k = 0; k < 4; ++k) {
    REDLINE_ASSIGN(std::string v, c.read(1, {at[0], std::to_string(k)}));
    edge[k] =
        c.let("double", str_cat("(double)", v, " * ", float_literal(attrs.spatial_scale, "double"),
                                half ? " - 0.5" : ""));
  }
  std::string bin[2];
  std::string grid[2];
  for (size_t axis = 0; axis < 2; ++axis) {  // height, width
    size_t start = axis == 0 ? 1 : 0;
    std::string extent = c.variable("double", str_cat(edge[start + 2], " - ", edge[start]));
    if (!half) c.line(str_cat("if (", extent, " < 1) ", extent, " = 1;"));
    bin[axis] = c.let("double", str_cat(extent, " / (double)(", c.output().dims[axis + 2], ")"));
    grid[axis] =
        c.variable("i64", attrs.sampling_ratio != 0
                              ? int_literal(attrs.sampling_ratio)
                              : str_cat("saturating_i64(ceil(", bin[axis], "), 0, 1LL << 20)"));
  }
  // More samples than the reference takes: none, which shows as a NaN.
  std::string samples = c.let("i64", str_cat(grid[0], " * ", grid[1]));
  c.line(str_cat("if (", samples, " > (1LL << 24)) ", grid[0], " = 0;"));
  REDLINE_ASSIGN(std::string given, c.read(2, {at[0]}));
  std::string batch = index_inside(c, given, in[0]);
  std::string sum = c.variable(type, "0");
  std::string best =
      c.variable(type, str_cat(samples, " == 0 ? ", type, "(0) : ", type, "(-INFINITY)"));
  c.open(str_cat("if (", in[2], " > 0 && ", in[3], " > 0)"));
  std::string place[2];
  for (size_t axis = 0; axis < 2; ++axis) {
    std::string i = c.loop(grid[axis]);
    place[axis] = c.let(
        "double", str_cat(edge[axis == 0 ? 1 : 0], " + (double)(", at[axis + 2], ") * ", bin[axis],
                          " + ((double)", i, " + 0.5) * ", bin[axis], " / (double)", grid[axis]));
  }
  std::string corners = c.let("roi_corners", str_cat("roi_corners_at(", place[0], ", ", place[1],
                                                     ", (i64)(", in[2], "), (i64)(", in[3], "))"));
  std::string k = c.loop("4");
  REDLINE_ASSIGN(std::string value,
                 c.read(0, {batch, at[1], str_cat("(idx)", corners, ".row[", k, "]"),
                            str_cat("(idx)", corners, ".column[", k, "]")}));
  std::string v = c.let(type, str_cat("(", type, ")", corners, ".weight[", k, "] * ", value));
  c.line(str_cat(sum, " += ", v, ";"));
  c.line(str_cat("if (", best, " < ", v, ") ", best, " = ", v, ";"));
  for (int i = 0; i < 4; ++i) c.close();
  std::string count = str_cat("(", type, ")(", samples, " > 0 ? ", samples, " : 1)");
  std::string result = attrs.mode == RoiMode::kAvg ? str_cat(sum, " / ", count) : best;
  return str_cat("(", samples, " > (1LL << 24) ? ", type, "(NAN) : ", result, ")");
}

Result<std::string> max_roi_pool(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<MaxRoiPoolAttrs>();
  const std::vector<std::string>& in = c.input(0).dims;
  std::string type(compute_type(c.output().dtype));
  REDLINE_ASSIGN(std::string image, c.read(1, {at[0], "0"}));
  std::string batch =
      index_inside(c, str_cat("saturating_i64((double)", image, ", 0, 1LL << 40)"), in[0]);
  std::string scale = float_literal(attrs.spatial_scale, "double");
  auto pixel = [&](size_t column) -> Result<std::string> {
    REDLINE_ASSIGN(std::string v, c.read(1, {at[0], std::to_string(column)}));
    return c.let("i64", str_cat("saturating_i64(round((double)", v, " * ", scale,
                                "), -(1LL << 40), 1LL << 40)"));
  };
  std::string first[2];
  std::string last[2];
  for (size_t axis = 0; axis < 2; ++axis) {  // height, width
    REDLINE_ASSIGN(std::string low, pixel(axis == 0 ? 2 : 1));
    REDLINE_ASSIGN(std::string high, pixel(axis == 0 ? 4 : 3));
    std::string extent = c.let("i64", str_cat(high, " - ", low, " + 1"));
    std::string bin = c.let("double", str_cat("(double)(", extent, " > 1 ? ", extent,
                                              " : 1) / (double)(", c.output().dims[axis + 2], ")"));
    const std::string& o = at[axis + 2];
    auto bound = [&](const std::string& v) {
      std::string raw = c.let("i64", str_cat("(i64)(", v, ") + ", low));
      std::string size = str_cat("(i64)(", in[axis + 2], ")");
      return c.let("idx", str_cat("(idx)(", raw, " < 0 ? 0 : ", raw, " > ", size, " ? ", size,
                                  " : ", raw, ")"));
    };
    first[axis] = bound(str_cat("floor((double)(", o, ") * ", bin, ")"));
    last[axis] = bound(str_cat("ceil((double)(", o, " + 1) * ", bin, ")"));
  }
  std::string best =
      c.variable(type, str_cat(last[0], " <= ", first[0], " || ", last[1], " <= ", first[1], " ? ",
                               type, "(0) : ", type, "(-INFINITY)"));
  ElementIndex from = {batch, at[1]};
  for (size_t axis = 0; axis < 2; ++axis) {
    std::string i = c.variable("idx", first[axis]);
    c.open(str_cat("for (; ", i, " < ", last[axis], "; ++", i, ")"));
    from.push_back(i);
  }
  REDLINE_ASSIGN(std::string v, c.read(0, from));
  c.line(str_cat("if (", best, " < ", v, ") ", best, " = ", v, ";"));
  c.close();
  c.close();
  return best;
}

// The two elements around place `point` of one axis.
struct PlaceCode {
  std::string base, fraction;
};

Result<std::string> deform_conv(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<DeformConvAttrs>();
  const ElementOperand& w = c.input(1);
  const std::vector<std::string>& in = c.input(0).dims;
  std::vector<std::string> kernel(w.dims.begin() + 2, w.dims.end());
  size_t axes = kernel.size();
  std::vector<AxisCode> windows =
      window_code({attrs.strides, attrs.dilations, attrs.pads, AutoPad::kNotSet}, kernel,
                  c.input(0), c.output());
  std::string type(compute_type(c.output().dtype));
  std::string start = type + "(0)";
  if (c.has_input(3)) {
    REDLINE_ASSIGN(start, c.read(3, {at[1]}));
  }
  std::string acc = c.variable(type, start);
  std::string group =
      c.let("idx", str_cat("(", at[1], ") / ((", w.dims[0], ") / ", attrs.group, ")"));
  std::string i = c.loop(w.dims[1]);
  std::string channel = c.let("idx", str_cat(group, " * (", w.dims[1], ") + ", i));
  std::string row = c.let("idx", str_cat(channel, " / ((", in[1], ") / ", attrs.offset_group, ")"));
  ElementIndex tap = {at[1], i};
  for (size_t d = 0; d < axes; ++d) {
    tap.push_back(c.loop(kernel[d]));
    row = str_cat("(", row, " * (", kernel[d], ") + ", tap.back(), ")");
  }
  row = c.let("idx", row);
  ElementIndex beside(at.begin() + 2, at.end());
  std::vector<PlaceCode> places;
  for (size_t d = 0; d < axes; ++d) {
    ElementIndex where = {at[0], str_cat("(", row, " * ", axes, " + ", d, ")")};
    where.insert(where.end(), beside.begin(), beside.end());
    REDLINE_ASSIGN(std::string offset, c.read(2, where));
    std::string point = c.let(
        "double",
        str_cat("(double)(", windows[d].position(at[d + 2], tap[d + 2]), ") + (double)", offset));
    PlaceCode place;
    place.base =
        c.let("i64", str_cat("saturating_i64(floor(", point, "), -2, (i64)(", in[d + 2], ") + 1)"));
    place.fraction = c.variable("double", str_cat(point, " - (double)", place.base));
    // Far outside, or NaN: both neighbours are.
    c.line(str_cat("if (!(", place.fraction, " >= 0 && ", place.fraction, " <= 1)) ",
                   place.fraction, " = 0;"));
    places.push_back(std::move(place));
  }
  std::string scale = "1.0";
  if (c.has_input(4)) {
    ElementIndex where = {at[0], row};
    where.insert(where.end(), beside.begin(), beside.end());
    REDLINE_ASSIGN(std::string mask, c.read(4, where));
    scale = "(double)" + mask;
  }
  std::string weight = c.let("double", scale);
  ElementIndex from = {at[0], channel};
  for (size_t d = 0; d < axes; ++d) {
    std::string k = c.loop("2");
    std::string place = c.let("i64", str_cat(places[d].base, " + ", k));
    std::string own =
        c.let("double", str_cat(k, " == 0 ? 1 - ", places[d].fraction, " : ", places[d].fraction));
    c.open(
        str_cat("if (", place, " >= 0 && ", place, " < (i64)(", in[d + 2], ") && ", own, " != 0)"));
    weight = c.let("double", str_cat(weight, " * ", own));
    from.push_back("(idx)" + place);
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  REDLINE_ASSIGN(std::string factor, c.read(1, tap));
  c.line(str_cat(acc, " += (", type, ")", weight, " * ", value, " * ", factor, ";"));
  for (size_t n = 0; n < 3 * axes + 1; ++n) c.close();
  return acc;
}

}  // namespace

void register_element_sample(ElementRegistry& registry) {
  registry.add({.ops = {"grid_sample"}, .element = grid_sample, .loops = true});
  registry.add({.ops = {"affine_grid"}, .element = affine_grid});
  registry.add({.ops = {"roi_align"}, .element = roi_align, .loops = true, .refuses = true});
  registry.add({.ops = {"max_roi_pool"}, .element = max_roi_pool, .loops = true, .refuses = true});
  registry.add({.ops = {"deform_conv"}, .element = deform_conv, .loops = true});
}

}  // namespace redline
