// SPDX-License-Identifier: Apache-2.0
#include "core/dim.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "core/dim_expr.h"

namespace redline {

using internal::DimAccess;
using internal::DimAtom;
using internal::DimAtomPtr;
using internal::DimExpr;
using internal::DimOp;
using internal::DimTerm;
using internal::kMaxDimArgs;
using internal::kMaxDimDepth;
using internal::kMaxDimWeight;

namespace {

constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();

uint64_t mix(uint64_t seed, uint64_t value) {
  value *= 0x9e3779b97f4a7c15u;
  value ^= value >> 32;
  return (seed ^ value) * 0xd6e8feb86659fd93u;
}

std::strong_ordering compare_atoms(const DimAtomPtr& a, const DimAtomPtr& b) {
  if (a == b) return std::strong_ordering::equal;
  if (a->op != b->op) return a->op <=> b->op;
  if (auto order = a->name.compare(b->name) <=> 0; order != 0) return order;
  return std::lexicographical_compare_three_way(a->args.begin(), a->args.end(), b->args.begin(),
                                                b->args.end());
}

bool atom_less(const DimAtomPtr& a, const DimAtomPtr& b) { return compare_atoms(a, b) < 0; }

// Graded lexicographic, highest degree first: multiplying both sides keeps the order, which
// polynomial division needs.
std::strong_ordering compare_factors(const DimTerm& a, const DimTerm& b) {
  if (a.factors.size() != b.factors.size()) return b.factors.size() <=> a.factors.size();
  return std::lexicographical_compare_three_way(a.factors.begin(), a.factors.end(),
                                                b.factors.begin(), b.factors.end(), compare_atoms);
}

bool term_less(const DimTerm& a, const DimTerm& b) { return compare_factors(a, b) < 0; }

// A view of the terms of a Dim that is not invalid; a constant has one term (zero: none).
class Terms {
 public:
  explicit Terms(const Dim& dim) {
    if (const DimExpr* expr = DimAccess::expr(dim)) {
      span_ = expr->terms;
    } else if (dim.value() != 0) {
      constant_.push_back({dim.value(), {}});
      span_ = constant_;
    }
  }
  Terms(const Terms&) = delete;
  auto begin() const { return span_.begin(); }
  auto end() const { return span_.end(); }
  size_t size() const { return span_.size(); }
  const DimTerm& front() const { return span_.front(); }

 private:
  std::vector<DimTerm> constant_;
  std::span<const DimTerm> span_;
};

// The canonical Dim of a sum of terms whose factors are each sorted.
Dim from_terms(std::vector<DimTerm> terms) {
  if (!std::is_sorted(terms.begin(), terms.end(), term_less)) {
    std::sort(terms.begin(), terms.end(), term_less);
  }
  auto expr = std::make_shared<DimExpr>();
  for (DimTerm& term : terms) {
    auto& sum = expr->terms;
    if (!sum.empty() && compare_factors(sum.back(), term) == 0) {
      if (__builtin_add_overflow(sum.back().coef, term.coef, &sum.back().coef)) {
        return Dim::invalid();
      }
    } else {
      if (!sum.empty() && sum.back().coef == 0) sum.pop_back();
      sum.push_back(std::move(term));
    }
  }
  if (!expr->terms.empty() && expr->terms.back().coef == 0) expr->terms.pop_back();
  if (expr->terms.empty()) return 0;
  if (expr->terms.size() == 1 && expr->terms[0].factors.empty()) return expr->terms[0].coef;
  int64_t weight = 0;
  for (const DimTerm& term : expr->terms) {
    weight += 1;
    expr->hash = mix(expr->hash, static_cast<uint64_t>(term.coef));
    for (const DimAtomPtr& factor : term.factors) {
      weight += factor->weight;
      expr->depth = std::max(expr->depth, factor->depth);
      expr->hash = mix(expr->hash, factor->hash);
    }
  }
  if (weight > kMaxDimWeight || expr->depth > kMaxDimDepth) return Dim::invalid();
  expr->weight = static_cast<int>(weight);
  return DimAccess::make(std::move(expr));
}

Dim from_atom(DimAtom atom) {
  atom.hash = mix(static_cast<uint64_t>(atom.op), std::hash<std::string>()(atom.name));
  for (const Dim& arg : atom.args) {
    if (arg.is_invalid()) return arg;
    atom.hash = mix(atom.hash, arg.hash());
    const DimExpr* expr = DimAccess::expr(arg);
    atom.weight += expr ? expr->weight : 1;
    atom.depth = std::max(atom.depth, expr ? expr->depth + 1 : 1);
    if (atom.weight > kMaxDimWeight) return Dim::invalid();
  }
  DimTerm term{1, {}};
  term.factors.push_back(std::make_shared<const DimAtom>(std::move(atom)));
  std::vector<DimTerm> terms;
  terms.push_back(std::move(term));
  return from_terms(std::move(terms));
}

// The atom when the term is nothing but one atom of this op with this many constant arguments.
const DimAtom* single_atom(const DimTerm& term, DimOp op) {
  if (term.factors.size() != 1 || term.factors[0]->op != op) return nullptr;
  return term.factors[0].get();
}

// coef_a*a / (coef_b*b) when b's factors are among a's; the coefficient is left to the caller.
std::optional<std::vector<DimAtomPtr>> divide_factors(const DimTerm& a, const DimTerm& b) {
  std::vector<DimAtomPtr> rest;
  size_t matched = 0;
  for (const DimAtomPtr& factor : a.factors) {
    if (matched < b.factors.size() && compare_atoms(factor, b.factors[matched]) == 0) {
      ++matched;
    } else {
      rest.push_back(factor);
    }
  }
  if (matched != b.factors.size()) return std::nullopt;
  return rest;
}

uint64_t magnitude(int64_t value) {
  return value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
}

// Largest coefficient and monomial that divides all terms; coef is 0 when it does not fit.
DimTerm common_factor(const Dim& a, const Dim& b) {
  uint64_t gcd = 0;
  std::optional<std::vector<DimAtomPtr>> common;
  for (const Dim* dim : {&a, &b}) {
    for (const DimTerm& term : Terms(*dim)) {
      gcd = std::gcd(gcd, magnitude(term.coef));
      if (!common) {
        common = term.factors;
        continue;
      }
      std::vector<DimAtomPtr> both;
      std::set_intersection(common->begin(), common->end(), term.factors.begin(),
                            term.factors.end(), std::back_inserter(both), atom_less);
      common = std::move(both);
    }
  }
  const bool fits = gcd <= static_cast<uint64_t>(kInt64Max);
  return {fits ? static_cast<int64_t>(gcd) : 0, common.value_or(std::vector<DimAtomPtr>())};
}

// Each term of `dim` divided by `divisor`, which divides them all.
Dim divide_terms(const Dim& dim, const DimTerm& divisor) {
  std::vector<DimTerm> terms;
  for (const DimTerm& term : Terms(dim)) {
    terms.push_back({term.coef / divisor.coef, *divide_factors(term, divisor)});
  }
  return from_terms(std::move(terms));
}

struct Split {
  Dim quotient;
  Dim rest;
};

// n = quotient*divisor + rest, where no term of rest is a multiple of the divisor. A constant's
// quotient rounds down, so that its rest is in [0, divisor); others round towards zero.
Split split_multiples(const Dim& n, const DimTerm& divisor) {
  std::vector<DimTerm> quotient;
  std::vector<DimTerm> rest;
  for (const DimTerm& term : Terms(n)) {
    auto factors = divide_factors(term, divisor);
    if (!factors) {
      rest.push_back(term);
      continue;
    }
    int64_t q = term.coef / divisor.coef;
    int64_t r = term.coef % divisor.coef;
    if (r < 0 && term.factors.empty()) {
      q -= 1;
      r += divisor.coef;
    }
    if (q != 0) quotient.push_back({q, *std::move(factors)});
    if (r != 0) rest.push_back({r, term.factors});
  }
  return {from_terms(std::move(quotient)), from_terms(std::move(rest))};
}

bool leads_negative(const Dim& dim) {
  const Terms terms(dim);
  return terms.size() > 0 && terms.front().coef < 0;
}

// The constant of floor(n / d) when the range of n leaves only one; d > 0.
std::optional<int64_t> quotient_by_range(const Dim& n, int64_t d) {
  const DimRange range = n.range([](std::string_view) { return std::nullopt; });
  if (range.min == kInt64Min || range.max == kInt64Max) return std::nullopt;
  int64_t low = 0;
  int64_t high = 0;
  if (!internal::apply_dim_op(DimOp::kFloorDiv, range.min, d, low)) return std::nullopt;
  if (!internal::apply_dim_op(DimOp::kFloorDiv, range.max, d, high)) return std::nullopt;
  return low == high ? std::optional<int64_t>(low) : std::nullopt;
}

// n = g*x + s with 0 <= s < g, where g is the gcd of d and all coefficients but the constant.
struct Content {
  int64_t gcd;
  Dim scaled;
  int64_t rest;
};

Content take_content(const Dim& n, int64_t d) {
  uint64_t gcd = magnitude(d);
  for (const DimTerm& term : Terms(n)) {
    if (!term.factors.empty()) gcd = std::gcd(gcd, magnitude(term.coef));
  }
  Split split = split_multiples(n, {static_cast<int64_t>(gcd), {}});
  return {static_cast<int64_t>(gcd), std::move(split.quotient),
          split.rest.is_const() ? split.rest.value() : 0};
}

// floor(n / d), d > 1.
Dim floor_div_const(const Dim& n, int64_t d) {
  auto [quotient, rest] = split_multiples(n, {d, {}});
  if (rest.is_invalid() || quotient.is_invalid()) return Dim::invalid();
  if (rest.is_const()) return quotient;  // rest is in [0, d)
  // floor((g*x + s) / (g*e)) = floor(x / e)
  Content content = take_content(rest, d);
  const int64_t e = d / content.gcd;
  const Dim& x = content.scaled;
  if (e == 1) return quotient + x;
  if (auto known = quotient_by_range(x, e)) return quotient + *known;
  // floor((floor(y/a) + r) / e) = floor((y + a*r) / (a*e))
  const Terms terms(x);
  const DimAtom* inner = single_atom(terms.front(), DimOp::kFloorDiv);
  const bool only_constant_besides =
      terms.size() == 1 || (terms.size() == 2 && std::prev(terms.end())->factors.empty());
  if (inner != nullptr && terms.front().coef == 1 && only_constant_besides &&
      inner->args[1].is_const()) {
    const int64_t a = inner->args[1].value();
    const int64_t r = terms.size() == 2 ? std::prev(terms.end())->coef : 0;
    int64_t product = 0;
    if (!__builtin_mul_overflow(a, e, &product)) {
      Dim merged = floor_div(inner->args[0] + Dim(a) * r, product);
      if (!merged.is_invalid()) return quotient + merged;
    }
  }
  return quotient + from_atom({DimOp::kFloorDiv, "", {x, e}});
}

// n modulo d, d > 1.
Dim mod_const(const Dim& n, int64_t d) {
  Dim rest = split_multiples(n, {d, {}}).rest;
  if (rest.is_const() || rest.is_invalid()) return rest;
  // mod(mod(y, m) + r, d) = mod(y + r, d) when d divides m
  for (const DimTerm& term : Terms(rest)) {
    const DimAtom* inner = single_atom(term, DimOp::kMod);
    if (inner == nullptr || !inner->args[1].is_const()) continue;
    if (inner->args[1].value() % d != 0) continue;
    std::vector<DimTerm> whole = {term};
    return mod(rest - from_terms(std::move(whole)) + inner->args[0] * term.coef, d);
  }
  // mod(g*x + s, g*e) = g*mod(x, e) + s
  Content content = take_content(rest, d);
  const int64_t e = d / content.gcd;
  const Dim& x = content.scaled;
  if (e == 1) return content.rest;
  Dim reduced;
  if (auto known = quotient_by_range(x, e)) {
    reduced = x - Dim(e) * *known;
  } else {
    reduced = from_atom({DimOp::kMod, "", {x, e}});
  }
  return reduced * content.gcd + content.rest;
}

// b - a is known not to be negative.
bool known_at_most(const Dim& a, const Dim& b) {
  const Dim difference = b - a;
  return !difference.is_invalid() && difference.lower_bound() >= 0;
}

// The operands of nested nodes of the same op as one sorted list without repeats.
std::vector<Dim> flatten(DimOp op, const Dim& a, const Dim& b) {
  std::vector<Dim> args;
  for (const Dim* dim : {&a, &b}) {
    const Terms terms(*dim);
    const DimAtom* atom = nullptr;
    if (terms.size() == 1 && terms.front().coef == 1) atom = single_atom(terms.front(), op);
    if (atom) {
      args.insert(args.end(), atom->args.begin(), atom->args.end());
    } else {
      args.push_back(*dim);
    }
  }
  std::sort(args.begin(), args.end());
  args.erase(std::unique(args.begin(), args.end()), args.end());
  return args;
}

Dim min_or_max(DimOp op, const Dim& a, const Dim& b) {
  if (a.is_invalid() || b.is_invalid()) return Dim::invalid();
  const bool is_min = op == DimOp::kMin;
  const int64_t neutral = is_min ? kInt64Max : kInt64Min;
  if (a == neutral) return b;
  if (b == neutral) return a;
  std::vector<Dim> args = flatten(op, a, b);
  if (args.size() > kMaxDimArgs) return Dim::invalid();
  for (size_t i = 0; i < args.size();) {
    const bool needless = std::any_of(args.begin(), args.end(), [&](const Dim& other) {
      if (&other == &args[i]) return false;
      return is_min ? known_at_most(other, args[i]) : known_at_most(args[i], other);
    });
    if (needless) {
      args.erase(args.begin() + static_cast<std::ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
  if (args.size() == 1) return args[0];
  return from_atom({op, "", std::move(args)});
}

}  // namespace

Dim Dim::symbol(std::string name) { return from_atom({DimOp::kSymbol, std::move(name), {}}); }

Dim Dim::invalid() { return DimAccess::make(std::make_shared<const DimExpr>()); }

bool Dim::is_invalid() const { return expr_ != nullptr && expr_->terms.empty(); }

bool Dim::is_symbol() const {
  return expr_ != nullptr && expr_->terms.size() == 1 && expr_->terms[0].coef == 1 &&
         single_atom(expr_->terms[0], DimOp::kSymbol) != nullptr;
}

const std::string& Dim::symbol_name() const {
  REDLINE_ASSERT(is_symbol());
  return expr_->terms[0].factors[0]->name;
}

void Dim::collect_symbols(std::set<std::string>& names) const {
  if (expr_ == nullptr) return;
  for (const DimTerm& term : expr_->terms) {
    for (const DimAtomPtr& factor : term.factors) {
      if (factor->op == DimOp::kSymbol) names.insert(factor->name);
      for (const Dim& arg : factor->args) arg.collect_symbols(names);
    }
  }
}

std::set<std::string> Dim::symbols() const {
  std::set<std::string> names;
  collect_symbols(names);
  return names;
}

size_t Dim::hash() const {
  return expr_ != nullptr ? expr_->hash : mix(1, static_cast<uint64_t>(value_));
}

std::strong_ordering operator<=>(const Dim& a, const Dim& b) {
  if (a.is_const() != b.is_const())
    return a.is_const() ? std::strong_ordering::less : std::strong_ordering::greater;
  if (a.is_const()) return a.value_ <=> b.value_;
  if (a.expr_ == b.expr_) return std::strong_ordering::equal;
  return std::lexicographical_compare_three_way(
      a.expr_->terms.begin(), a.expr_->terms.end(), b.expr_->terms.begin(), b.expr_->terms.end(),
      [](const DimTerm& x, const DimTerm& y) {
        if (auto order = compare_factors(x, y); order != 0) return order;
        return x.coef <=> y.coef;
      });
}

Dim operator+(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) {
    int64_t sum = 0;
    if (__builtin_add_overflow(a.value_, b.value_, &sum)) return Dim::invalid();
    return sum;
  }
  if (a.is_invalid() || b.is_invalid()) return Dim::invalid();
  const Terms x(a);
  const Terms y(b);
  std::vector<DimTerm> terms;
  terms.reserve(x.size() + y.size());
  std::merge(x.begin(), x.end(), y.begin(), y.end(), std::back_inserter(terms), term_less);
  return from_terms(std::move(terms));
}

Dim Dim::operator-() const { return *this * Dim(-1); }

Dim operator-(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) {
    int64_t difference = 0;
    if (__builtin_sub_overflow(a.value_, b.value_, &difference)) return Dim::invalid();
    return difference;
  }
  return a + -b;
}

Dim operator*(const Dim& a, const Dim& b) {
  if (a.is_const() && b.is_const()) {
    int64_t product = 0;
    if (__builtin_mul_overflow(a.value_, b.value_, &product)) return Dim::invalid();
    return product;
  }
  if (a.is_invalid() || b.is_invalid()) return Dim::invalid();
  const Terms x(a);
  const Terms y(b);
  if (x.size() * y.size() > kMaxDimWeight) return Dim::invalid();
  std::vector<DimTerm> terms;
  terms.reserve(x.size() * y.size());
  int64_t weight = 0;
  for (const DimTerm& s : x) {
    for (const DimTerm& t : y) {
      DimTerm term;
      if (__builtin_mul_overflow(s.coef, t.coef, &term.coef)) return Dim::invalid();
      weight += static_cast<int64_t>(s.factors.size() + t.factors.size());
      if (weight > 4 * kMaxDimWeight) return Dim::invalid();
      std::merge(s.factors.begin(), s.factors.end(), t.factors.begin(), t.factors.end(),
                 std::back_inserter(term.factors), atom_less);
      terms.push_back(std::move(term));
    }
  }
  return from_terms(std::move(terms));
}

std::optional<Dim> exact_div(const Dim& a, const Dim& b) {
  if (a.is_invalid() || b.is_invalid() || b == 0) return std::nullopt;
  const Terms divisor(b);
  const DimTerm& lead = divisor.front();
  Dim rest = a;
  Dim quotient = 0;
  constexpr int kMaxSteps = 64;
  for (int step = 0; step < kMaxSteps; ++step) {
    if (rest == 0) return quotient;
    if (rest.is_invalid()) return std::nullopt;
    const Terms terms_left(rest);
    const DimTerm& top = terms_left.front();
    auto factors = divide_factors(top, lead);
    int64_t q = 0;
    int64_t r = 0;
    if (!factors || !internal::apply_dim_op(DimOp::kFloorDiv, top.coef, lead.coef, q) ||
        !internal::apply_dim_op(DimOp::kMod, top.coef, lead.coef, r) || r != 0) {
      return std::nullopt;
    }
    std::vector<DimTerm> terms = {{q, *std::move(factors)}};
    const Dim part = from_terms(std::move(terms));
    quotient += part;
    rest -= part * b;
  }
  return std::nullopt;
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (a.is_invalid() || b.is_invalid() || b == 0) return Dim::invalid();
  if (a.is_const() && b.is_const()) {
    int64_t quotient = 0;
    if (!internal::apply_dim_op(DimOp::kFloorDiv, a.value(), b.value(), quotient)) {
      return Dim::invalid();
    }
    return quotient;
  }
  if (a == 0 || b == 1) return a;
  if (a == b) return 1;
  if (leads_negative(b)) return floor_div(-a, -b);
  if (b.is_const()) return floor_div_const(a, b.value());
  if (auto quotient = exact_div(a, b)) return *quotient;
  const DimTerm common = common_factor(a, b);
  if (common.coef > 1 || (common.coef == 1 && !common.factors.empty())) {
    return floor_div(divide_terms(a, common), divide_terms(b, common));
  }
  if (Terms(b).size() == 1) {
    auto [quotient, rest] = split_multiples(a, Terms(b).front());
    if (quotient != 0) return quotient + floor_div(rest, b);
  }
  return from_atom({DimOp::kFloorDiv, "", {a, b}});
}

Dim ceil_div(const Dim& a, const Dim& b) {
  // Adding b - 1 to a number may overflow where the quotient does not.
  if (b.is_const() && b.value() > 0 && !a.is_const()) return floor_div(a + (b.value() - 1), b);
  return -floor_div(-a, b);
}

Dim mod(const Dim& a, const Dim& b) {
  if (a.is_invalid() || b.is_invalid() || b == 0) return Dim::invalid();
  if (a.is_const() && b.is_const()) {
    int64_t rest = 0;
    if (!internal::apply_dim_op(DimOp::kMod, a.value(), b.value(), rest)) return Dim::invalid();
    return rest;
  }
  if (a == 0 || b == 1) return 0;
  if (leads_negative(b)) return -mod(-a, -b);
  if (b.is_const()) return mod_const(a, b.value());
  if (exact_div(a, b)) return 0;
  const DimTerm common = common_factor(a, b);
  if (common.coef > 1 || (common.coef == 1 && !common.factors.empty())) {
    std::vector<DimTerm> scale = {common};
    return mod(divide_terms(a, common), divide_terms(b, common)) * from_terms(std::move(scale));
  }
  if (Terms(b).size() == 1) {
    auto [quotient, rest] = split_multiples(a, Terms(b).front());
    if (quotient != 0) return mod(rest, b);
  }
  return from_atom({DimOp::kMod, "", {a, b}});
}

Dim min(const Dim& a, const Dim& b) { return min_or_max(DimOp::kMin, a, b); }

Dim max(const Dim& a, const Dim& b) { return min_or_max(DimOp::kMax, a, b); }

Dim broadcast(const Dim& a, const Dim& b) {
  if (a.is_invalid() || b.is_invalid()) return Dim::invalid();
  if (a == 1 || a == b) return b;
  if (b == 1 || a.is_const()) return a;
  if (b.is_const()) return b;
  std::vector<Dim> args = flatten(DimOp::kBroadcast, a, b);
  if (args.size() > kMaxDimArgs) return Dim::invalid();
  for (const Dim& arg : args) {
    if (arg.lower_bound() >= 2) return arg;
  }
  if (args.size() == 1) return args[0];
  return from_atom({DimOp::kBroadcast, "", std::move(args)});
}

Dim internal::combine_dims(DimOp op, const Dim& a, const Dim& b) {
  switch (op) {
    case DimOp::kFloorDiv:
      return floor_div(a, b);
    case DimOp::kMod:
      return mod(a, b);
    case DimOp::kMin:
      return min(a, b);
    case DimOp::kMax:
      return max(a, b);
    case DimOp::kBroadcast:
      return broadcast(a, b);
    case DimOp::kSymbol:
      break;
  }
  return Dim::invalid();
}

Dim Dim::substitute(const std::map<std::string, Dim, std::less<>>& values) const {
  if (is_const() || is_invalid()) return *this;
  Dim sum = 0;
  for (const DimTerm& term : expr_->terms) {
    Dim product = term.coef;
    for (const DimAtomPtr& factor : term.factors) {
      Dim value;
      if (factor->op == DimOp::kSymbol) {
        auto found = values.find(factor->name);
        value = found != values.end() ? found->second : Dim::symbol(factor->name);
      } else {
        value = factor->args[0].substitute(values);
        for (size_t i = 1; i < factor->args.size(); ++i) {
          value = internal::combine_dims(factor->op, value, factor->args[i].substitute(values));
        }
      }
      product *= value;
    }
    sum += product;
  }
  return sum;
}

}  // namespace redline
