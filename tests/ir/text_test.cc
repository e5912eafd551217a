// SPDX-License-Identifier: Apache-2.0
#include "ir/text.h"

#include <gtest/gtest.h>

#include "test_ops.h"

namespace redline {
namespace {

class TextTest : public testing::Test {
 protected:
  std::string reprint(std::string_view text) {
    auto graph = parse_graph(*registry_, text);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    return graph.ok() ? print_graph(**graph) : "";
  }
  std::string error_of(std::string_view text) {
    auto graph = parse_graph(*registry_, text);
    EXPECT_FALSE(graph.ok()) << text;
    return std::string(graph.status().message());
  }
  void expect_identity(std::string_view text) { EXPECT_EQ(reprint(text), text); }

  std::unique_ptr<OpRegistry> registry_ = make_test_registry();
};

TEST_F(TextTest, GraphReadsBackAsPrinted) {
  expect_identity(R"(graph main(%x: f32[batch,3], %s: seq(f32[*]), %o: opt(i64[2])) {
  %w: f32[2,1] = const [0.5, -2]
  %y: f32[2,3] = add(%w, %x) @"Add_0"
  %a: f32[2,3], %b: f32[2,3] = fan(%y)
  return %a as "out", %b, %s
}
)");
}

TEST_F(TextTest, EveryAttributeReadsBack) {
  expect_identity(
      R"(graph main(%x: f32[2]) {
  %y: f32[2] = every_attr(%x, _) {whole=-3, real=1e+20, text="a\"\\\x0a\xff", wholes=[1, 2], reals=[0.5, inf, nan], texts=["p", ""], sizes=<n, min(3, m), 'a b'>, dtype=f8e4m3fn, tensor=tensor i16[2] hex"0100ffff", body={2 in; 2 = add(0, 1); 3, 4 = fan(2); 5 = every_attr(3) {body={1 in; return 0}}; return 5, 4}}
  return %y
}
)");
}

TEST_F(TextTest, EmptyListsAndScalars) {
  expect_identity(R"(graph main() {
  %s: f32[] = const [1.5]
  %e: i64[0] = const []
  %y: f32[] = every_attr(%s, %e) {sizes=<>}
  %t: str[2] = const strings("a", "\x00")
  %z: str[2] = every_attr(%t)
  return %y, %z
}
)");
}

TEST_F(TextTest, ConstantFormsAgree) {
  std::string text = reprint(R"(graph main() {
    %a: f32[2] = const hex"0000803f00000040"
    %b: f32[2] = const [1, 2.0]
    %c: f32[2] = const splat 1   // a comment
    %d: bool[1] = const [1]      # another
    %e: u64[1] = const [18446744073709551615]
    %f: i4[2] = const [-8, 7]
    return %a, %b, %c, %d, %e, %f
  })");
  EXPECT_NE(text.find("%a: f32[2] = const [1, 2]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("%b: f32[2] = const [1, 2]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("%c: f32[2] = const [1, 1]\n"), std::string::npos) << text;
  EXPECT_NE(text.find("[18446744073709551615]"), std::string::npos) << text;
  EXPECT_NE(text.find("const [-8, 7]"), std::string::npos) << text;
}

TEST_F(TextTest, SmallFloatsReadBackBitForBit) {
  for (auto* constant :
       {R"(f32[4] = const [0.1, 3.4028235e+38, 1e-45, -0])", R"(f64[2] = const [0.1, 5e-324])",
        R"(f16[2] = const [65504, -0.099975586])", R"(bf16[1] = const [0.100097656])",
        R"(f32[1] = const hex"010080ff")", R"(f8e8m0[2] = const [0.5, 4])"}) {
    expect_identity(str_cat("graph main() {\n  %a: ", constant, "\n  return %a\n}\n"));
  }
}

TEST_F(TextTest, SubgraphsSeeOuterValues) {
  expect_identity(R"(graph main(%c: bool[], %x: f32[3]) {
  %k: f32[3] = const [1, 2, 3]
  %y: f32[3] = choose(%c) then() {
    %1: f32[3] = add(%x, %k)
    return %1
  } "else branch"() {
    %m: f32[3] = const [4, 5, 6]
    %2: f32[3] = mul(%x, %m)
    return %2
  }
  %z: f32[3] = mul(%y, %k)
  return %z
}
)");
  EXPECT_NE(error_of(R"(graph main(%c: bool[]) {
  %y: f32[1] = choose(%c) a() { %i: f32[1] = const [1] return %i } b() { return %i }
  return %y
})")
                .find("2:81: %i is not defined before this"),
            std::string::npos);
}

TEST_F(TextTest, InventedSymbolsStay) {
  // The rule invents a symbol for each application; what the text says is kept, and new ones
  // differ from it.
  std::string text = R"(graph main(%c: bool[], %x: bool[4]) {
  %n: i64[count.7] = count_true(%x)
  %y: i64[*] = choose(%c) a() {
    %m: i64[count.9] = count_true(%x)
    return %m
  } b() {
    return %n
  }
  return %n, %y
}
)";
  expect_identity(text);
  auto graph = parse_graph(*registry_, text);
  ASSERT_TRUE(graph.ok());
  Node* node = (*graph)->nodes().front().get();
  ASSERT_TRUE((*graph)->infer(node).ok());
  EXPECT_EQ(node->output()->type.to_string(), "i64[count.7]");
  EXPECT_FALSE((*graph)->fresh_symbol("count") == Dim::symbol("count.9"));
}

TEST_F(TextTest, NamesOfSizesStayAsStated) {
  expect_identity(R"(graph main(%x: bool[4]) {
  %n: i64[a] = count_true(%x)
  %m: i64[b] = relu(%n)
  %k: i64[a] = relu(%m)
  return %k
}
)");
}

TEST_F(TextTest, NamesAreMadeUnique) {
  Graph graph(*registry_);
  Value* x = graph.add_input(Type::tensor(DType::kFloat32, SymDims{2}), "x");
  Value* last = x;
  for (const char* name : {"x", "", "2", "a b", "x_1"}) {
    Node* node = graph.add_node("relu", {last}).value();
    last = node->output();
    last->name = name;
  }
  graph.add_output(last, "y");
  std::string text = print_graph(graph);
  EXPECT_EQ(text, R"(graph main(%x: f32[2]) {
  %x_2: f32[2] = relu(%x)
  %1: f32[2] = relu(%x_2)
  %2: f32[2] = relu(%1)
  %"a b": f32[2] = relu(%2)
  %x_1: f32[2] = relu(%"a b")
  return %x_1 as "y"
}
)");
  expect_identity(text);
}

TEST_F(TextTest, StatedTypes) {
  EXPECT_EQ(reprint("graph g(%x: f32[n,2]) { %y = relu(%x) return %y }"),
            "graph g(%x: f32[n,2]) {\n  %y: f32[n,2] = relu(%x)\n  return %y\n}\n");
  // The text may know more than the rule.
  EXPECT_NE(
      reprint("graph g(%x: f32[*]) { %y: f32[n,2] = relu(%x) return %y }").find("%y: f32[n,2]"),
      std::string::npos);
  EXPECT_NE(error_of("graph g(%x: f32[3,2]) {\n  %y: f32[3,4] = relu(%x)\n  return %y }")
                .find("2:3: %y is stated as f32[3,4], but the op makes f32[3,2]"),
            std::string::npos);
  EXPECT_NE(error_of("graph g(%x: f32[3,2]) { %y: f16[3,2] = relu(%x) return %y }").find("stated"),
            std::string::npos);
  EXPECT_NE(error_of("graph g(%x: f32[3,n]) { %s: i64[2] <4, n> = shape(%x) return %s }")
                .find("is stated to hold <4, n>, but the op makes <3, n>"),
            std::string::npos);
}

TEST_F(TextTest, ErrorsSayWhereAndWhat) {
  struct Case {
    std::string_view text;
    std::string_view message;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"", "1:1: expected 'graph', found the end of the text"},
           {"graph g(%x: f33[2]) {}", "1:13: expected a type, found 'f33'"},
           {"graph g(%x: f32[-2]) {}", "the size -2 is negative"},
           {"graph g(%x: f32[2) {}", "1:17:"},
           {"graph g() {\n  %y = nope()\n  return %y }", "2:8: no op is named 'nope'"},
           {"graph g() {\n  %y = relu(%q)\n return %y }", "2:13: %q is not defined"},
           {"graph g(%x: f32[2]) { %x = relu(%x) return %x }", "%x is defined twice"},
           {"graph g(%x: f32[2]) { %y = relu(%x) {alpha=1} return %y }", "unknown attribute"},
           {"graph g(%x: f32[2]) { %y = relu(%x, %x) return %y }", "has 2 inputs"},
           {"graph g(%x: f32[2]) { %y = add(%x, _) return %y }", "is missing"},
           {"graph g(%x: f32[2]) { %y, %z = relu(%x) return %y }", "has 2 outputs"},
           {"graph g() { %y: f32[2] = const [1] return %y }", "expected ','"},
           {"graph g() { %y: f32[2] = const [1, 2, 3] return %y }", "after 2 elements"},
           {"graph g() { %y: f32[2] = const hex\"00\" return %y }", "expected 16 hex digits"},
           {"graph g() { %y: u8[1] = const [256] return %y }", "not a value of type u8"},
           {"graph g() { %y: i8[1] = const [-129] return %y }", "not a value of type i8"},
           {"graph g() { %y: bool[1] = const hex\"02\" return %y }", "not a value of type bool"},
           {"graph g() { %y: i4[1] = const hex\"08\" return %y }", "not a value of type i4"},
           {"graph g() { %y: f32[99999999999] = const splat 1 return %y }", "at most"},
           {"graph g() { %y: f32[99999999999] = const [1] return %y }", "expected 99999999999"},
           {"graph g() { %y: f32[4294967296,4294967296] = const [] return %y }", "overflow"},
           {"graph g() { %y: f32[n] = const [] return %y }", "sizes that are numbers"},
           {"graph g() { %y: f32[2] = const elided return %y }", "dump without its constants"},
           {"graph g() { return } x", "expected the end"},
           {"graph g() { return \"a", "expected"},
           {"graph \"g", "does not end"},
           {"graph g(%c: bool[]) { %y = choose(%c) a() { return } return %y }", "expected '('"},
       }) {
    EXPECT_NE(error_of(c.text).find(c.message), std::string::npos)
        << c.text << "\n  " << error_of(c.text);
  }
}

TEST_F(TextTest, NestingIsBounded) {
  std::string type = "f32[1]";
  for (int i = 0; i < 5000; ++i) type = "seq(" + type + ")";
  EXPECT_NE(error_of("graph g(%x: " + type + ") { return %x }").find("too deeply"),
            std::string::npos);
  std::string body;
  for (int i = 0; i < 5000; ++i) body += "{1 in; 1 = every_attr(0) {body=";
  EXPECT_NE(error_of("graph g(%x: f32[1]) { %y = every_attr(%x) {body=" + body + "} return %y }")
                .find("too deeply"),
            std::string::npos);
  std::string lists(5000, '[');
  EXPECT_NE(error_of("graph g(%x: f32[1]) { %y = every_attr(%x) {wholes=" + lists + "} }")
                .find("too deeply"),
            std::string::npos);
  std::string graphs;
  for (int i = 0; i < 100; ++i) graphs += "%y" + std::to_string(i) + " = choose(%c) a() { ";
  EXPECT_NE(error_of("graph g(%c: bool[]) { " + graphs).find("too deeply"), std::string::npos);
}

TEST_F(TextTest, ElisionSaysSo) {
  auto graph = parse_graph(*registry_, "graph g() { %y: f32[17] = const splat 1 return %y }");
  ASSERT_TRUE(graph.ok());
  std::string text = print_graph(**graph, {.elide_constants = true});
  EXPECT_NE(text.find("%y: f32[17] = const elided\n"), std::string::npos) << text;
  EXPECT_NE(error_of(text).find("cannot be read back"), std::string::npos);
}

TEST_F(TextTest, PiecesOnTheirOwn) {
  EXPECT_EQ(parse_type("seq(f32[a + 1,*])").ok(), false);
  EXPECT_EQ(parse_type(" opt(seq(f32[a + 1,floordiv(b, 2)]))").value().to_string(),
            "opt(seq(f32[a + 1,floordiv(b, 2)]))");
  EXPECT_TRUE(parse_attr_map(*registry_, "").value().empty());
  EXPECT_EQ(parse_attr_map(*registry_, "{a=[1, 2.5], b=f16}").value().size(), 2u);
  EXPECT_FALSE(parse_attr_map(*registry_, "{a=1").ok());
}

}  // namespace
}  // namespace redline
