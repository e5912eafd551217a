// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cctype>

#include "core/dim.h"
#include "core/dim_expr.h"

namespace redline {

using internal::DimAccess;
using internal::DimAtom;
using internal::DimAtomPtr;
using internal::DimExpr;
using internal::DimOp;
using internal::DimTerm;

namespace {

struct Function {
  std::string_view name;
  DimOp op;
};

constexpr std::array<Function, 5> kFunctions = {{{"floordiv", DimOp::kFloorDiv},
                                                 {"mod", DimOp::kMod},
                                                 {"min", DimOp::kMin},
                                                 {"max", DimOp::kMax},
                                                 {"bcast", DimOp::kBroadcast}}};
constexpr std::string_view kInvalidName = "invalid";

bool is_name_start(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_char(char c) { return is_name_start(c) || is_digit(c) || c == '.'; }

bool is_plain_name(std::string_view name) {
  if (name.empty() || !is_name_start(name[0]) || name == kInvalidName) return false;
  for (char c : name) {
    if (!is_name_char(c)) return false;
  }
  for (const Function& function : kFunctions) {
    if (name == function.name) return false;
  }
  return true;
}

void print_name(std::string_view name, std::string& out) {
  if (is_plain_name(name)) {
    out += name;
    return;
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '\'';
  for (char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\'' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  out += '\'';
}

void print_dim(const Dim& dim, std::string& out);

void print_atom(const DimAtom& atom, std::string& out) {
  if (atom.op == DimOp::kSymbol) return print_name(atom.name, out);
  for (const Function& function : kFunctions) {
    if (function.op == atom.op) out += function.name;
  }
  out += '(';
  for (size_t i = 0; i < atom.args.size(); ++i) {
    if (i > 0) out += ", ";
    print_dim(atom.args[i], out);
  }
  out += ')';
}

// The sign is printed by the caller; the magnitude of INT64_MIN is not an int64, so that one
// keeps its sign.
void print_term(const DimTerm& term, int64_t coef, std::string& out) {
  for (size_t i = 0; i < term.factors.size(); ++i) {
    if (i > 0) out += '*';
    print_atom(*term.factors[i], out);
  }
  if (term.factors.empty()) {
    out += std::to_string(coef);
  } else if (coef != 1) {
    out += '*';
    out += std::to_string(coef);
  }
}

void print_dim(const Dim& dim, std::string& out) {
  const DimExpr* expr = DimAccess::expr(dim);
  if (expr == nullptr) {
    out += std::to_string(dim.value());
    return;
  }
  if (expr->terms.empty()) {
    out += kInvalidName;
    out += "()";
    return;
  }
  bool first = true;
  for (const DimTerm& term : expr->terms) {
    const bool minus = term.coef < 0 && term.coef != INT64_MIN;
    if (first) {
      if (minus) out += '-';
    } else {
      out += minus ? " - " : " + ";
    }
    print_term(term, minus ? -term.coef : term.coef, out);
    first = false;
  }
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Dim> parse() {
    REDLINE_ASSIGN(Dim dim, sum());
    skip_blanks();
    if (pos_ != text_.size()) return error("the end");
    return dim;
  }

 private:
  void skip_blanks() {
    while (pos_ < text_.size() && (text_[pos_] == ' ' || text_[pos_] == '\t')) ++pos_;
  }

  bool take(char c) {
    skip_blanks();
    if (pos_ >= text_.size() || text_[pos_] != c) return false;
    ++pos_;
    return true;
  }

  Status error(std::string_view expected) const {
    return invalid_argument("dimension expression, column ", pos_ + 1, ": expected ", expected);
  }

  Result<Dim> sum() {
    // Each level of nesting is a few stack frames.
    constexpr int kMaxNesting = 2 * internal::kMaxDimDepth;
    if (depth_ >= kMaxNesting) return error("less nesting");
    ++depth_;
    skip_blanks();
    const bool minus = pos_ + 1 < text_.size() && text_[pos_] == '-' && !is_digit(text_[pos_ + 1]);
    if (minus) ++pos_;
    REDLINE_ASSIGN(Dim total, product());
    if (minus) total = -total;
    while (true) {
      const bool plus = take('+');
      if (!plus && !take('-')) break;
      REDLINE_ASSIGN(Dim term, product());
      total = plus ? total + term : total - term;
    }
    --depth_;
    return total;
  }

  Result<Dim> product() {
    REDLINE_ASSIGN(Dim result, factor());
    while (take('*')) {
      REDLINE_ASSIGN(Dim next, factor());
      result *= next;
    }
    return result;
  }

  Result<Dim> factor() {
    skip_blanks();
    if (pos_ >= text_.size()) return error("a value");
    const char c = text_[pos_];
    if (is_digit(c) || c == '-') return number();
    if (c == '\'') return quoted();
    if (take('(')) {
      REDLINE_ASSIGN(Dim inside, sum());
      if (!take(')')) return error("')'");
      return inside;
    }
    if (!is_name_start(c)) return error("a value");
    const size_t start = pos_;
    while (pos_ < text_.size() && is_name_char(text_[pos_])) ++pos_;
    const std::string_view name = text_.substr(start, pos_ - start);
    if (take('(')) return call(name);
    return Dim::symbol(std::string(name));
  }

  Result<Dim> number() {
    const bool minus = take('-');
    if (pos_ >= text_.size() || !is_digit(text_[pos_])) return error("a digit");
    int64_t value = 0;
    while (pos_ < text_.size() && is_digit(text_[pos_])) {
      const int digit = text_[pos_] - '0';
      if (__builtin_mul_overflow(value, 10, &value) ||
          __builtin_add_overflow(value, minus ? -digit : digit, &value)) {
        return error("a number that fits in 64 bits");
      }
      ++pos_;
    }
    return Dim(value);
  }

  Result<Dim> quoted() {
    std::string name;
    ++pos_;
    while (true) {
      if (pos_ >= text_.size()) return error("a closing '");
      const char c = text_[pos_++];
      if (c == '\'') return Dim::symbol(std::move(name));
      if (c != '\\') {
        name += c;
        continue;
      }
      if (pos_ >= text_.size()) return error("an escape");
      const char escape = text_[pos_++];
      if (escape == '\'' || escape == '\\') {
        name += escape;
      } else if (escape == 'x' && pos_ + 2 <= text_.size() && hex(text_[pos_]) >= 0 &&
                 hex(text_[pos_ + 1]) >= 0) {
        name += static_cast<char>(hex(text_[pos_]) * 16 + hex(text_[pos_ + 1]));
        pos_ += 2;
      } else {
        return error("one of \\' \\\\ \\xHH");
      }
    }
  }

  static int hex(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  }

  // The name and '(' are taken.
  Result<Dim> call(std::string_view name) {
    if (name == kInvalidName) {
      if (!take(')')) return error("')'");
      return Dim::invalid();
    }
    for (const Function& function : kFunctions) {
      if (function.name != name) continue;
      REDLINE_ASSIGN(Dim result, sum());
      const bool any_count = function.op != DimOp::kFloorDiv && function.op != DimOp::kMod;
      int count = 1;
      while ((count < 2 || any_count) && take(',')) {
        REDLINE_ASSIGN(Dim next, sum());
        result = internal::combine_dims(function.op, result, next);
        ++count;
      }
      if (count < 2) return error("','");
      if (!take(')')) return error("')'");
      return result;
    }
    return invalid_argument("dimension expression, column ", pos_, ": unknown function '", name,
                            "', expected floordiv, mod, min, max or bcast");
  }

  std::string_view text_;
  size_t pos_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string Dim::to_string() const {
  std::string out;
  print_dim(*this, out);
  return out;
}

Result<Dim> Dim::parse(std::string_view text) { return Parser(text).parse(); }

}  // namespace redline
