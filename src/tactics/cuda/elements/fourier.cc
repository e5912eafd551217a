// SPDX-License-Identifier: Apache-2.0
#include "ops/fourier.h"

#include "ops/numeric.h"
#include "tactics/cuda/rule_code.h"

// Transforms as plain sums, in double: the sums are long, and their terms cancel.
namespace redline {
namespace {

constexpr const char* kTau = "6.283185307179586477";

// The cosine and sine of 2 pi * a * b / length; the product is reduced first, so that the angle is
// exact.
std::string angle(ElementContext& c, const std::string& a, const std::string& b,
                  const std::string& length) {
  return c.let("double", str_cat(kTau, " * (double)((i64)(", a, ") * (i64)(", b, ") % ", length,
                                 ") / (double)", length));
}

// The cosine and sine of an angle, by one call.
struct TurnCode {
  std::string cosine, sine;
};
TurnCode turn_code(ElementContext& c, const std::string& angle) {
  TurnCode turn{c.variable("double", "0"), c.variable("double", "0")};
  c.line(str_cat("sincos(", angle, ", &", turn.sine, ", &", turn.cosine, ");"));
  return turn;
}

// Adds value * (cos + sign i sin), its real or (part 1) imaginary half.
void add_turned(ElementContext& c, const std::string& sum, const std::string& part,
                const TurnCode& turn, int sign, const std::string& re, const std::string& im) {
  const char* plus = sign > 0 ? " + " : " - ";
  const char* minus = sign > 0 ? " - " : " + ";
  c.line(str_cat(sum, " += ", part, " == 0 ? ", re, " * ", turn.cosine, minus, im, " * ", turn.sine,
                 " : ", im, " * ", turn.cosine, plus, re, " * ", turn.sine, ";"));
}

struct Complex {
  std::string re, im;
};

// The number whose real part is there; the axis of parts is the last.
Result<Complex> read_complex(ElementContext& c, ElementIndex from) {
  const std::string& parts = c.input(0).dims.back();
  from.back() = "0";
  REDLINE_ASSIGN(std::string re, c.read(0, from));
  Complex value{c.let("double", "(double)" + re), c.variable("double", "0")};
  if (parts == "1") return value;
  if (parts != "2") c.open(str_cat("if (", parts, " == 2)"));
  from.back() = "1";
  REDLINE_ASSIGN(std::string im, c.read(0, from));
  c.line(str_cat(value.im, " = (double)", im, ";"));
  if (parts != "2") c.close();
  return value;
}

Result<std::string> dft(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<DftAttrs>();
  const ElementOperand& in = c.input(0);
  int64_t given = -2;
  std::string run_axis;  // where it comes with the run
  if (c.has_input(2) && in.rank() > 0 && c.input(2).constant == nullptr) {
    REDLINE_ASSIGN(std::string value, read_scalar(c, 2));
    run_axis = axis_from_front(c, value, in.rank());
  } else if (c.has_input(2)) {
    REDLINE_ASSIGN(std::vector<int64_t> axes, c.constant_ints(2));
    given = axes[0];
  }
  size_t axis = at_axis(given, in.rank());
  bool real_result = attrs.inverse && attrs.onesided;
  std::string size = run_axis.empty() ? in.dims[axis] : c.let("idx", chosen_by(run_axis, in.dims));
  size = str_cat("(i64)(", size, ")");
  std::string place = run_axis.empty() ? at[axis] : c.let("idx", chosen_by(run_axis, at));
  std::string length = real_result ? str_cat("2 * (", size, " - 1)") : size;
  if (c.has_input(1)) {
    REDLINE_ASSIGN(length, int_entry(c, 1, 0));
  }
  length = c.let("i64", length);
  // Of the spectrum of a real signal the first half tells the second.
  std::string terms = real_result ? str_cat("(", length, " / 2 + 1)") : length;
  terms = c.let("idx", str_cat("(idx)(", terms, " < ", size, " ? ", terms, " : ", size, ")"));
  std::string sum = c.variable("double", "0");
  ElementIndex from = at;
  keep_rolled(c);
  std::string term = c.loop(terms);
  if (run_axis.empty()) {
    from[axis] = term;
  } else {
    from = replaced_along(run_axis, at, term);
  }
  REDLINE_ASSIGN(Complex x, read_complex(c, from));
  TurnCode turn = turn_code(c, angle(c, term, place, length));
  if (real_result) {
    std::string edge = c.let("bool", str_cat("2 * (i64)", term, " % ", length, " == 0"));
    c.line(str_cat(sum, " += ", edge, " ? ", x.re, " * ", turn.cosine, " : 2 * (", x.re, " * ",
                   turn.cosine, " - ", x.im, " * ", turn.sine, ");"));
  } else {
    add_turned(c, sum, at.back(), turn, attrs.inverse ? 1 : -1, x.re, x.im);
  }
  c.close();
  if (attrs.inverse) sum += str_cat(" / (double)", length);
  return str_cat("(", compute_type(c.output().dtype), ")(", sum, ")");
}

Result<std::string> stft(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  REDLINE_ASSIGN(std::string step, int_entry(c, 1, 0));
  std::string total = str_cat("(i64)(", in.dims[1], ")");
  std::string length = c.has_input(2) ? str_cat("(i64)(", c.input(2).dims[0], ")") : total;
  if (c.has_input(3)) {
    REDLINE_ASSIGN(length, int_entry(c, 3, 0));
  }
  length = c.let("i64", length);
  std::string start = c.let("i64", str_cat("(i64)(", at[1], ") * ", step));
  // A step or a length that does not fit the sizes leads nowhere outside.
  std::string most = str_cat("(", length, " < ", total, " ? ", length, " : ", total, ")");
  most = c.let("i64", most);
  if (c.has_input(2)) {
    std::string window = str_cat("(i64)(", c.input(2).dims[0], ")");
    most = c.let("i64", str_cat(most, " < ", window, " ? ", most, " : ", window));
  }
  std::string terms = c.let("idx", str_cat("(idx)", most));
  std::string sum = c.variable("double", "0");
  keep_rolled(c);
  std::string k = c.loop(terms);
  std::string place = c.let("i64", str_cat(start, " + ", k));
  c.open(str_cat("if (", place, " >= 0 && ", place, " < ", total, ")"));
  REDLINE_ASSIGN(Complex x, read_complex(c, {at[0], "(idx)" + place, "0"}));
  std::string weight = "1.0";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(std::string w, c.read(2, {k}));
    weight = "(double)" + w;
  }
  TurnCode turn = turn_code(c, angle(c, k, at[2], length));
  std::string re = c.let("double", str_cat(x.re, " * ", weight));
  std::string im = c.let("double", str_cat(x.im, " * ", weight));
  add_turned(c, sum, at[3], turn, -1, re, im);
  c.close();
  c.close();
  return str_cat("(", compute_type(c.output().dtype), ")", sum);
}

// A double as an element of the type; integers truncate.
std::string number_as(DType dtype, const std::string& value) {
  if (!is_int(dtype)) return str_cat("(", compute_type(dtype), ")(", value, ")");
  return str_cat("(", compute_type(dtype), ")saturating_i64(", value, ", ",
                 int_literal(int_min(dtype)), ", ", int_literal(int_max(dtype)), ")");
}

Result<std::string> cosine_window(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<CosineWindowAttrs>();
  std::string period =
      c.let("i64", str_cat("(i64)(", c.output().dims[0], ")", attrs.periodic ? "" : " - 1"));
  std::string sum = c.variable("double", "0");
  double sign = 1;
  for (size_t k = 0; k < attrs.coefficients.size(); ++k, sign = -sign) {
    // One sample has no period: the peak, where all terms add up.
    std::string turn =
        str_cat(kTau, " * (double)(", k, "LL * (i64)(", at[0], ")) / (double)", period);
    c.line(str_cat(sum, " += ", float_literal(sign * attrs.coefficients[k], "double"), " * cos(",
                   period, " == 0 ? ", kTau, " / 2 * ", k, " : ", turn, ");"));
  }
  return number_as(c.output().dtype, sum);
}

Result<std::string> mel_weight_matrix(ElementContext& c, const ElementIndex& at) {
  c.function(
      "__device__ inline double hertz_to_mel(double hertz) {\n"
      "  return 2595 * log10(1 + hertz / 700);\n}\n"
      "__device__ inline double mel_to_hertz(double mel) {\n"
      "  return 700 * (pow(10.0, mel / 2595) - 1);\n}");
  std::string operand[5];
  for (size_t i = 0; i < 5; ++i) {
    REDLINE_ASSIGN(std::string v, read_scalar(c, i));
    operand[i] = c.let("double", "(double)" + v);
  }
  std::string low = c.let("double", str_cat("hertz_to_mel(", operand[3], ")"));
  std::string step = c.let(
      "double", str_cat("(hertz_to_mel(", operand[4], ") - ", low, ") / (", operand[0], " + 2)"));
  std::string edge[3];
  for (int k = 0; k < 3; ++k) {
    std::string hertz = c.let("double", str_cat("mel_to_hertz(", low, " + (double)(", at[1], " + ",
                                                k, ") * ", step, ")"));
    edge[k] = c.let("i64", str_cat("saturating_i64(floor((", operand[1], " + 1) * ", hertz, " / ",
                                   operand[2], "), -1, (i64)(", c.output().dims[0], "))"));
  }
  std::string row = c.let("i64", str_cat("(i64)(", at[0], ")"));
  std::string y = c.variable("double", "0");
  c.line(str_cat("if (", edge[0], " == ", edge[1], " && ", row, " == ", edge[1], ") ", y, " = 1;"));
  c.line(str_cat("if (", edge[0], " < ", edge[1], " && ", row, " >= ", edge[0], " && ", row,
                 " <= ", edge[1], ") ", y, " = (double)(", row, " - ", edge[0], ") / (double)(",
                 edge[1], " - ", edge[0], ");"));
  c.line(str_cat("if (", row, " >= ", edge[1], " && ", row, " < ", edge[2], ") ", y, " = (double)(",
                 edge[2], " - ", row, ") / (double)(", edge[2], " - ", edge[1], ");"));
  return number_as(c.output().dtype, y);
}

}  // namespace

void register_element_fourier(ElementRegistry& registry) {
  registry.add({.ops = {"dft"}, .element = dft, .loops = true, .refuses = true});
  registry.add({.ops = {"stft"}, .element = stft, .loops = true});
  registry.add({.ops = {"cosine_window"}, .element = cosine_window});
  registry.add({.ops = {"mel_weight_matrix"}, .element = mel_weight_matrix});
}

}  // namespace redline
