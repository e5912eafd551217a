// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"

#include <algorithm>

#include "ops/arg_max.h"
#include "ops/cum_sum.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

bool is_real(std::string_view op) {
  return op == "reduce_l2" || op == "reduce_log_sum" || op == "reduce_log_sum_exp";
}

struct Reduction {
  std::vector<bool> reduced;
  std::string mask;   // instead, where the axes come with the run: bit d for axis d
  std::string count;  // of the elements that one result takes in
};

// Axes that only the run tells, as bits.
Result<std::string> axes_mask(ElementContext& c) {
  const ElementOperand& in = c.input(0);
  int rank = in.rank();
  std::string mask = c.variable("u32", "0");
  std::string i = c.loop(c.input(1).dims[0]);
  REDLINE_ASSIGN(std::string axis, c.read(1, {i}));
  // What is out of range was refused where the sizes were told.
  c.line(str_cat(mask, " |= 1u << (((i64)", axis, " < 0 ? (i64)", axis, " + ", rank, " : (i64)",
                 axis, ") & 31);"));
  c.close();
  if (!c.attrs<ReduceAttrs>().noop_with_empty_axes) {
    c.line(str_cat("if ((", c.input(1).dims[0], ") == 0) ", mask, " = ~0u;"));
  }
  return mask;
}

Result<Reduction> reduction_of(ElementContext& c) {
  const auto& attrs = c.attrs<ReduceAttrs>();
  const ElementOperand& in = c.input(0);
  std::vector<int64_t> axes;
  if (c.has_input(1) && c.input(1).constant == nullptr) {
    Reduction result;
    REDLINE_ASSIGN(result.mask, axes_mask(c));
    result.count = "1LL";
    for (size_t d = 0; d < in.dims.size(); ++d) {
      result.count +=
          str_cat(" * ((", result.mask, " >> ", d, " & 1) ? (i64)(", in.dims[d], ") : 1LL)");
    }
    return result;
  }
  if (c.has_input(1)) {
    REDLINE_ASSIGN(axes, c.constant_ints(1));
  }
  Reduction result;
  result.reduced.assign(in.dims.size(), axes.empty() && !attrs.noop_with_empty_axes);
  for (int64_t axis : axes) result.reduced[at_axis(axis, in.rank())] = true;
  result.count = "1LL";
  for (size_t d = 0; d < in.dims.size(); ++d) {
    if (result.reduced[d]) result.count += str_cat(" * (i64)(", in.dims[d], ")");
  }
  return result;
}

// Where the output element is along axis d, when that is not reduced.
std::string place_along(const ElementContext& c, const ElementIndex& at, const std::string& mask,
                        size_t d) {
  if (c.attrs<ReduceAttrs>().keepdims) return at[d];
  std::string kept = str_cat("__popc(~", mask, " & ", (1u << d) - 1, "u)");
  std::string place = "idx(0)";
  for (size_t k = std::min(at.size(), d + 1); k-- > 0;) {
    place = str_cat("(", kept, " == ", k, " ? (idx)(", at[k], ") : ", place, ")");
  }
  return place;
}

// A loop an axis, of one turn where the axis is not reduced.
template <class Body>
Status for_each_masked(ElementContext& c, const ElementIndex& at, const std::string& mask,
                       Body&& body) {
  const ElementOperand& in = c.input(0);
  ElementIndex from;
  for (size_t d = 0; d < in.dims.size(); ++d) {
    std::string reduced = c.let("bool", str_cat(mask, " >> ", d, " & 1"));
    std::string x =
        c.variable("idx", str_cat(reduced, " ? idx(0) : ", place_along(c, at, mask, d)));
    std::string end = c.let("idx", str_cat(reduced, " ? (idx)(", in.dims[d], ") : ", x, " + 1"));
    keep_rolled(c);
    c.open(str_cat("for (; ", x, " < ", end, "; ++", x, ")"));
    from.push_back(x);
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  body(value);
  for (size_t d = 0; d < in.dims.size(); ++d) c.close();
  return {};
}

// Calls `body` with each input element that goes into the output element, inside loops.
template <class Body>
Status for_each_input(ElementContext& c, const ElementIndex& at, const Reduction& reduction,
                      Body&& body) {
  const ElementOperand& in = c.input(0);
  bool keep = c.attrs<ReduceAttrs>().keepdims;
  if (!reduction.mask.empty()) return for_each_masked(c, at, reduction.mask, body);
  ElementIndex from;
  int loops = 0;
  size_t kept = 0;
  for (size_t d = 0; d < in.dims.size(); ++d) {
    if (reduction.reduced[d]) {
      from.push_back(c.loop(in.dims[d]));
      ++loops;
      if (keep) ++kept;
    } else {
      from.push_back(at[kept++]);
    }
  }
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  body(value);
  while (loops-- > 0) c.close();
  return {};
}

Result<std::string> reduce(ElementContext& c, const ElementIndex& at) {
  std::string_view op = c.node().op->name;
  DType dtype = c.input(0).dtype;
  REDLINE_ASSIGN(Reduction reduction, reduction_of(c));
  std::string wide(compute_type(dtype));
  std::string type = is_real(op) && !is_float(dtype) ? "double" : wide;
  auto fold = [&](const std::string& start, auto&& step) -> Result<std::string> {
    std::string acc = c.variable(type, start);
    REDLINE_TRY(for_each_input(c, at, reduction, [&](const std::string& v) {
      c.line(str_cat(acc, " = ", step(acc, v), ";"));
    }));
    return acc;
  };
  using Text = const std::string&;
  auto wraps = [&](Text text) { return type == "i64" ? str_cat("(i64)(", text, ")") : text; };
  auto sum = [&](Text a, Text b) {
    return type == "i64" ? str_cat("(i64)((u64)", a, " + (u64)(", b, "))") : str_cat(a, " + ", b);
  };
  if (op == "reduce_max" || op == "reduce_min") {
    bool max = op == "reduce_max";
    const char* sign = max ? " > " : " < ";
    return fold(extreme(dtype, type, !max), [&](Text a, Text b) {
      return str_cat(a, " != ", a, " || ", a, sign, b, " ? ", a, " : ", b);
    });
  }
  if (op == "reduce_prod") {
    return fold(type + "(1)", [&](Text a, Text b) {
      return wraps(type == "i64" ? str_cat("(u64)", a, " * (u64)", b) : str_cat(a, " * ", b));
    });
  }
  if (op == "reduce_l1") {
    return fold(type + "(0)", [&](Text a, Text b) {
      return sum(a, type == "u64"
                        ? b
                        : str_cat("(", b, " < 0 ? ", type == "i64" ? "(i64)(0 - (u64)" : "(-", b,
                                  ") : ", b, ")"));
    });
  }
  if (op == "reduce_sum_square" || op == "reduce_l2") {
    REDLINE_ASSIGN(
        std::string acc, fold(type + "(0)", [&](Text a, Text b) {
          std::string x = type == wide ? b : str_cat("(", type, ")", b);
          return sum(a, type == "i64" ? str_cat("(u64)", x, " * (u64)", x) : str_cat(x, " * ", x));
        }));
    if (op == "reduce_sum_square") return acc;
    acc = str_cat("sqrt(", acc, ")");
    return is_float(dtype) ? acc : str_cat("(", wide, ")", acc);
  }
  if (op == "reduce_log_sum_exp") {
    REDLINE_ASSIGN(std::string top, fold(type + "(-INFINITY)", [&](Text a, Text b) {
                     std::string x = str_cat("(", type, ")", b);
                     return str_cat(a, " != ", a, " || ", a, " > ", x, " ? ", a, " : ", x);
                   }));
    std::string shift = c.let(type, str_cat(top, " - ", top, " == 0 ? ", top, " : ", type, "(0)"));
    REDLINE_ASSIGN(std::string acc, fold(type + "(0)", [&](Text a, Text b) {
                     return str_cat(a, " + exp((", type, ")", b, " - ", shift, ")");
                   }));
    std::string result = c.let(type, str_cat("log(", acc, ") + ", shift));
    return is_float(dtype) ? result
                           : str_cat("(", wide, ")saturating_i64(", result,
                                     ", -4611686018427387904LL, 4611686018427387904LL)");
  }
  REDLINE_ASSIGN(std::string acc, fold(type + "(0)", [&](Text a, Text b) {
                   return sum(a, type == wide ? b : str_cat("(", type, ")", b));
                 }));
  if (op == "reduce_log_sum") {
    std::string result = c.let(type, str_cat("log(", acc, ")"));
    return is_float(dtype) ? result
                           : str_cat("(", wide, ")saturating_i64(", result,
                                     ", -4611686018427387904LL, 4611686018427387904LL)");
  }
  if (op == "reduce_mean") {
    if (is_float(dtype)) return str_cat(acc, " / ", type, "(", reduction.count, ")");
    return str_cat("((", reduction.count, ") == 0 ? ", type, "(0) : ", acc, " / (", type, ")(",
                   reduction.count, "))");
  }
  return acc;
}

Result<std::string> arg_reduce(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<ArgReduceAttrs>();
  const ElementOperand& in = c.input(0);
  size_t axis = at_axis(attrs.axis, in.rank());
  bool max = c.node().op->name == "arg_max";
  std::string type(compute_type(in.dtype));
  ElementIndex from = at;
  if (!attrs.keepdims) from.insert(from.begin() + static_cast<ptrdiff_t>(axis), "0");
  from[axis] = "0";
  REDLINE_ASSIGN(std::string first, c.read(0, from));
  std::string best = c.variable(type, first);
  std::string place = c.variable("i64", "0");
  from[axis] = c.loop(in.dims[axis]);
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  std::string better = str_cat(value, max ? " > " : " < ", best);
  if (attrs.select_last_index) better += str_cat(" || ", value, " == ", best);
  if (is_float(in.dtype)) {
    // A NaN is the extreme: nothing is better than one but, for the last index, another.
    std::string nan_new = str_cat("(", value, " != ", value, ")");
    std::string nan_old = str_cat("(", best, " != ", best, ")");
    better = attrs.select_last_index ? str_cat(nan_new, " || (!", nan_old, " && (", better, "))")
                                     : str_cat("!", nan_old, " && (", nan_new, " || ", better, ")");
  }
  c.open(str_cat("if (", better, ")"));
  c.line(str_cat(best, " = ", value, ";"));
  c.line(str_cat(place, " = (i64)", from[axis], ";"));
  c.close();
  c.close();
  return place;
}

// Along an axis that may come with the run.
Result<std::string> cumulative(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<CumulativeAttrs>();
  const ElementOperand& in = c.input(0);
  bool product = c.node().op->name == "cum_prod";
  std::string type(compute_type(in.dtype));
  std::string acc = c.variable(type, str_cat(type, product ? "(1)" : "(0)"));
  std::string x;
  std::string size;
  ElementIndex from = at;
  std::string i = c.variable("idx", "0");
  if (c.input(1).constant != nullptr) {
    REDLINE_ASSIGN(std::vector<int64_t> axes, c.constant_ints(1));
    size_t axis = at_axis(axes[0], in.rank());
    x = c.let("idx", at[axis]);
    size = in.dims[axis];
    from[axis] = i;
  } else {
    REDLINE_ASSIGN(std::string given, read_scalar(c, 1));
    std::string axis = axis_from_front(c, given, in.rank());
    x = c.let("idx", chosen_by(axis, at));
    size = c.let("idx", chosen_by(axis, in.dims));
    from = replaced_along(axis, at, i);
  }
  if (attrs.reverse) c.line(str_cat(i, " = ", x, attrs.exclusive ? " + 1;" : ";"));
  std::string end = attrs.reverse ? size : attrs.exclusive ? x : x + " + 1";
  c.open(str_cat("for (; ", i, " < ", end, "; ++", i, ")"));
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  std::string op = product ? " * " : " + ";
  c.line(type == "i64" ? str_cat(acc, " = (i64)((u64)", acc, op, "(u64)", value, ");")
                       : str_cat(acc, " = ", acc, op, value, ";"));
  c.close();
  return acc;
}

}  // namespace

void register_element_reduce(ElementRegistry& registry) {
  registry.add(
      {.ops = {"reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "reduce_l1",
               "reduce_l2", "reduce_sum_square", "reduce_log_sum", "reduce_log_sum_exp"},
       .element = reduce,
       .loops = true});
  registry.add({.ops = {"arg_max", "arg_min"}, .element = arg_reduce, .loops = true});
  registry.add(
      {.ops = {"cum_sum", "cum_prod"}, .element = cumulative, .loops = true, .refuses = true});
}

}  // namespace redline
