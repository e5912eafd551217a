// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <limits>

#include "core/dim.h"
#include "core/dim_expr.h"

namespace redline {

using internal::DimAtom;
using internal::DimAtomPtr;
using internal::DimExpr;
using internal::DimOp;
using internal::DimTerm;

namespace {

constexpr int64_t kInf = std::numeric_limits<int64_t>::max();
constexpr int64_t kMinusInf = std::numeric_limits<int64_t>::min();

// One word each; kConst and kSymbol are followed by one operand. The values are in engine files.
enum Code : int64_t {
  kFail = 0,
  kConst = 1,
  kSymbol = 2,
  kAdd = 3,
  kMul = 4,
  kFloorDiv = 5,
  kMod = 6,
  kMin = 7,
  kMax = 8,
  kBroadcast = 9,
};

Code code_of(DimOp op) {
  switch (op) {
    case DimOp::kFloorDiv:
      return kFloorDiv;
    case DimOp::kMod:
      return kMod;
    case DimOp::kMin:
      return kMin;
    case DimOp::kMax:
      return kMax;
    case DimOp::kBroadcast:
      return kBroadcast;
    case DimOp::kSymbol:
      break;
  }
  return kFail;
}

bool apply_code(int64_t code, int64_t a, int64_t b, int64_t& out) {
  switch (code) {
    case kAdd:
      return !__builtin_add_overflow(a, b, &out);
    case kMul:
      return !__builtin_mul_overflow(a, b, &out);
    case kFloorDiv:
      return internal::apply_dim_op(DimOp::kFloorDiv, a, b, out);
    case kMod:
      return internal::apply_dim_op(DimOp::kMod, a, b, out);
    case kMin:
      return internal::apply_dim_op(DimOp::kMin, a, b, out);
    case kMax:
      return internal::apply_dim_op(DimOp::kMax, a, b, out);
    case kBroadcast:
      return internal::apply_dim_op(DimOp::kBroadcast, a, b, out);
    default:
      return false;
  }
}

// Intervals: kMinusInf and kInf are unbounded ends.
int64_t add_bound(int64_t a, int64_t b) {
  if (a == kInf || b == kInf) return kInf;
  if (a == kMinusInf || b == kMinusInf) return kMinusInf;
  int64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return a > 0 ? kInf : kMinusInf;
  return sum;
}

int64_t mul_bound(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  int64_t product = 0;
  const bool unbounded = a == kInf || a == kMinusInf || b == kInf || b == kMinusInf;
  if (unbounded || __builtin_mul_overflow(a, b, &product)) {
    return (a < 0) == (b < 0) ? kInf : kMinusInf;
  }
  return product;
}

int64_t div_bound(int64_t a, int64_t b) {
  if (a == kInf || a == kMinusInf) return (a < 0) == (b < 0) ? kInf : kMinusInf;
  int64_t quotient = 0;
  return internal::apply_dim_op(DimOp::kFloorDiv, a, b, quotient) ? quotient : kInf;
}

DimRange hull(int64_t a, int64_t b, int64_t c, int64_t d) {
  return {std::min({a, b, c, d}), std::max({a, b, c, d})};
}

DimRange mul_range(DimRange a, DimRange b) {
  return hull(mul_bound(a.min, b.min), mul_bound(a.min, b.max), mul_bound(a.max, b.min),
              mul_bound(a.max, b.max));
}

DimRange floor_div_range(DimRange n, DimRange d) {
  // Zero is not a divisor, so an interval that ends in it ends one before.
  if (d.min == 0) d.min = 1;
  if (d.max == 0) d.max = -1;
  if (d.min > d.max) return {kMinusInf, kInf};
  DimRange out = hull(div_bound(n.min, d.min), div_bound(n.min, d.max), div_bound(n.max, d.min),
                      div_bound(n.max, d.max));
  if (d.min < 0 && d.max > 0) {
    for (int64_t unit : {int64_t{-1}, int64_t{1}}) {
      out.min = std::min({out.min, div_bound(n.min, unit), div_bound(n.max, unit)});
      out.max = std::max({out.max, div_bound(n.min, unit), div_bound(n.max, unit)});
    }
  }
  return out;
}

DimRange mod_range(DimRange n, DimRange d) {
  DimRange out = {0, 0};
  if (d.min < 0) out.min = d.min == kMinusInf ? kMinusInf : d.min + 1;
  if (d.max > 0) out.max = d.max == kInf ? kInf : d.max - 1;
  if (d.min >= 0 && n.min >= 0) out.max = std::min(out.max, n.max);
  return out;
}

DimRange combine_ranges(DimOp op, DimRange a, DimRange b) {
  switch (op) {
    case DimOp::kFloorDiv:
      return floor_div_range(a, b);
    case DimOp::kMod:
      return mod_range(a, b);
    case DimOp::kMin:
      return {std::min(a.min, b.min), std::min(a.max, b.max)};
    case DimOp::kMax:
      return {std::max(a.min, b.min), std::max(a.max, b.max)};
    case DimOp::kBroadcast:
      return {std::min(a.min, b.min), std::max(a.max, b.max)};
    case DimOp::kSymbol:
      break;
  }
  return {kMinusInf, kInf};
}

using SymbolRange = std::function<std::optional<DimRange>(std::string_view)>;

DimRange atom_range(const DimAtom& atom, const SymbolRange& symbol_range) {
  if (atom.op == DimOp::kSymbol) {
    auto range = symbol_range(atom.name);
    if (!range) return {0, kInf};
    return {std::max<int64_t>(range->min, 0), std::max<int64_t>(range->max, 0)};
  }
  DimRange out = atom.args[0].range(symbol_range);
  for (size_t i = 1; i < atom.args.size(); ++i) {
    out = combine_ranges(atom.op, out, atom.args[i].range(symbol_range));
  }
  return out;
}

Status evaluation_error(std::string_view what, const Dim& dim) {
  return invalid_argument(what, " in the dimension ", dim.to_string());
}

}  // namespace

bool internal::apply_dim_op(DimOp op, int64_t a, int64_t b, int64_t& out) {
  switch (op) {
    case DimOp::kFloorDiv:
      if (b == 0 || (a == kMinusInf && b == -1)) return false;
      out = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      return true;
    case DimOp::kMod:
      if (b == 0) return false;
      out = b == -1 ? 0 : a % b;
      if (out != 0 && (out < 0) != (b < 0)) out += b;
      return true;
    case DimOp::kMin:
      out = std::min(a, b);
      return true;
    case DimOp::kMax:
      out = std::max(a, b);
      return true;
    case DimOp::kBroadcast:
      out = a == 1 ? b : a;
      return true;
    case DimOp::kSymbol:
      break;
  }
  return false;
}

Result<int64_t> Dim::evaluate(const Lookup& lookup) const {
  if (is_const()) return value_;
  if (is_invalid()) return invalid_argument("a dimension overflows, or divides by zero");
  int64_t sum = 0;
  for (const DimTerm& term : expr_->terms) {
    int64_t product = term.coef;
    for (const DimAtomPtr& factor : term.factors) {
      int64_t value = 0;
      if (factor->op == DimOp::kSymbol) {
        auto found = lookup(factor->name);
        if (!found) return not_found("no value for the dimension symbol '", factor->name, "'");
        if (*found < 0) {
          return invalid_argument("the dimension symbol '", factor->name, "' is ", *found,
                                  ", expected 0 or more");
        }
        value = *found;
      } else {
        REDLINE_ASSIGN(value, factor->args[0].evaluate(lookup));
        for (size_t i = 1; i < factor->args.size(); ++i) {
          REDLINE_ASSIGN(const int64_t next, factor->args[i].evaluate(lookup));
          if (!internal::apply_dim_op(factor->op, value, next, value)) {
            return evaluation_error("division by zero or overflow", *this);
          }
        }
      }
      if (__builtin_mul_overflow(product, value, &product)) {
        return evaluation_error("overflow", *this);
      }
    }
    if (__builtin_add_overflow(sum, product, &sum)) return evaluation_error("overflow", *this);
  }
  return sum;
}

DimRange Dim::range(const SymbolRange& symbol_range) const {
  if (is_const()) return {value_, value_};
  if (is_invalid()) return {kMinusInf, kInf};
  DimRange sum = {0, 0};
  for (const DimTerm& term : expr_->terms) {
    DimRange product = {term.coef, term.coef};
    for (size_t i = 0; i < term.factors.size();) {
      // A power is bounded as one value, not as a product of independent ones.
      DimRange base = atom_range(*term.factors[i], symbol_range);
      DimRange power = base;
      size_t next = i + 1;
      for (; next < term.factors.size() && term.factors[next] == term.factors[i]; ++next) {
        power = mul_range(power, base);
        if ((next - i) % 2 == 1) power.min = std::max<int64_t>(power.min, 0);
      }
      product = mul_range(product, power);
      i = next;
    }
    sum = {add_bound(sum.min, product.min), add_bound(sum.max, product.max)};
  }
  return sum;
}

int64_t Dim::lower_bound() const {
  return range([](std::string_view) { return std::nullopt; }).min;
}

Result<int64_t> Dim::upper_bound(
    const std::map<std::string, int64_t, std::less<>>& max_values) const {
  if (is_invalid()) return invalid_argument("a dimension overflows, or divides by zero");
  const DimRange bounds = range([&](std::string_view name) -> std::optional<DimRange> {
    auto found = max_values.find(name);
    if (found == max_values.end()) return std::nullopt;
    return DimRange{0, found->second};
  });
  if (bounds.max == kInf && !is_const()) {
    return evaluation_error("no upper bound for a symbol", *this);
  }
  return bounds.max;
}

namespace {

void compile_dim(const Dim& dim, const std::function<int(std::string_view)>& symbol_index,
                 std::vector<int64_t>& program) {
  const DimExpr* expr = internal::DimAccess::expr(dim);
  if (expr == nullptr) {
    program.insert(program.end(), {kConst, dim.value()});
    return;
  }
  if (expr->terms.empty()) program.push_back(kFail);
  bool first_term = true;
  for (const DimTerm& term : expr->terms) {
    bool first_factor = term.coef == 1 && !term.factors.empty();
    if (!first_factor) program.insert(program.end(), {kConst, term.coef});
    for (const DimAtomPtr& factor : term.factors) {
      if (factor->op == DimOp::kSymbol) {
        const int index = symbol_index(factor->name);
        if (index < 0) {
          program.push_back(kFail);
        } else {
          program.insert(program.end(), {kSymbol, index});
        }
      }
      for (size_t i = 0; i < factor->args.size(); ++i) {
        compile_dim(factor->args[i], symbol_index, program);
        if (i > 0) program.push_back(code_of(factor->op));
      }
      if (!first_factor) program.push_back(kMul);
      first_factor = false;
    }
    if (!first_term) program.push_back(kAdd);
    first_term = false;
  }
}

}  // namespace

std::vector<int64_t> Dim::compile(const std::function<int(std::string_view)>& symbol_index) const {
  std::vector<int64_t> program;
  compile_dim(*this, symbol_index, program);
  return program;
}

Result<int64_t> run_dim_program(std::span<const int64_t> program,
                                std::span<const int64_t> symbol_values) {
  int64_t stack[internal::kDimStackSize];
  int depth = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const int64_t code = program[at];
    if (code == kConst || code == kSymbol) {
      if (at + 1 >= program.size()) return invalid_argument("a dimension program is cut short");
      if (depth == internal::kDimStackSize) {
        return invalid_argument("a dimension program needs too deep a stack");
      }
      int64_t value = program[++at];
      if (code == kSymbol) {
        if (value < 0 || static_cast<uint64_t>(value) >= symbol_values.size()) {
          return invalid_argument("a dimension program reads symbol ", value, " of ",
                                  symbol_values.size());
        }
        value = symbol_values[static_cast<size_t>(value)];
        if (value < 0) return invalid_argument("a dimension symbol is ", value, ", expected >= 0");
      }
      stack[depth++] = value;
      continue;
    }
    if (code == kFail) return invalid_argument("a dimension overflows or has no value");
    if (code < kFail || code > kBroadcast) {
      return invalid_argument("a dimension program holds the unknown code ", code);
    }
    if (depth < 2) return invalid_argument("a dimension program takes from an empty stack");
    --depth;
    if (!apply_code(code, stack[depth - 1], stack[depth], stack[depth - 1])) {
      return invalid_argument("a dimension overflows or divides by zero");
    }
  }
  if (depth != 1) return invalid_argument("a dimension program leaves ", depth, " values");
  return stack[0];
}

}  // namespace redline
