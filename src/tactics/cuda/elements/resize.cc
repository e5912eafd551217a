// SPDX-License-Identifier: Apache-2.0
#include "ops/resize.h"

#include "ops/elements.h"
#include "ops/numeric.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// One resized axis as code. Coordinates are in double, as the reference has them.
struct AxisCode {
  size_t axis = 0;
  std::string in, out, scale;
  std::string roi_start, roi_end;
  // Whether the axis stays as it is: "true", or a condition.
  std::string same;
  std::string x;  // the input coordinate
};

std::string as_double(const std::string& text) { return str_cat("(double)(", text, ")"); }

// The scales' elements, where they are known.
std::optional<double> known_number(const ElementContext& c, size_t i, size_t k) {
  const Tensor* constant = c.input(i).constant;
  if (constant == nullptr || static_cast<int64_t>(k) >= constant->count()) return std::nullopt;
  return read_elements<double>(constant->view())[k];
}

Result<std::string> number(ElementContext& c, size_t i, size_t k) {
  if (std::optional<double> value = known_number(c, i, k)) return float_literal(*value, "double");
  REDLINE_ASSIGN(std::string value, c.read(i, {std::to_string(k)}));
  return c.let("double", "(double)" + value);
}

std::string coordinate(ResizeCoordinates mode, const AxisCode& a, const std::string& o) {
  std::string x = as_double(o);
  std::string last = str_cat("(", as_double(a.in), " - 1)");
  std::string width = str_cat("(", a.scale, " * ", as_double(a.in), ")");
  std::string centre = str_cat("(", x, " + 0.5) / ", a.scale);
  switch (mode) {
    case ResizeCoordinates::kHalfPixel:
      return centre + " - 0.5";
    case ResizeCoordinates::kHalfPixelSymmetric:
      return str_cat(as_double(a.in), " / 2 * (1 - ", as_double(a.out), " / ", width, ") + ",
                     centre, " - 0.5");
    case ResizeCoordinates::kPytorchHalfPixel:
      return str_cat(width, " == 1 ? -0.5 : ", centre, " - 0.5");
    case ResizeCoordinates::kAlignCorners:
      return str_cat(width, " == 1 ? 0 : ", x, " * ", last, " / (", width, " - 1)");
    case ResizeCoordinates::kAsymmetric:
      return str_cat(x, " / ", a.scale);
    case ResizeCoordinates::kTfHalfPixelForNn:
      return centre;
    case ResizeCoordinates::kTfCropAndResize: {
      std::string extent = str_cat("((", a.roi_end, " - ", a.roi_start, ") * ", last, ")");
      return str_cat(a.roi_start, " * ", last, " + (", width, " == 1 ? ", extent, " / 2 : ", x,
                     " * ", extent, " / (", width, " - 1))");
    }
  }
  return x;
}

// The scale that all axes share, for the policies that keep the aspect ratio.
Result<std::string> common_scale(ElementContext& c, const std::vector<size_t>& axes) {
  bool smaller = c.attrs<ResizeAttrs>().keep_aspect_ratio_policy == KeepAspectRatio::kNotLarger;
  std::string result;
  for (size_t i = 0; i < axes.size(); ++i) {
    REDLINE_ASSIGN(std::string wanted, int_entry(c, 3, i));
    std::string scale =
        c.let("double", str_cat(as_double(wanted), " / ", as_double(c.input(0).dims[axes[i]])));
    result = result.empty() ? scale
                            : c.let("double", str_cat(scale, smaller ? " < " : " > ", result, " ? ",
                                                      scale, " : ", result));
  }
  return result;
}

Result<std::vector<AxisCode>> axis_codes(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  const ElementOperand& in = c.input(0);
  std::vector<size_t> axes;
  for (int64_t axis : attrs.axes) axes.push_back(at_axis(axis, in.rank()));
  for (size_t i = 0; attrs.axes.empty() && i < at.size(); ++i) axes.push_back(i);
  bool crops = attrs.coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize;
  bool keeps = !c.has_input(2) && attrs.keep_aspect_ratio_policy != KeepAspectRatio::kStretch;
  std::string common;
  if (keeps) {
    REDLINE_ASSIGN(common, common_scale(c, axes));
  }
  std::vector<AxisCode> result;
  for (size_t i = 0; i < axes.size(); ++i) {
    AxisCode a{axes[i], in.dims[axes[i]], c.output().dims[axes[i]]};
    std::optional<int64_t> from = in.static_dim(static_cast<int>(axes[i]));
    std::optional<int64_t> to = c.output().static_dim(static_cast<int>(axes[i]));
    std::optional<double> scale;
    if (c.has_input(2)) {
      scale = known_number(c, 2, i);
      REDLINE_ASSIGN(a.scale, number(c, 2, i));
    } else if (keeps) {
      a.scale = common;
    } else {
      if (from && to && *from > 0) scale = static_cast<double>(*to) / static_cast<double>(*from);
      a.scale = c.let("double", str_cat(as_double(a.out), " / ", as_double(a.in)));
    }
    if (crops) {
      REDLINE_ASSIGN(a.roi_start, number(c, 1, i));
      REDLINE_ASSIGN(a.roi_end, number(c, 1, axes.size() + i));
    }
    if (!crops && scale == 1.0 && from && from == to) continue;
    bool differs = (scale && *scale != 1) || (from && to && *from != *to);
    a.same = differs ? "false"
                     : c.let("bool", str_cat(a.in, " == ", a.out, " && ", a.scale, " == 1",
                                             crops ? str_cat(" && ", a.roi_start, " == 0 && ",
                                                             a.roi_end, " == 1")
                                                   : ""));
    a.x = c.let("double", coordinate(attrs.coordinate_transformation_mode, a, at[axes[i]]));
    result.push_back(std::move(a));
  }
  return result;
}

// Where there is something to read for all axes.
std::string covered(const ElementContext& c, const std::vector<AxisCode>& axes) {
  bool crops =
      c.attrs<ResizeAttrs>().coordinate_transformation_mode == ResizeCoordinates::kTfCropAndResize;
  std::string inside = "true";
  for (const AxisCode& a : axes) {
    if (crops) {
      inside += str_cat(" && (", a.same, " || (", a.x, " >= 0 && ", a.x, " <= ", as_double(a.in),
                        " - 1))");
    }
    inside += str_cat(" && ", a.in, " > 0");
  }
  return inside;
}

std::string rounding(ResizeNearest mode, const std::string& x) {
  switch (mode) {
    case ResizeNearest::kRoundPreferFloor:
      return str_cat("ceil(", x, " - 0.5)");
    case ResizeNearest::kRoundPreferCeil:
      return str_cat("floor(", x, " + 0.5)");
    case ResizeNearest::kFloor:
      return str_cat("floor(", x, ")");
    default:
      return str_cat("ceil(", x, ")");
  }
}

Result<std::string> nearest(ElementContext& c, const ElementIndex& at,
                            const std::vector<AxisCode>& axes) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  DType dtype = c.output().dtype;
  std::string type(compute_type(dtype));
  double beyond = attrs.extrapolation_value;
  std::string fill = is_float(dtype)         ? float_literal(beyond, type)
                     : dtype == DType::kBool ? std::string(beyond != 0 ? "true" : "false")
                     : is_signed_int(dtype)
                         ? int_literal(saturating_int64(beyond, INT64_MIN, INT64_MAX))
                         : str_cat(saturating_uint64(beyond), "ull");
  std::string result = c.variable(type, fill);
  c.open(str_cat("if (", covered(c, axes), ")"));
  ElementIndex from = at;
  for (const AxisCode& a : axes) {
    std::string index = str_cat("(idx)saturating_i64(", rounding(attrs.nearest_mode, a.x),
                                ", 0, (i64)(", a.in, ") - 1)");
    from[a.axis] = c.let(
        "idx", a.same == "false" ? index : str_cat(a.same, " ? (idx)(", at[a.axis], ") : ", index));
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  c.line(str_cat(result, " = ", value, ";"));
  c.close();
  return result;
}

// The taps [first, last) around base along an axis, and what their weights are divided by.
struct TapCode {
  std::string first, last, base, stretch, sum;
};

std::string weight_of(const ResizeAttrs& attrs, const AxisCode& a, const TapCode& t,
                      const std::string& k) {
  std::string distance = str_cat("((double)(", t.base, " + ", k, ") - ", a.x, ") * ", t.stretch);
  std::string weight = attrs.mode == ResizeMode::kLinear
                           ? str_cat("resize_linear(", distance, ")")
                           : str_cat("resize_cubic(", distance, ", ",
                                     float_literal(attrs.cubic_coeff_a, "double"), ")");
  return a.same == "false" ? weight : str_cat("(", a.same, " ? 1.0 : ", weight, ")");
}

TapCode taps_of(ElementContext& c, const AxisCode& a, const std::string& o) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  TapCode t;
  t.stretch =
      attrs.antialias ? c.let("double", str_cat(a.scale, " < 1 ? ", a.scale, " : 1.0")) : "1.0";
  std::string floor = str_cat("saturating_i64(floor(", a.x, "), -(1LL << 50), 1LL << 50)");
  std::string reach = attrs.mode == ResizeMode::kLinear ? "-1.0" : "-2.0";
  // However small a scale is, no tap that counts is farther than this.
  std::string first = attrs.antialias ? str_cat("saturating_i64(floor(", reach, " / ", t.stretch,
                                                "), -4 * (i64)(", a.in, ") - 4, 0) + 1")
                                      : str_cat("(i64)(", reach, ") + 1");
  bool known = a.same == "false";
  t.base = c.let("i64", known ? floor : str_cat(a.same, " ? (i64)(", o, ") : ", floor));
  t.first = c.let("i64", known ? first : str_cat(a.same, " ? 0LL : ", first));
  t.last =
      c.let("i64", known ? str_cat("2 - ", t.first) : str_cat(a.same, " ? 1LL : 2 - ", t.first));
  if (!attrs.exclude_outside && !attrs.antialias) return t;
  t.sum = c.variable("double", "0");
  c.open(str_cat("for (i64 k = ", t.first, "; k < ", t.last, "; ++k)"));
  if (attrs.exclude_outside) {
    c.line(str_cat("if (", t.base, " + k < 0 || ", t.base, " + k >= (i64)(", a.in, ")) continue;"));
  }
  c.line(str_cat(t.sum, " += ", weight_of(attrs, a, t, "k"), ";"));
  c.close();
  c.line(str_cat("if (", t.sum, " == 0) ", t.sum, " = 1;"));
  return t;
}

Result<std::string> interpolated(ElementContext& c, const ElementIndex& at,
                                 const std::vector<AxisCode>& axes) {
  const auto& attrs = c.attrs<ResizeAttrs>();
  c.function(
      "__device__ inline double resize_linear(double x) {\n"
      "  x = fabs(x);\n  return x < 1 ? 1 - x : 0;\n}");
  c.function(
      "__device__ inline double resize_cubic(double x, double a) {\n  x = fabs(x);\n"
      "  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;\n"
      "  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;\n}");
  DType dtype = c.output().dtype;
  // Integers are rounded at the end: a tie must be one.
  std::string type = is_float(dtype) ? std::string(compute_type(dtype)) : "double";
  std::string acc = c.variable(type, float_literal(attrs.extrapolation_value, type));
  c.open(str_cat("if (", covered(c, axes), ")"));
  c.line(str_cat(acc, " = 0;"));
  std::vector<TapCode> taps;
  for (const AxisCode& a : axes) taps.push_back(taps_of(c, a, at[a.axis]));
  ElementIndex from = at;
  std::string weight;
  for (size_t i = 0; i < axes.size(); ++i) {
    const AxisCode& a = axes[i];
    std::string k = c.variable("i64", taps[i].first);
    c.open(str_cat("for (; ", k, " < ", taps[i].last, "; ++", k, ")"));
    std::string place = c.let("i64", str_cat(taps[i].base, " + ", k));
    if (attrs.exclude_outside) {
      c.line(str_cat("if (", place, " < 0 || ", place, " >= (i64)(", a.in, ")) continue;"));
    }
    std::string own = weight_of(attrs, a, taps[i], k);
    if (!taps[i].sum.empty()) own += str_cat(" / ", taps[i].sum);
    weight = c.let("double", weight.empty() ? own : str_cat(weight, " * (", own, ")"));
    from[a.axis] = c.let("idx", str_cat("(idx)(", place, " < 0 ? 0 : ", place, " >= (i64)(", a.in,
                                        ") ? (i64)(", a.in, ") - 1 : ", place, ")"));
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  c.line(weight.empty() ? str_cat(acc, " = (", type, ")", value, ";")
                        : str_cat(acc, " += (", type, ")", weight, " * (", type, ")", value, ";"));
  for (size_t i = 0; i < axes.size(); ++i) c.close();
  c.close();
  if (is_float(dtype)) return acc;
  return str_cat("(", compute_type(dtype), ")saturating_i64(rint(", acc, "), ",
                 int_literal(int_min(dtype)), ", ", int_literal(int_max(dtype)), ")");
}

Result<std::string> resize(ElementContext& c, const ElementIndex& at) {
  REDLINE_ASSIGN(std::vector<AxisCode> axes, axis_codes(c, at));
  return c.attrs<ResizeAttrs>().mode == ResizeMode::kNearest ? nearest(c, at, axes)
                                                             : interpolated(c, at, axes);
}

}  // namespace

void register_element_resize(ElementRegistry& registry) {
  registry.add({.ops = {"resize"}, .element = resize});
}

}  // namespace redline
