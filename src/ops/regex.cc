// SPDX-License-Identifier: Apache-2.0
#include "ops/regex.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "ops/utf8.h"

namespace redline {
namespace {

constexpr char32_t kMaxCode = 0x10FFFF;
constexpr int kMaxRepeat = 1000;  // RE2's limit
constexpr int kMaxDepth = 200;
constexpr size_t kMaxProgram = 100'000;

using Set = Regex::Set;
using Assert = Regex::Assert;

// What a pattern says, before it becomes a program.
struct Expression {
  enum class Kind : uint8_t { kEmpty, kSet, kAssert, kConcat, kAlternate, kRepeat };
  Kind kind = Kind::kEmpty;
  Set set;
  Assert assertion = Assert::kTextBegin;
  std::vector<Expression> parts;
  int least = 0;
  int most = -1;  // kRepeat: -1 is without end
};

Set sorted(Set set) {
  std::sort(set.begin(), set.end());
  Set merged;
  for (const auto& range : set) {
    if (!merged.empty() && range.first <= merged.back().second + 1) {
      merged.back().second = std::max(merged.back().second, range.second);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

Set complement(const Set& set) {
  Set result;
  char32_t next = 0;
  for (const auto& [low, high] : sorted(set)) {
    if (low > next) result.emplace_back(next, low - 1);
    next = high + 1;
  }
  if (next <= kMaxCode) result.emplace_back(next, kMaxCode);
  return result;
}

Set fold_ascii_case(const Set& set) {
  Set folded = set;
  for (const auto& [low, high] : set) {
    for (char32_t c = std::max<char32_t>(low, 'A'); c <= std::min<char32_t>(high, 'z'); ++c) {
      if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) folded.emplace_back(c ^ 32, c ^ 32);
    }
  }
  return sorted(std::move(folded));
}

bool holds(const Set& set, char32_t code) {
  auto after = std::upper_bound(set.begin(), set.end(), code,
                                [](char32_t c, const auto& range) { return c < range.first; });
  return after != set.begin() && code <= std::prev(after)->second;
}

const Set kDigits = {{'0', '9'}};
const Set kWord = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const Set kSpace = {{'\t', '\n'}, {'\f', '\r'}, {' ', ' '}};

std::optional<Set> perl_class(char32_t letter) {
  switch (letter) {
    case 'd':
      return kDigits;
    case 'D':
      return complement(kDigits);
    case 'w':
      return kWord;
    case 'W':
      return complement(kWord);
    case 's':
      return kSpace;
    case 'S':
      return complement(kSpace);
    default:
      return std::nullopt;
  }
}

std::optional<Set> posix_class(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kClasses[] = {
      {"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"ascii", std::string_view("\0\x7f", 2)},
      {"blank", "\t\t  "}, {"digit", "09"},   {"graph", "!~"},
      {"lower", "az"},     {"print", " ~"},   {"punct", "!/:@[`{~"},
      {"space", "\t\r  "}, {"upper", "AZ"},   {"word", "09AZ__az"},
      {"xdigit", "09AFaf"}};
  if (name == "cntrl") return Set{{0, 31}, {127, 127}};
  for (const auto& [known, bounds] : kClasses) {
    if (known != name) continue;
    Set set;
    for (size_t i = 0; i + 1 < bounds.size(); i += 2) {
      set.emplace_back(static_cast<unsigned char>(bounds[i]),
                       static_cast<unsigned char>(bounds[i + 1]));
    }
    return set;
  }
  return std::nullopt;
}

struct Flags {
  bool ignore_case = false;
  bool multi_line = false;
  bool dot_takes_newline = false;
};

class Parser {
 public:
  explicit Parser(std::string_view pattern) : pattern_(pattern), rest_(pattern) {}

  Result<Expression> parse() {
    REDLINE_ASSIGN(Expression all, alternation(0));
    if (!rest_.empty()) return error("unexpected )");
    return all;
  }

 private:
  Status error(std::string_view what) const {
    return invalid_argument("the pattern '", pattern_, "': ", what, " at byte ",
                            pattern_.size() - rest_.size());
  }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }

  Result<Expression> alternation(int depth) {
    if (depth > kMaxDepth) return error("groups are nested too deep");
    Expression result{.kind = Expression::Kind::kAlternate};
    Flags outer = flags_;
    do {
      REDLINE_ASSIGN(Expression branch, concatenation(depth));
      result.parts.push_back(std::move(branch));
    } while (take("|"));
    flags_ = outer;  // flags set inside a group end with it
    return result;
  }

  Result<Expression> concatenation(int depth) {
    Expression result{.kind = Expression::Kind::kConcat};
    while (!rest_.empty() && rest_[0] != '|' && rest_[0] != ')') {
      if (take("\\Q")) {
        size_t before = result.parts.size();
        while (!rest_.empty() && !take("\\E")) result.parts.push_back(literal(read_utf8(rest_)));
        if (result.parts.size() > before) {  // what repeats after \E is the last character
          REDLINE_ASSIGN(result.parts.back(), repeated(std::move(result.parts.back())));
        }
        continue;
      }
      REDLINE_ASSIGN(Expression atom, this->atom(depth));
      REDLINE_ASSIGN(atom, repeated(std::move(atom)));
      result.parts.push_back(std::move(atom));
    }
    return result;
  }

  Result<Expression> atom(int depth) {
    if (take("(")) return group(depth);
    if (take("[")) return bracket();
    if (take(".")) {
      return set_of(flags_.dot_takes_newline ? Set{{0, kMaxCode}} : complement({{'\n', '\n'}}));
    }
    if (take("^")) return assertion(flags_.multi_line ? Assert::kLineBegin : Assert::kTextBegin);
    if (take("$")) return assertion(flags_.multi_line ? Assert::kLineEnd : Assert::kTextEnd);
    if (rest_[0] == '*' || rest_[0] == '+' || rest_[0] == '?') return error("nothing to repeat");
    if (take("\\")) {
      if (rest_.empty()) return error("a \\ ends it");
      if (take("b")) return assertion(Assert::kWordBoundary);
      if (take("B")) return assertion(Assert::kNoWordBoundary);
      if (take("A")) return assertion(Assert::kTextBegin);
      if (take("z")) return assertion(Assert::kTextEnd);
      if (auto set = perl_class(static_cast<unsigned char>(rest_[0]))) {
        rest_.remove_prefix(1);
        return set_of(*set);
      }
      REDLINE_ASSIGN(char32_t code, escaped());
      return literal(code);
    }
    return literal(read_utf8(rest_));
  }

  Result<Expression> group(int depth) {
    if (take("?")) {
      if (take("P<") || take("<")) {
        size_t end = rest_.find('>');
        if (end == std::string_view::npos || end == 0) return error("a group's name has no end");
        rest_.remove_prefix(end + 1);
      } else {
        Flags inner = flags_;
        bool on = true;
        while (!rest_.empty() && rest_[0] != ':' && rest_[0] != ')') {
          if (take("-")) {
            on = false;
          } else if (take("i")) {
            inner.ignore_case = on;
          } else if (take("m")) {
            inner.multi_line = on;
          } else if (take("s")) {
            inner.dot_takes_newline = on;
          } else if (!take("U")) {  // U is about which match is preferred, not whether there is one
            return error("unknown group syntax");
          }
        }
        if (take(")")) {  // (?i) holds to the end of the group around it
          flags_ = inner;
          return Expression{};
        }
        if (!take(":")) return error("missing )");
        Flags outer = flags_;
        flags_ = inner;
        Result<Expression> inside = closed_group(depth);
        flags_ = outer;
        return inside;
      }
    }
    return closed_group(depth);
  }

  Result<Expression> closed_group(int depth) {
    REDLINE_ASSIGN(Expression inside, alternation(depth + 1));
    if (!take(")")) return error("missing )");
    return inside;
  }

  Result<Expression> bracket() {
    bool negated = take("^");
    Set set;
    for (bool first = true; first || !take("]"); first = false) {
      if (rest_.empty()) return error("missing ]");
      if (take("[:")) {
        size_t end = rest_.find(":]");
        bool inverse = take("^");
        if (end == std::string_view::npos) return error("missing :]");
        auto named = posix_class(rest_.substr(0, end - (inverse ? 1 : 0)));
        if (!named) return error("unknown class name");
        rest_.remove_prefix(end - (inverse ? 1 : 0) + 2);
        Set add = inverse ? complement(*named) : *named;
        set.insert(set.end(), add.begin(), add.end());
        continue;
      }
      if (rest_.size() > 1 && rest_[0] == '\\') {
        if (auto named = perl_class(static_cast<unsigned char>(rest_[1]))) {
          rest_.remove_prefix(2);
          set.insert(set.end(), named->begin(), named->end());
          continue;
        }
      }
      REDLINE_ASSIGN(char32_t low, bracket_code());
      char32_t high = low;
      if (rest_.size() > 1 && rest_[0] == '-' && rest_[1] != ']') {
        rest_.remove_prefix(1);
        REDLINE_ASSIGN(high, bracket_code());
        if (high < low) return error("a range ends before it begins");
      }
      set.emplace_back(low, high);
    }
    set = sorted(std::move(set));
    if (flags_.ignore_case) set = fold_ascii_case(set);
    return Expression{.kind = Expression::Kind::kSet, .set = negated ? complement(set) : set};
  }

  Result<char32_t> bracket_code() {
    if (take("\\")) {
      if (rest_.empty()) return error("a \\ ends it");
      return escaped();
    }
    return read_utf8(rest_);
  }

  // The code point of an escape whose \ has been taken.
  Result<char32_t> escaped() {
    constexpr std::string_view kLetters = "afnrtv";
    constexpr std::string_view kCodes = "\a\f\n\r\t\v";
    char c = rest_[0];
    if (size_t i = kLetters.find(c); i != std::string_view::npos) {
      rest_.remove_prefix(1);
      return static_cast<char32_t>(kCodes[i]);
    }
    if (take("x{")) {
      size_t end = rest_.find('}');
      if (end == std::string_view::npos || end == 0) return error("\\x{ has no digits and }");
      REDLINE_ASSIGN(char32_t code, number(end, 16));
      rest_.remove_prefix(1);
      return code;
    }
    if (take("x")) return number(2, 16);
    if (c >= '0' && c <= '7') {
      size_t digits = 1;
      while (digits < 3 && digits < rest_.size() && rest_[digits] >= '0' && rest_[digits] <= '7') {
        ++digits;
      }
      if (c != '0' && digits == 1) return error("back-references are not supported");
      return number(digits, 8);
    }
    bool letter = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter) return error("unknown escape");
    return read_utf8(rest_);
  }

  Result<char32_t> number(size_t digits, char32_t base) {
    char32_t value = 0;
    if (rest_.size() < digits) return error("too few digits");
    for (size_t i = 0; i < digits; ++i) {
      char c = rest_[i];
      char32_t digit = c >= '0' && c <= '9'   ? static_cast<char32_t>(c - '0')
                       : c >= 'a' && c <= 'f' ? static_cast<char32_t>(c - 'a' + 10)
                       : c >= 'A' && c <= 'F' ? static_cast<char32_t>(c - 'A' + 10)
                                              : base;
      if (digit >= base) return error("not a digit");
      value = value * base + digit;
      if (value > kMaxCode) return error("not a code point");
    }
    rest_.remove_prefix(digits);
    return value;
  }

  Result<Expression> repeated(Expression atom) {
    int least = 0;
    int most = -1;
    if (take("*")) {
    } else if (take("+")) {
      least = 1;
    } else if (take("?")) {
      most = 1;
    } else if (!take_counts(least, most)) {
      return atom;
    }
    if (least > kMaxRepeat || most > kMaxRepeat || (most >= 0 && most < least)) {
      return error("a repetition of impossible size");
    }
    take("?");  // lazy: prefers another match, but there is one just the same
    int ignored = 0;
    if (rest_.starts_with('*') || rest_.starts_with('+') || rest_.starts_with('?')) {
      return error("a repetition of a repetition");
    }
    if (std::string_view before = rest_; take_counts(ignored, ignored)) {
      rest_ = before;
      return error("a repetition of a repetition");
    }
    Expression result{.kind = Expression::Kind::kRepeat, .least = least, .most = most};
    result.parts.push_back(std::move(atom));
    return result;
  }

  // {2}, {2,} or {2,5}; anything else after a brace is literal text.
  bool take_counts(int& least, int& most) {
    if (!rest_.starts_with('{')) return false;
    std::string_view text = rest_.substr(1);
    auto digits = [&](int& value) {
      size_t count = 0;
      value = 0;
      while (count < text.size() && text[count] >= '0' && text[count] <= '9') {
        value = std::min(value * 10 + (text[count++] - '0'), kMaxRepeat + 1);
      }
      text.remove_prefix(count);
      return count > 0;
    };
    int low = 0;
    int high = 0;
    if (!digits(low)) return false;
    high = low;
    if (text.starts_with(',')) {
      text.remove_prefix(1);
      if (!digits(high)) high = -1;
    }
    if (!text.starts_with('}')) return false;
    rest_ = text.substr(1);
    least = low;
    most = high;
    return true;
  }

  Expression literal(char32_t code) const { return set_of({{code, code}}); }
  Expression set_of(Set set) const {
    if (flags_.ignore_case) set = fold_ascii_case(set);
    return {.kind = Expression::Kind::kSet, .set = std::move(set)};
  }
  static Expression assertion(Assert a) {
    return {.kind = Expression::Kind::kAssert, .assertion = a};
  }

  std::string_view pattern_;
  std::string_view rest_;
  Flags flags_;
};

}  // namespace

// Thompson's construction, from the back: each part is told where to go on.
class RegexCompiler {
 public:
  explicit RegexCompiler(Regex& regex) : regex_(regex) {}

  // The address at which `e`, followed by `next`, begins.
  Result<int> emit(const Expression& e, int next) {
    using Kind = Expression::Kind;
    switch (e.kind) {
      case Kind::kEmpty:
        return next;
      case Kind::kSet:
        regex_.sets_.push_back(e.set);
        return add({.op = Regex::Op::kSet,
                    .set = static_cast<int>(regex_.sets_.size()) - 1,
                    .next = next});
      case Kind::kAssert:
        return add({.op = Regex::Op::kAssert, .assertion = e.assertion, .next = next});
      case Kind::kConcat:
        for (size_t i = e.parts.size(); i-- > 0;) {
          REDLINE_ASSIGN(next, emit(e.parts[i], next));
        }
        return next;
      case Kind::kAlternate: {
        REDLINE_ASSIGN(int start, emit(e.parts.back(), next));
        for (size_t i = e.parts.size() - 1; i-- > 0;) {
          REDLINE_ASSIGN(int branch, emit(e.parts[i], next));
          REDLINE_ASSIGN(start, split(branch, start));
        }
        return start;
      }
      case Kind::kRepeat:
        return emit_repeat(e, next);
    }
    return internal_error("unknown kind of expression");
  }

  Result<int> add(Regex::Instruction instruction) {
    if (regex_.program_.size() >= kMaxProgram) {
      return invalid_argument("the pattern needs more than ", kMaxProgram, " steps");
    }
    regex_.program_.push_back(instruction);
    return static_cast<int>(regex_.program_.size()) - 1;
  }

 private:
  Result<int> split(int a, int b) { return add({.op = Regex::Op::kSplit, .next = a, .other = b}); }

  Result<int> emit_repeat(const Expression& e, int next) {
    const Expression& part = e.parts[0];
    int start = next;
    if (e.most < 0) {
      REDLINE_ASSIGN(int loop, split(next, next));
      REDLINE_ASSIGN(int body, emit(part, loop));
      regex_.program_[static_cast<size_t>(loop)].next = body;
      start = loop;
    }
    for (int i = e.least; i < e.most; ++i) {
      REDLINE_ASSIGN(int body, emit(part, start));
      REDLINE_ASSIGN(start, split(body, next));
    }
    for (int i = 0; i < e.least; ++i) {
      REDLINE_ASSIGN(start, emit(part, start));
    }
    return start;
  }

  Regex& regex_;
};

Result<Regex> Regex::compile(std::string_view pattern) {
  REDLINE_ASSIGN(Expression expression, Parser(pattern).parse());
  Regex regex;
  RegexCompiler compiler(regex);
  REDLINE_ASSIGN(int end, compiler.add({.op = Op::kMatch}));
  REDLINE_ASSIGN(regex.start_, compiler.emit(expression, end));
  return regex;
}

bool Regex::full_match(std::string_view text) const {
  std::vector<int> now;
  std::vector<int> then;
  std::vector<size_t> seen(program_.size(), 0);  // the step at which a state was last reached
  std::vector<int> pending;
  std::optional<char32_t> before;
  std::optional<char32_t> after;
  size_t step = 0;
  bool matched = false;

  auto is_word = [](std::optional<char32_t> c) { return c && holds(kWord, *c); };
  auto passes = [&](Assert a) {
    switch (a) {
      case Assert::kTextBegin:
        return !before;
      case Assert::kTextEnd:
        return !after;
      case Assert::kLineBegin:
        return !before || *before == '\n';
      case Assert::kLineEnd:
        return !after || *after == '\n';
      case Assert::kWordBoundary:
        return is_word(before) != is_word(after);
      case Assert::kNoWordBoundary:
        return is_word(before) == is_word(after);
    }
    return false;
  };
  // Puts the states that `state` leads to without taking a character into `states`.
  auto reach = [&](int state, std::vector<int>& states) {
    pending.assign(1, state);
    while (!pending.empty()) {
      auto at = static_cast<size_t>(pending.back());
      pending.pop_back();
      if (seen[at] == step) continue;
      seen[at] = step;
      const Instruction& i = program_[at];
      if (i.op == Op::kMatch) {
        matched = true;
      } else if (i.op == Op::kSet) {
        states.push_back(static_cast<int>(at));
      } else if (i.op == Op::kSplit) {
        pending.push_back(i.other);
        pending.push_back(i.next);
      } else if (passes(i.assertion)) {
        pending.push_back(i.next);
      }
    }
  };
  auto advance = [&] {
    before = after;
    after.reset();
    if (!text.empty()) after = read_utf8(text);
    ++step;
    matched = false;
  };

  advance();
  reach(start_, now);
  while (after && !now.empty()) {
    char32_t code = *after;
    advance();
    then.clear();
    for (int state : now) {
      const Instruction& i = program_[static_cast<size_t>(state)];
      if (holds(sets_[static_cast<size_t>(i.set)], code)) reach(i.next, then);
    }
    now.swap(then);
  }
  return matched && !after;
}

}  // namespace redline
