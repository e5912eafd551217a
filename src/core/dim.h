// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace redline {

namespace internal {
struct DimExpr;
struct DimAccess;
}  // namespace internal

// Inclusive bounds; INT64_MIN and INT64_MAX stand for "unbounded".
struct DimRange {
  int64_t min;
  int64_t max;
  friend bool operator==(const DimRange&, const DimRange&) = default;
};

// A size: an integer expression over named symbols, each of which stands for some value >= 0.
// Immutable; copies are cheap and may be passed between threads. A constant allocates nothing.
//
// Expressions are kept canonical (a sorted polynomial over symbols and opaque floordiv, mod, min,
// max and bcast nodes), so equal polynomials compare equal and print alike. Simplification takes
// each divisor to be nonzero: `(n*768) floordiv n` is 768.
// An expression that overflows int64, divides by the constant zero or grows beyond a fixed size
// becomes the invalid Dim, which absorbs everything and evaluates to an error.
class Dim {
 public:
  Dim() = default;
  Dim(int64_t value) : value_(value) {}  // NOLINT: implicit, so that `d + 1` and `d == 1` read
  static Dim symbol(std::string name);
  static Dim invalid();
  // Reads what to_string() prints; also parentheses, and blanks anywhere between tokens.
  static Result<Dim> parse(std::string_view text);

  bool is_const() const { return expr_ == nullptr; }
  bool is_invalid() const;
  bool is_symbol() const;
  // The constant; asserts is_const().
  int64_t value() const {
    REDLINE_ASSERT(is_const());
    return value_;
  }
  std::optional<int64_t> as_const() const {
    return is_const() ? std::optional<int64_t>(value_) : std::nullopt;
  }
  // Asserts is_symbol().
  const std::string& symbol_name() const;
  // Names of all symbols in it, added to or returned as a set.
  std::set<std::string> symbols() const;
  void collect_symbols(std::set<std::string>& names) const;

  Dim operator-() const;
  Dim& operator+=(const Dim& other) { return *this = *this + other; }
  Dim& operator-=(const Dim& other) { return *this = *this - other; }
  Dim& operator*=(const Dim& other) { return *this = *this * other; }
  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);

  // Structural on the canonical form: false does not prove that the values differ.
  friend bool operator==(const Dim& a, const Dim& b) { return (a <=> b) == 0; }
  // A total order for maps and sorting, without meaning as a size.
  friend std::strong_ordering operator<=>(const Dim& a, const Dim& b);
  size_t hash() const;

  // `batch*12`, `seq + 2`, `floordiv(h + 1, 2)`, `mod(a, b)`, `min(a, b, c)`, `max(a, b)`,
  // `bcast(a, b)`, `invalid()`. A symbol that is not [A-Za-z_][A-Za-z0-9_.]* is quoted: 'a b',
  // with \' \\ and \xHH. Print -> parse -> print is the identity.
  std::string to_string() const;

  // Values of symbols by name; nullopt (not found) and negative values are errors.
  using Lookup = std::function<std::optional<int64_t>(std::string_view)>;
  Result<int64_t> evaluate(const Lookup& lookup) const;
  // Replaces symbols at the same time; those that are not in the map stay.
  Dim substitute(const std::map<std::string, Dim, std::less<>>& values) const;
  // Bounds by interval arithmetic (not always tight). A symbol without a range is in [0,
  // unbounded].
  DimRange range(
      const std::function<std::optional<DimRange>(std::string_view)>& symbol_range) const;
  // The least value it can take as far as is known when nothing but symbol >= 0 is.
  int64_t lower_bound() const;
  // The largest value when each symbol is in [0, its entry]; an error when there is no bound.
  Result<int64_t> upper_bound(const std::map<std::string, int64_t, std::less<>>& max_values) const;

  // Post-order program for run_dim_program. symbol_index gives the place of a symbol's value, or
  // a negative number when it has none; such a program, and that of invalid(), runs to an error.
  std::vector<int64_t> compile(const std::function<int(std::string_view)>& symbol_index) const;

 private:
  friend struct internal::DimAccess;

  int64_t value_ = 0;
  std::shared_ptr<const internal::DimExpr> expr_;  // null when constant
};

// Rounds towards minus infinity.
Dim floor_div(const Dim& a, const Dim& b);
// Rounds towards plus infinity.
Dim ceil_div(const Dim& a, const Dim& b);
// a - b*floor_div(a, b): takes the sign of b.
Dim mod(const Dim& a, const Dim& b);
Dim min(const Dim& a, const Dim& b);
Dim max(const Dim& a, const Dim& b);
// The size of two broadcast axes that are taken to agree: the one that is not 1.
// The caller checks constants that conflict; here the first wins.
Dim broadcast(const Dim& a, const Dim& b);
// a / b when the division is exact for all values of the symbols (b nonzero), else nullopt.
std::optional<Dim> exact_div(const Dim& a, const Dim& b);

// Runs what Dim::compile made. Does not allocate unless it fails; safe on any words: a damaged
// program, overflow, division by zero or a negative symbol value is an error.
Result<int64_t> run_dim_program(std::span<const int64_t> program,
                                std::span<const int64_t> symbol_values);

}  // namespace redline

template <>
struct std::hash<redline::Dim> {
  size_t operator()(const redline::Dim& dim) const { return dim.hash(); }
};
