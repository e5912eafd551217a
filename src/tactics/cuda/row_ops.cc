// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/row_ops.h"

#include "ops/arg_max.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/lp_norm.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// A state of one number.
struct Fold {
  std::string start, add, merge;  // of "s" and "v", of "a" and "b"
};

std::string float_of(DType dtype) { return dtype == DType::kFloat64 ? "double" : "float"; }

constexpr const char* kLog2E = "1.44269504f";

bool is_real(std::string_view op) {
  return op == "reduce_l2" || op == "reduce_log_sum" || op == "reduce_log_sum_exp";
}

// What states are computed in.
std::string state_type(std::string_view op, DType source) {
  if (!is_float(source) && is_real(op)) return "double";
  return std::string(compute_type(source));
}

std::string function(const std::string& head, const std::string& body) {
  return str_cat("  static __device__ inline ", head, " { ", body, " }\n");
}

std::string state(const char* name, const std::string& type, const Fold& fold, bool second) {
  std::string from = second ? type : "Value";
  std::string add =
      second ? "add_second(Second& state, Work v)" : "add(First& state, Value x, idx)";
  return str_cat(
      "  struct ", name, " { ", type, " v; };\n",
      function(str_cat(name, second ? " second()" : " first()"),
               str_cat("return {", fold.start, "};")),
      function("void " + add, str_cat(second ? "" : str_cat("const Work v = (Work)x; "), "const ",
                                      type, " s = state.v; state.v = ", fold.add, ";")),
      function(str_cat(name, second ? " merge_second" : " merge_first", "(const ", name,
                       "& p, const ", name, "& q)"),
               str_cat("const ", type, " a = p.v, b = q.v; return {", fold.merge, "};")));
}

Fold sum_of(const std::string& type, const std::string& term) {
  if (type == "i64") {
    return {"0", str_cat("(i64)((u64)s + (u64)(", term, "))"), "(i64)((u64)a + (u64)b)"};
  }
  return {"0", str_cat("s + ", term), "a + b"};
}

// The greatest or the least; a NaN is both.
Fold extreme_of(const std::string& start, bool max) {
  const char* function = max ? "maximum" : "minimum";
  return {start, str_cat(function, "(s, v)"), str_cat(function, "(a, b)")};
}

Fold fold_of(std::string_view op, DType source, const std::string& type) {
  if (op == "reduce_max") return extreme_of(extreme(source, type, false), true);
  if (op == "reduce_min") return extreme_of(extreme(source, type, true), false);
  if (op == "reduce_prod") {
    if (type == "i64") return {"1", "(i64)((u64)s * (u64)v)", "(i64)((u64)a * (u64)b)"};
    return {"1", "s * v", "a * b"};
  }
  if (op == "reduce_l1") {
    if (type == "u64") return sum_of(type, "v");
    return sum_of(type, type == "i64" ? "(v < 0 ? 0 - (u64)v : (u64)v)" : "fabs(v)");
  }
  if (op == "reduce_sum_square" || op == "reduce_l2") {
    return sum_of(type, type == "i64" ? "(u64)v * (u64)v" : "v * v");
  }
  return sum_of(type, "v");
}

std::string integer_log(const std::string& wide) {
  return str_cat("(", wide, ")saturating_i64(r, -4611686018427387904LL, 4611686018427387904LL)");
}

// From a row's sum, "s", and its length, "n", to the result.
std::string reduced(std::string_view op, DType source, const std::string& type) {
  std::string wide(compute_type(source));
  if (op == "reduce_l2") return str_cat("(", wide, ")sqrt(s)");
  if (op == "reduce_log_sum") {
    return is_float(source) ? "log(s)" : str_cat("saturated_log(s)");
  }
  if (op == "reduce_mean") {
    if (is_float(source)) return str_cat("s / ", type, "(n)");
    return str_cat("(n == 0 ? ", type, "(0) : s / (", type, ")n)");
  }
  return "s";
}

std::string identity_transform() {
  return function("Work transform(Value x, const First&)", "return (Work)x;");
}
// Like "settle", for what is said of parts: nearly that, always the same, and soon.
std::string about(const std::string& body = "return settle(first, n);") {
  return function("First about(const First& first, i64 n)", body);
}
std::string keep_first() {
  return function("First settle(First first, i64)", "return first;") + about();
}
std::string no_second() {
  return "  struct Second { int unused; };\n" + function("Second second()", "return {0};") +
         function("void add_second(Second&, Work)", "") +
         function("Second merge_second(const Second& a, const Second&)", "return a;");
}
// What a second state of "n" elements is when the first one is not "from" but "to".
std::string moved(const std::string& value) {
  return function("Second moved(const Second& s, const First& from, const First& to, i64 n)",
                  str_cat("return {", value, "};"));
}
// Of "first", "second" and the row's length "n".
std::string stat(const std::string& fields, std::string body) {
  body.replace(body.rfind("return {"), 8, "return {first, ");
  return str_cat("  struct Stat { First first; ", fields, " };\n",
                 function("Stat stat(const First& first, const Second& second, i64 n)", body));
}

std::string reduction(std::string_view op, DType source, const std::string& type) {
  std::string wide(compute_type(source));
  if (op != "reduce_log_sum_exp") {
    std::string result = reduced(op, source, type);
    std::string body = str_cat("const ", type, " s = first.v; ");
    if (op == "reduce_log_sum" && !is_float(source)) {
      body += str_cat("const double r = log(s); return {", integer_log(wide), "};");
    } else {
      body += str_cat("return {", result, "};");
    }
    return state("First", type, fold_of(op, source, type), false) + keep_first() +
           identity_transform() + no_second() + stat(wide + " result;", body);
  }
  std::string body = str_cat("const ", type, " r = log(second.v) + first.v; return {",
                             is_float(source) ? "r" : integer_log(wide), "};");
  return state("First", type, extreme_of(type + "(-INFINITY)", true), false) +
         // Infinite ones are not subtracted.
         function("First settle(First first, i64)",
                  str_cat("return {first.v - first.v == 0 ? first.v : ", type, "(0)};")) +
         about() +
         function("Work transform(Value x, const First& first)", "return exp((Work)x - first.v);") +
         state("Second", type, sum_of(type, "v"), true) +
         // A part of none but -inf has a sum of 0.
         moved("s.v == 0 || from.v == to.v ? s.v : s.v * exp(from.v - to.v)") +
         stat(wide + " result;", body);
}

// Exponentials less the greatest, which where all are -inf is taken for 0: they are then 0, and
// what 0 is divided by their sum is a NaN.
std::string softmax(DType source, const std::string& type) {
  std::string infinite = type + "(-INFINITY)";
  std::string shift = str_cat("first.v == ", infinite, " ? ", type, "(0) : first.v");
  std::string power = "exp(x - shift(first))";
  std::string change = "exp(from.v - to.v)";
  // What parts of a sum are multiplied by, in float.
  std::string quick = str_cat("exp2_or_zero((from.v - to.v) * ", kLog2E, ")");
  if (type == "double") quick = change;
  if (source == DType::kBFloat16)
    power = str_cat("exp2_or_zero((x - shift(first)) * ", kLog2E, ")");
  if (source == DType::kFloat16) {
    // One rounding: that of the shift, which for fp16 is no more than 1e5, is the same for all
    // elements, so that it is divided out.
    shift = str_cat("rounded_product(", shift, ", ", kLog2E, ")");
    power = str_cat("exp2_or_zero(fmaf(x, ", kLog2E, ", -shift(first)))");
    quick = change = "exp2_or_zero(shift(from) - shift(to))";
  }
  return state("First", type, extreme_of(infinite, true), false) + keep_first() +
         function("Work shift(const First& first)", str_cat("return ", shift, ";")) +
         function("Work transform(Value x, const First& first)", str_cat("return ", power, ";")) +
         function("Work chosen(const First& from, const First& to, Work change)",
                  str_cat("return from.v == to.v ? ", type, "(1) : from.v == ", infinite, " ? ",
                          type, "(0) : change;")) +
         function("Work carry(const First& from, const First& to)",
                  str_cat("return chosen(from, to, ", change, ");")) +
         state("Second", type, sum_of(type, "v"), true) +
         moved(str_cat("s.v * chosen(from, to, ", quick, ")")) +
         stat(type + " value;", "return {1 / second.v};");
}

std::string log_softmax(DType source, const std::string& type) {
  bool narrow = source == DType::kFloat16 || source == DType::kBFloat16;
  return state("First", type, extreme_of(type + "(-INFINITY)", true), false) + keep_first() +
         function("Work transform(Value x, const First& first)", "return x - first.v;") +
         state("Second", type,
               sum_of(type, narrow ? str_cat("exp2_or_zero(v * ", kLog2E, ")") : "exp(v)"), true) +
         moved(str_cat("from.v == to.v ? s.v : from.v == ", type, "(-INFINITY) ? ", type,
                       "(0) : s.v * exp(from.v - to.v)")) +
         stat(type + " value;", "return {log(second.v)};");
}

// (x - mean), and the sum of its squares.
std::string centred(const std::string& type, const std::string& scale) {
  return state("First", type, sum_of(type, "v"), false) +
         function("First settle(First first, i64 n)",
                  str_cat("return {first.v / (", type, ")n};")) +
         (type == "float" ? about("return {first.v * quick_reciprocal((float)n)};") : about()) +
         function("Work transform(Value x, const First& first)", "return x - first.v;") +
         state("Second", type, sum_of(type, "v * v"), true) +
         moved(str_cat("s.v + (from.v - to.v) * (from.v - to.v) * (", type, ")n")) +
         stat(str_cat(type, " mean, scale;"), str_cat("const ", type, " variance = second.v / (",
                                                      type, ")n; return {first.v, ", scale, "};"));
}

std::string uncentred(const std::string& type, const std::string& term, const std::string& scale) {
  return state("First", type, sum_of(type, term), false) + keep_first() + identity_transform() +
         no_second() +
         stat(type + " scale;", str_cat("const ", type, " s = first.v; return {", scale, "};"));
}

// Where the extreme is. `last`: the last of equal ones.
std::string place(const BodyNode& anchor, const std::string& type) {
  bool max = anchor.op->name != "arg_min";
  bool last =
      anchor.op->name.starts_with("arg_") && anchor.attrs.as<ArgReduceAttrs>().select_last_index;
  std::string sooner = last ? "a.k > b.k" : "a.k < b.k";
  std::string better = str_cat(
      "if (b.k < 0) return true; if (a.k < 0) return false; ",
      "const bool nan_a = a.v != a.v, nan_b = b.v != b.v; if (nan_a != nan_b) return nan_a; ",
      "return nan_a || a.v == b.v ? ", sooner, " : a.v ", max ? ">" : "<", " b.v;");
  return str_cat("  struct First { idx k; ", type, " v; };\n") +
         function("First first()", "First none; none.k = -1; none.v = 0; return none;") +
         function("bool better(const First& a, const First& b)", better) +
         function("First merge_first(const First& a, const First& b)",
                  "return better(a, b) ? a : b;") +
         function("void add(First& s, Value x, idx k)",
                  "First one; one.k = k; one.v = x; if (better(one, s)) s = one;") +
         keep_first() + identity_transform() + no_second() +
         stat("i64 place;", "return {first.k < 0 ? 0 : first.k};");
}

std::string reciprocal_root(const std::string& type, const std::string& square, float epsilon) {
  return str_cat(type, "(1) / sqrt(", square, " + ", float_literal(epsilon, type), ")");
}

std::string op_text(const BodyNode& anchor, DType source, const std::string& type) {
  std::string_view op = anchor.op->name;
  if (op == "hardmax" || op.starts_with("arg_")) return place(anchor, type);
  if (op.starts_with("reduce_")) return reduction(op, source, type);
  if (op == "softmax") return softmax(source, type);
  if (op == "log_softmax") return log_softmax(source, type);
  if (op == "lp_norm") {
    bool one = anchor.attrs.as<LpNormAttrs>().p == 1;
    return uncentred(type, one ? "fabs(v)" : "v * v", one ? "s" : "sqrt(s)");
  }
  if (op == "rms_norm") {
    return uncentred(type, "v * v",
                     reciprocal_root(type, str_cat("s / (", type, ")n"),
                                     anchor.attrs.as<LayerNormAttrs>().epsilon));
  }
  if (op == "mean_variance_norm")
    return centred(type, str_cat("sqrt(variance) + ", type, "(1e-9)"));
  float epsilon = op == "layer_norm"   ? anchor.attrs.as<LayerNormAttrs>().epsilon
                  : op == "group_norm" ? anchor.attrs.as<GroupNormAttrs>().epsilon
                                       : anchor.attrs.as<InstanceNormAttrs>().epsilon;
  return centred(type, reciprocal_root(type, "variance", epsilon));
}

bool has_second(std::string_view op) {
  return op == "reduce_log_sum_exp" || op == "softmax" || op == "log_softmax" ||
         op == "layer_norm" || op == "group_norm" || op == "instance_norm" ||
         op == "mean_variance_norm";
}

// Fewer where states and elements fill the registers.
int unroll(std::string_view op, const std::string& type) {
  if (op == "hardmax" || op.starts_with("arg_")) return 1;
  return type == "float" ? 4 : 2;
}

}  // namespace

RowOp write_row_op(const BodyNode& anchor, DType source, bool applies, bool raw) {
  RowOp result;
  std::string_view op = anchor.op->name;
  std::string type = state_type(op, source);
  result.twice = has_second(op);
  result.in_place = result.twice && !raw && type == compute_type(source);
  auto flag = [](const char* name, bool value) {
    return str_cat("  static constexpr bool ", name, " = ", value ? "true" : "false", ";\n");
  };
  result.text =
      str_cat("struct Op {\n  typedef ", compute_type(source), " Value;\n  typedef ", type,
              " Work;\n", flag("kTwice", result.twice), flag("kInPlace", result.in_place),
              flag("kCarries", result.in_place && op == "softmax"), flag("kApplies", applies),
              "  static constexpr int kUnroll = ", unroll(op, type), ";\n",
              op_text(anchor, source, type), "};");
  return result;
}

std::string row_result(const BodyNode& anchor, size_t number, DType source, const std::string& x,
                       const std::string& stat, const std::string& k, const std::string& weight,
                       bool small, const std::string& bias) {
  std::string_view op = anchor.op->name;
  std::string type = float_of(source);
  if (op.starts_with("arg_")) return stat + ".place";
  if (op.starts_with("reduce_")) return stat + ".result";
  if (number > 0) return stat + (number == 1 && op == "layer_norm" ? ".mean" : ".scale");
  if (op == "hardmax")
    return str_cat("(", k, " == ", stat, ".place ? ", type, "(1) : ", type, "(0))");
  if (op == "softmax") return str_cat(x, " * ", stat, ".value");
  if (op == "log_softmax") return str_cat(x, " - ", stat, ".value");
  if (op == "lp_norm") {
    return str_cat("(", stat, ".scale == 0 ? ", type, "(0) : ", x, " / ", stat, ".scale)");
  }
  if (op == "mean_variance_norm") return str_cat(x, " / ", stat, ".scale");
  std::string result = str_cat(x, " * ", stat, ".scale");
  if (!weight.empty() && small) {
    // Where it is the weight of a whole access that is multiplied once.
    result = str_cat(x, " * (", stat, ".scale * ", weight, ")");
  } else if (!weight.empty()) {
    result += " * " + weight;
  }
  return bias.empty() ? result : str_cat(result, " + ", bias);
}

}  // namespace redline
