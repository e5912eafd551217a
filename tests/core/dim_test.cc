// SPDX-License-Identifier: Apache-2.0
#include "core/dim.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <unordered_set>
#include <vector>

namespace redline {
namespace {

Dim sym(const char* name) { return Dim::symbol(name); }

using Values = std::map<std::string, int64_t, std::less<>>;

Dim::Lookup lookup_in(const Values& values) {
  return [&values](std::string_view name) -> std::optional<int64_t> {
    auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional<int64_t>(found->second);
  };
}

int64_t eval(const Dim& dim, const Values& values) {
  auto result = dim.evaluate(lookup_in(values));
  EXPECT_TRUE(result.ok()) << dim.to_string() << ": " << result.status().to_string();
  return result.ok() ? *result : INT64_MIN;
}

Dim conv_size(const Dim& in, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation = 1) {
  return floor_div(in + 2 * pad - (dilation * (kernel - 1) + 1), stride) + 1;
}

TEST(Dim, ConstantsFold) {
  const Dim d = Dim(6) * 7 - 2;
  EXPECT_TRUE(d.is_const());
  EXPECT_EQ(d.value(), 40);
  EXPECT_EQ(Dim(), 0);
  EXPECT_EQ(floor_div(-7, 2).value(), -4);
  EXPECT_EQ(floor_div(7, -2).value(), -4);
  EXPECT_EQ(ceil_div(7, 2).value(), 4);
  EXPECT_EQ(ceil_div(-7, 2).value(), -3);
  EXPECT_EQ(mod(-7, 3).value(), 2);
  EXPECT_EQ(mod(7, -3).value(), -2);
  EXPECT_EQ(min(3, -4).value(), -4);
  EXPECT_EQ(max(3, -4).value(), 3);
}

TEST(Dim, EqualPolynomialsAreEqual) {
  const Dim n = sym("n"), m = sym("m");
  EXPECT_EQ((n + 1) * (n - 1), n * n - 1);
  EXPECT_EQ((n + m) * (n + m), m * m + n * m * 2 + n * n);
  EXPECT_EQ(n - n, 0);
  EXPECT_TRUE((n - n).is_const());
  EXPECT_EQ(n * 0, 0);
  EXPECT_NE(n, m);
  EXPECT_NE(n, n + 1);
  EXPECT_EQ((n * 3 + m).hash(), (m + n + n + n).hash());
}

TEST(Dim, OrderIsTotalOnDistinctExpressions) {
  const Dim n = sym("n"), m = sym("m");
  std::vector<Dim> dims = {n * 2, Dim(4), m, n, n + 1, min(n, m), Dim(-3), Dim::invalid(), n * m};
  std::sort(dims.begin(), dims.end());
  for (size_t i = 1; i < dims.size(); ++i) EXPECT_LT(dims[i - 1], dims[i]);
  EXPECT_EQ(dims[0], -3);
  std::unordered_set<Dim> set(dims.begin(), dims.end());
  EXPECT_EQ(set.size(), dims.size());
}

TEST(Dim, Symbols) {
  const Dim n = sym("n");
  EXPECT_TRUE(n.is_symbol());
  EXPECT_EQ(n.symbol_name(), "n");
  EXPECT_FALSE((n * 2).is_symbol());
  EXPECT_FALSE(min(n, 4).is_symbol());
  EXPECT_FALSE(Dim(3).is_symbol());
  const Dim d = floor_div(sym("a") + min(sym("b"), 3) * n, sym("c"));
  EXPECT_EQ(d.symbols(), (std::set<std::string>{"a", "b", "c", "n"}));
}

TEST(Dim, ConvolutionSizes) {
  const Dim h = sym("h");
  EXPECT_EQ(conv_size(h, 3, 1, 1), h);
  EXPECT_EQ(conv_size(h, 5, 1, 2), h);
  EXPECT_EQ(conv_size(h, 3, 1, 2, 2), h);
  EXPECT_EQ(conv_size(h, 3, 2, 1).to_string(), "floordiv(h + 1, 2)");
  EXPECT_EQ(conv_size(h, 7, 2, 3), conv_size(h, 1, 2, 0));
  // ResNet: five halvings are one.
  Dim size = conv_size(h, 7, 2, 3);
  for (int i = 0; i < 4; ++i) size = conv_size(size, 3, 2, 1);
  EXPECT_EQ(size.to_string(), "floordiv(h + 31, 32)");
  EXPECT_EQ(eval(size, {{"h", 224}}), 7);
  EXPECT_EQ(eval(size, {{"h", 225}}), 8);
  EXPECT_EQ(ceil_div(h, 2), conv_size(h, 3, 2, 1));
}

TEST(Dim, ReshapeMinusOne) {
  const Dim b = sym("batch"), s = sym("seq");
  EXPECT_EQ(floor_div(b * s * 768, b * s), 768);
  EXPECT_EQ(floor_div(b * s * 768, b * s * 12), 64);
  EXPECT_EQ(floor_div(b * s * 768, Dim(64) * 12 * s), b);
  EXPECT_EQ(floor_div(b * s * 2, s * 4).to_string(), "floordiv(batch, 2)");
  EXPECT_EQ(floor_div(b * (s + 1) * 3, s + 1), b * 3);
  EXPECT_EQ(floor_div((b + s) * (b - 1), b - 1), b + s);
  EXPECT_EQ(floor_div(b * b - 1, b + 1), b - 1);
  EXPECT_EQ(floor_div(s + 2, s + 2), 1);
  const Dim pooled = conv_size(s, 3, 2, 1);
  EXPECT_EQ(floor_div(b * pooled * 256, pooled * 256), b);
  EXPECT_EQ(exact_div(b * s * 6, b * 3), s * 2);
  EXPECT_EQ(exact_div(b * s * 6, b * 4), std::nullopt);
  EXPECT_EQ(exact_div(b, s), std::nullopt);
  EXPECT_EQ(exact_div(b, 0), std::nullopt);
}

TEST(Dim, ConcatAndSlice) {
  const Dim past = sym("past"), s = sym("seq");
  EXPECT_EQ((past + s + 1).to_string(), "past + seq + 1");
  EXPECT_EQ(past + s - past, s);
  // x[:, 1:] then x[:, :INT64_MAX], starts and ends clamped to [0, seq]
  EXPECT_EQ(min(s, INT64_MAX), s);
  EXPECT_EQ(max(s, 0), s);
  EXPECT_EQ(min(max(Dim(1), 0), s).to_string(), "min(1, seq)");
  EXPECT_EQ(max(min(s, 5), 0), min(s, 5));
  // x[::2]
  EXPECT_EQ(ceil_div(s, 2).to_string(), "floordiv(seq + 1, 2)");
  // split in two uneven halves
  const Dim first = ceil_div(s, 2);
  EXPECT_EQ(eval(first, {{"seq", 7}}) + eval(s - first, {{"seq", 7}}), 7);
}

TEST(Dim, FloorDivSimplifies) {
  const Dim x = sym("x"), y = sym("y");
  EXPECT_EQ(floor_div(floor_div(x, 2), 3), floor_div(x, 6));
  EXPECT_EQ(floor_div(x * 6, 3), x * 2);
  EXPECT_EQ(floor_div(x * 6 + 5, 3), x * 2 + 1);
  EXPECT_EQ(floor_div(x * 6 + 5, 4), floor_div(x * 3 + 2, 2));
  EXPECT_EQ(floor_div(x * 4 + y, 4), x + floor_div(y, 4));
  EXPECT_EQ(floor_div(x, 1), x);
  EXPECT_EQ(floor_div(0, x), 0);
  EXPECT_EQ(floor_div(x * -4, -2), x * 2);
  EXPECT_EQ(floor_div(mod(x, 4), 4), 0);
  EXPECT_EQ(floor_div(x * 2, -3), floor_div(x * -2, 3));
  EXPECT_NE(floor_div(x, 2) * 2, x);
}

TEST(Dim, ModSimplifies) {
  const Dim x = sym("x"), y = sym("y");
  EXPECT_EQ(mod(x * 8, 4), 0);
  EXPECT_EQ(mod(x * 8 + 3, 4), 3);
  EXPECT_EQ(mod(x, 1), 0);
  EXPECT_EQ(mod(x, x), 0);
  EXPECT_EQ(mod(x * y * 3, y), 0);
  EXPECT_EQ(mod(x * 5, 4), mod(x, 4));
  EXPECT_EQ(mod(mod(x, 8), 4), mod(x, 4));
  EXPECT_EQ(mod(mod(x, 4) + 4, 4), mod(x, 4));
  EXPECT_EQ(mod(mod(x, 4), 8), mod(x, 4));
  EXPECT_EQ(mod(x * 2 + 1, 4), mod(x, 2) * 2 + 1);
  EXPECT_EQ(mod(x + y * x, y), mod(x, y));
}

TEST(Dim, MinMaxSimplify) {
  const Dim x = sym("x"), y = sym("y"), z = sym("z");
  EXPECT_EQ(min(x, x + 2), x);
  EXPECT_EQ(max(x, x + 2), x + 2);
  EXPECT_EQ(max(x, x + y), x + y);
  EXPECT_EQ(min(min(x, y), z), min(x, min(z, y)));
  EXPECT_EQ(min(min(x, y), x), min(x, y));
  EXPECT_EQ(max(max(x, 3), max(y, 5)), max(max(x, y), 5));
  EXPECT_EQ(min(x, -1), -1);
  EXPECT_EQ(max(x - 2, 0).to_string(), "max(0, x - 2)");
  EXPECT_EQ(max(x, INT64_MIN), x);
}

TEST(Dim, BroadcastSizes) {
  const Dim x = sym("x"), y = sym("y"), z = sym("z");
  EXPECT_EQ(broadcast(x, 1), x);
  EXPECT_EQ(broadcast(1, x), x);
  EXPECT_EQ(broadcast(1, 1), 1);
  EXPECT_EQ(broadcast(x, x), x);
  EXPECT_EQ(broadcast(x, 3), 3);
  EXPECT_EQ(broadcast(0, x), 0);
  EXPECT_EQ(broadcast(x + 2, y), x + 2);
  EXPECT_EQ(broadcast(x, y), broadcast(y, x));
  EXPECT_EQ(broadcast(broadcast(x, y), y), broadcast(x, y));
  const Dim d = broadcast(broadcast(x, y), z);
  EXPECT_EQ(d.to_string(), "bcast(x, y, z)");
  EXPECT_EQ(eval(d, {{"x", 1}, {"y", 1}, {"z", 5}}), 5);
  EXPECT_EQ(eval(d, {{"x", 5}, {"y", 1}, {"z", 5}}), 5);
  EXPECT_EQ(eval(d, {{"x", 1}, {"y", 0}, {"z", 1}}), 0);
  EXPECT_EQ(eval(d, {{"x", 1}, {"y", 1}, {"z", 1}}), 1);
}

TEST(Dim, PrintsReadably) {
  const Dim h = sym("h"), w = sym("w"), b = sym("batch");
  EXPECT_EQ((b * 12).to_string(), "batch*12");
  EXPECT_EQ((h + 2).to_string(), "h + 2");
  EXPECT_EQ((Dim(2) - h).to_string(), "-h + 2");
  EXPECT_EQ((h - w * 3 - 1).to_string(), "h - w*3 - 1");
  EXPECT_EQ((h * h * w + h).to_string(), "h*h*w + h");
  EXPECT_EQ((floor_div(h, w) * b).to_string(), "batch*floordiv(h, w)");
  EXPECT_EQ(Dim(-5).to_string(), "-5");
  EXPECT_EQ(Dim::invalid().to_string(), "invalid()");
  EXPECT_EQ((h + INT64_MIN).to_string(), "h + -9223372036854775808");
  EXPECT_EQ((h * INT64_MIN).to_string(), "h*-9223372036854775808");
}

TEST(Dim, HostileSymbolNamesSurvivePrinting) {
  const std::vector<std::string> names = {
      "",        "a b",    "it's", "\\",  "a'+'b",        std::string("\0x", 2),
      "\xff\n",  "9lives", "min",  "max", "mod",          "floordiv",
      "invalid", "bcast",  "a-b",  "h*2", "\xe9\xab\x98", "x.y_z0"};
  Dim sum = 0;
  for (const std::string& name : names) {
    const Dim d = Dim::symbol(name);
    auto parsed = Dim::parse(d.to_string());
    ASSERT_TRUE(parsed.ok()) << d.to_string();
    EXPECT_EQ(*parsed, d) << d.to_string();
    EXPECT_EQ(parsed->symbol_name(), name);
    sum += d * d + 1;
  }
  EXPECT_EQ(*Dim::parse(sum.to_string()), sum);
  EXPECT_EQ(Dim::symbol("x.y_z0").to_string(), "x.y_z0");
  EXPECT_EQ(Dim::symbol("a'\n").to_string(), "'a\\'\\x0a'");
}

TEST(Dim, ParsesWhatPeopleWrite) {
  const Dim h = sym("h");
  EXPECT_EQ(*Dim::parse(" ( h+1 )*2 "), h * 2 + 2);
  EXPECT_EQ(*Dim::parse("-(h)"), -h);
  EXPECT_EQ(*Dim::parse("2*h - -3"), h * 2 + 3);
  EXPECT_EQ(*Dim::parse("-9223372036854775808"), INT64_MIN);
  EXPECT_EQ(*Dim::parse("min(h, 3, w)"), min(min(h, 3), sym("w")));
  EXPECT_EQ(*Dim::parse("max"), sym("max"));
}

TEST(Dim, ParseRefusesBadText) {
  const std::string deep = std::string(100000, '(') + "1";
  const std::string calls = [] {
    std::string text;
    for (int i = 0; i < 50000; ++i) text += "min(";
    return text;
  }();
  for (const std::string& text : {std::string(),
                                  std::string("+"),
                                  std::string("h +"),
                                  std::string("h h"),
                                  std::string("'h"),
                                  std::string("'\\q'"),
                                  std::string("'\\x4"),
                                  std::string("min(h)"),
                                  std::string("mod(h)"),
                                  std::string("mod(h, 2, 3)"),
                                  std::string("sqrt(h)"),
                                  std::string("(h"),
                                  std::string("h)"),
                                  std::string("9223372036854775808"),
                                  std::string("-9223372036854775809"),
                                  std::string("1e3"),
                                  std::string("h/2"),
                                  std::string("--h"),
                                  std::string("h\0", 2),
                                  deep,
                                  calls}) {
    auto result = Dim::parse(text);
    EXPECT_FALSE(result.ok()) << text.substr(0, 40);
    EXPECT_EQ(result.status().code(), StatusCode::kInvalidArgument);
  }
}

TEST(Dim, OverflowBecomesInvalid) {
  const Dim n = sym("n");
  const std::vector<Dim> dims = {Dim(INT64_MAX) + 1, Dim(INT64_MIN) - 1,       Dim(INT64_MAX) * 2,
                                 -Dim(INT64_MIN),    n * INT64_MAX + n,        n * INT64_MAX * 2,
                                 n - Dim(INT64_MIN), floor_div(INT64_MIN, -1), floor_div(n, 0),
                                 mod(n, 0),          floor_div(4, 0),          mod(4, 0)};
  for (const Dim& dim : dims) {
    EXPECT_TRUE(dim.is_invalid()) << dim.to_string();
    EXPECT_FALSE(dim.is_const());
    EXPECT_FALSE(dim.is_symbol());
    EXPECT_FALSE(dim.as_const().has_value());
    EXPECT_FALSE(dim.evaluate(lookup_in({{"n", 1}})).ok());
    EXPECT_FALSE(dim.upper_bound({{"n", 1}}).ok());
    EXPECT_TRUE((dim + 1).is_invalid());
    EXPECT_TRUE((n * dim).is_invalid());
    EXPECT_TRUE((dim * 0).is_invalid());
    EXPECT_TRUE(min(dim, 0).is_invalid());
    EXPECT_TRUE(max(n, dim).is_invalid());
    EXPECT_TRUE(broadcast(1, dim).is_invalid());
    EXPECT_TRUE(floor_div(0, dim).is_invalid());
    EXPECT_TRUE(mod(dim, 1).is_invalid());
    EXPECT_TRUE(dim.substitute({{"n", 3}}).is_invalid());
    EXPECT_EQ(*Dim::parse(dim.to_string()), dim);
    EXPECT_FALSE(run_dim_program(dim.compile([](std::string_view) { return 0; }), {}).ok());
  }
  EXPECT_EQ(mod(INT64_MIN, -1).value(), 0);
  EXPECT_TRUE(floor_div(n, INT64_MIN).is_invalid() ||
              eval(floor_div(n, INT64_MIN), {{"n", 3}}) == -1);
}

TEST(Dim, EvaluationChecks) {
  const Dim n = sym("n"), m = sym("m");
  EXPECT_EQ(eval(n * m + 1, {{"n", 4}, {"m", 5}}), 21);
  auto missing = (n * m).evaluate(lookup_in({{"n", 4}}));
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_NE(missing.status().message().find("'m'"), std::string_view::npos);
  EXPECT_FALSE(n.evaluate(lookup_in({{"n", -1}})).ok());
  EXPECT_FALSE((n * n).evaluate(lookup_in({{"n", int64_t{1} << 32}})).ok());
  EXPECT_FALSE((n + 1).evaluate(lookup_in({{"n", INT64_MAX}})).ok());
  EXPECT_FALSE(floor_div(n, m).evaluate(lookup_in({{"n", 4}, {"m", 0}})).ok());
  EXPECT_FALSE(mod(n, m).evaluate(lookup_in({{"n", 4}, {"m", 0}})).ok());
}

TEST(Dim, Substitution) {
  const Dim n = sym("n"), m = sym("m");
  const Dim d = floor_div(n * m + 3, m) + min(n, m);
  EXPECT_EQ(d.substitute({{"m", 1}}), n + 3 + min(n, 1));
  EXPECT_EQ((n * 2 + m).substitute({{"n", m}, {"m", n}}), m * 2 + n);
  EXPECT_EQ((n + 1).substitute({}), n + 1);
  EXPECT_EQ(broadcast(n, m).substitute({{"n", 8}, {"m", 8}}), 8);
}

TEST(Dim, Bounds) {
  const Dim n = sym("n"), m = sym("m");
  const Values max_values = {{"n", 8}, {"m", 10}};
  EXPECT_EQ(*(n * m * 3 + 2).upper_bound(max_values), 242);
  EXPECT_EQ(*(n - m).upper_bound(max_values), 8);
  EXPECT_EQ(*floor_div(n + 1, 2).upper_bound(max_values), 4);
  EXPECT_EQ(*floor_div(n, m).upper_bound(max_values), 8);
  EXPECT_EQ(*mod(m, 4).upper_bound(max_values), 3);
  EXPECT_EQ(*min(sym("free"), n).upper_bound(max_values), 8);
  EXPECT_FALSE((sym("free") + n).upper_bound(max_values).ok());
  EXPECT_EQ(*(Dim(5) - sym("free")).upper_bound(max_values), 5);
  EXPECT_EQ(*Dim(INT64_MAX).upper_bound(max_values), INT64_MAX);
  EXPECT_EQ((n + 2).lower_bound(), 2);
  EXPECT_EQ((n - 2).lower_bound(), -2);
  EXPECT_EQ((Dim(0) - n).lower_bound(), INT64_MIN);
  EXPECT_EQ(((n - 1) * (n - 1)).lower_bound(), INT64_MIN);
  const auto both = [](std::string_view) { return DimRange{2, 4}; };
  EXPECT_EQ((n * n - m).range(both), (DimRange{0, 14}));
}

TEST(Dim, GrowthIsBounded) {
  // Each step would multiply the size of the tree.
  Dim product = 1;
  Dim nested = sym("x");
  Dim squared = sym("x") + sym("y");
  for (int i = 0; i < 200; ++i) {
    const Dim s = Dim::symbol(str_cat("s", i));
    product *= s + 1;
    nested = min(nested * nested, floor_div(nested, s));
    squared *= squared;
  }
  EXPECT_TRUE(product.is_invalid());
  EXPECT_TRUE(nested.is_invalid());
  EXPECT_TRUE(squared.is_invalid());
  Dim least = sym("x");
  std::string wide = "max(x";
  for (int i = 0; i < 2000; ++i) {
    least = min(least, Dim::symbol(str_cat("s", i)));
    wide += str_cat(", s", i, "*x - ", i);
  }
  EXPECT_TRUE(least.is_invalid());
  EXPECT_TRUE(Dim::parse(wide + ")")->is_invalid());
  // A wide sum, as a concat of many inputs makes, is fine.
  Dim sum = 0;
  for (int i = 0; i < 300; ++i) sum += Dim::symbol(str_cat("s", i));
  EXPECT_FALSE(sum.is_invalid());
  EXPECT_EQ(*Dim::parse(sum.to_string()), sum);
}

TEST(Dim, DeepestProgramFitsItsStack) {
  Dim d = sym("x");
  Dim last = d;
  for (int i = 0; !d.is_invalid(); ++i) {
    last = d;
    const Dim s = Dim::symbol(str_cat("s", i % 3));
    d = i % 2 ? s * mod(s - 7, d + s * 3 + 2) * 5 + 1 : sym("y") + floor_div(s + 100, d + 2) * s;
  }
  const Values values = {{"s0", 3}, {"s1", 5}, {"s2", 7}, {"x", 2}, {"y", 1}};
  auto program = last.compile([&](std::string_view name) {
    return static_cast<int>(std::distance(values.begin(), values.find(name)));
  });
  auto result = run_dim_program(program, std::vector<int64_t>{3, 5, 7, 2, 1});
  ASSERT_TRUE(result.ok()) << result.status().to_string();
  EXPECT_EQ(*result, eval(last, values));
}

TEST(DimProgram, RunsWithoutNames) {
  const Dim b = sym("batch"), s = sym("seq");
  const auto index = [](std::string_view name) { return name == "batch" ? 0 : 1; };
  const auto run = [&](const Dim& dim) {
    return run_dim_program(dim.compile(index), std::vector<int64_t>{4, 10});
  };
  EXPECT_EQ(*run(7), 7);
  EXPECT_EQ(*run(0), 0);
  EXPECT_EQ(*run(b * s * 768 + 1), 30721);
  EXPECT_EQ(*run(floor_div(s - b, 4) - b), -3);
  EXPECT_EQ(*run(min(max(b, 2), s) + mod(s, b)), 6);
  EXPECT_FALSE(run(floor_div(b, s - 10)).ok());
  EXPECT_FALSE(run_dim_program(b.compile(index), std::vector<int64_t>{}).ok());
  EXPECT_FALSE(run_dim_program(b.compile(index), std::vector<int64_t>{-1}).ok());
  const auto none = [](std::string_view) { return -1; };
  EXPECT_FALSE(run_dim_program((b + 1).compile(none), std::vector<int64_t>{1}).ok());
}

TEST(DimProgram, HostileProgramsAreRefused) {
  const std::vector<int64_t> symbols = {1, 0, INT64_MAX};
  const std::vector<std::vector<int64_t>> programs = {{},
                                                      {1},
                                                      {2},
                                                      {0},
                                                      {2, 3},
                                                      {2, -1},
                                                      {2, INT64_MIN},
                                                      {10},
                                                      {-1},
                                                      {3},
                                                      {1, 5, 3},
                                                      {1, 5, 1, 6},
                                                      {1, 1, 2, 1, 5},
                                                      {1, 1, 2, 1, 6},
                                                      {2, 2, 1, 1, 3},
                                                      {1, INT64_MIN, 1, -1, 5},
                                                      {INT64_MAX}};
  for (const auto& program : programs) EXPECT_FALSE(run_dim_program(program, symbols).ok());
  std::vector<int64_t> deep;
  for (int i = 0; i < 100000; ++i) deep.insert(deep.end(), {1, 1});
  EXPECT_FALSE(run_dim_program(deep, symbols).ok());
  std::mt19937_64 random(5);
  int accepted = 0;
  for (int i = 0; i < 100000; ++i) {
    std::vector<int64_t> program(random() % 12);
    for (int64_t& word : program) word = static_cast<int64_t>(random() % 12) - 1;
    accepted += run_dim_program(program, symbols).ok();
  }
  EXPECT_GT(accepted, 0);
}

// Random expressions beside the same arithmetic done naively on values; nullopt where the naive
// value does not exist.
struct Sample {
  Dim dim;
  std::vector<std::optional<int64_t>> values;  // one for each assignment
};

constexpr int kAssignments = 6;

std::optional<int64_t> naive(int op, std::optional<int64_t> a, std::optional<int64_t> b) {
  if (!a || !b) return std::nullopt;
  const __int128 x = *a, y = *b;
  __int128 r = 0;
  switch (op) {
    case 0:
      r = x + y;
      break;
    case 1:
      r = x - y;
      break;
    case 2:
      r = x * y;
      break;
    case 3:
    case 4:
    case 5: {
      if (y == 0) return std::nullopt;
      __int128 q = x / y;
      if (q * y != x && (x < 0) != (y < 0)) --q;
      const __int128 up = q * y == x ? q : q + 1;
      r = op == 3 ? q : op == 4 ? x - q * y : up;
      break;
    }
    case 6:
      r = std::min(x, y);
      break;
    case 7:
      r = std::max(x, y);
      break;
    default:
      if (x != y && x != 1 && y != 1) return std::nullopt;
      r = x == 1 ? y : x;
  }
  if (r > 1'000'000'000 || r < -1'000'000'000) return std::nullopt;
  return static_cast<int64_t>(r);
}

Dim apply(int op, const Dim& a, const Dim& b) {
  switch (op) {
    case 0:
      return a + b;
    case 1:
      return a - b;
    case 2:
      return a * b;
    case 3:
      return floor_div(a, b);
    case 4:
      return mod(a, b);
    case 5:
      return ceil_div(a, b);
    case 6:
      return min(a, b);
    case 7:
      return max(a, b);
    default:
      return broadcast(a, b);
  }
}

class RandomDims {
 public:
  explicit RandomDims(uint64_t seed) : random_(seed) {
    for (Values& values : assignments) {
      for (const char* name : {"a", "b", "c"}) {
        values[name] = pick(4) == 0 ? pick(2) : pick(40);
      }
    }
  }

  Sample make(int size) {
    if (size <= 1) {
      const int kind = pick(5);
      if (kind < 3) {
        const std::string name(1, static_cast<char>('a' + kind));
        Sample sample{Dim::symbol(name), {}};
        for (Values& values : assignments) sample.values.emplace_back(values[name]);
        return sample;
      }
      const int64_t value = pick(17) - 4;
      return {value, std::vector<std::optional<int64_t>>(kAssignments, value)};
    }
    const int left = 1 + pick(size - 1);
    const Sample a = make(left);
    const Sample b = pick(6) == 0 ? a : make(size - left);
    const int op = pick(9);
    Sample sample{apply(op, a.dim, b.dim), {}};
    for (int i = 0; i < kAssignments; ++i) {
      sample.values.push_back(naive(op, a.values[i], b.values[i]));
    }
    return sample;
  }

  int pick(int n) { return static_cast<int>(random_() % static_cast<uint64_t>(n)); }

  std::vector<Values> assignments = std::vector<Values>(kAssignments);

 private:
  std::mt19937_64 random_;
};

TEST(DimProperty, SimplifiedEvaluatesAsWritten) {
  int checked = 0;
  int symbolic = 0;
  for (uint64_t seed = 0; seed < 30000; ++seed) {
    RandomDims random(seed);
    const Sample sample = random.make(2 + random.pick(9));
    const Dim& dim = sample.dim;
    const std::string text = dim.to_string();
    SCOPED_TRACE(str_cat("seed ", seed, ": ", text));
    auto parsed = Dim::parse(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status().to_string();
    ASSERT_EQ(*parsed, dim) << parsed->to_string();
    ASSERT_EQ(parsed->to_string(), text);
    ASSERT_EQ(parsed->hash(), dim.hash());
    const Dim shuffled = dim.substitute({{"a", sym("z")}}).substitute({{"z", sym("a")}});
    const auto program = dim.compile([](std::string_view name) { return name[0] - 'a'; });
    symbolic += !dim.is_const() && !dim.is_invalid();
    for (int i = 0; i < kAssignments; ++i) {
      const Values& values = random.assignments[i];
      if (!sample.values[i]) continue;
      const int64_t expected = *sample.values[i];
      auto evaluated = dim.evaluate(lookup_in(values));
      ASSERT_TRUE(evaluated.ok()) << evaluated.status().to_string();
      ASSERT_EQ(*evaluated, expected);
      const std::vector<int64_t> symbols = {values.at("a"), values.at("b"), values.at("c")};
      auto run = run_dim_program(program, symbols);
      ASSERT_TRUE(run.ok()) << run.status().to_string();
      ASSERT_EQ(*run, expected);
      const Dim constant =
          dim.substitute({{"a", symbols[0]}, {"b", symbols[1]}, {"c", symbols[2]}});
      ASSERT_EQ(constant, expected);
      ASSERT_EQ(eval(shuffled, values), expected);
      ASSERT_LE(dim.lower_bound(), expected);
      const DimRange range = dim.range([&](std::string_view name) {
        const int64_t value = values.find(name)->second;
        return DimRange{value - 2, value + 1};
      });
      ASSERT_LE(range.min, expected);
      ASSERT_GE(range.max, expected);
      ++checked;
    }
  }
  EXPECT_GT(checked, 80000);
  EXPECT_GT(symbolic, 15000);
}

// Adding in any order gives the same canonical form.
TEST(DimProperty, SumsAndProductsDoNotDependOnOrder) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    RandomDims random(seed);
    const Dim x = random.make(3).dim, y = random.make(3).dim, z = random.make(3).dim;
    EXPECT_EQ(x + (y + z), (z + x) + y);
    EXPECT_EQ(x * (y * z), (z * x) * y);
    EXPECT_EQ(x * (y + z), z * x + x * y);
    EXPECT_EQ(min(x, min(y, z)), min(min(z, y), x));
    EXPECT_EQ(max(x, max(y, z)), max(max(z, x), y));
  }
}

}  // namespace
}  // namespace redline
