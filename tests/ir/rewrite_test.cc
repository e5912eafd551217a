// SPDX-License-Identifier: Apache-2.0
#include "ir/rewrite.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/text.h"
#include "ir/verify.h"
#include "test_ops.h"

namespace redline {
namespace {

class RewriteTest : public testing::Test {
 protected:
  Graph& parse(std::string_view text) {
    auto graph = parse_graph(*registry_, text);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    graph_ = *std::move(graph);
    return *graph_;
  }
  std::optional<Match> match_output(const Pattern& pattern) {
    return match(graph_->outputs()[0], pattern);
  }

  std::unique_ptr<OpRegistry> registry_ = make_test_registry();
  std::unique_ptr<Graph> graph_;
};

Pattern gelu() {
  Pattern x = any_value("x");
  Pattern erf = made_by("erf", {made_by("div", {x, scalar(std::sqrt(2.0))})});
  return made_by("mul", {made_by("mul", {x, made_by("add", {erf, scalar(1)})}), scalar(0.5)});
}

constexpr std::string_view kGelu = R"(graph g(%a: f32[n,4]) {
  %half: f32[1] = const [0.5]
  %root: f32[] = const [1.4142135]
  %one: f32[] = const [1]
  %d = div(%a, %root)
  %e = erf(%d)
  %s = add(%one, %e)
  %m = mul(%s, %a)
  %y = mul(%half, %m)
  return %y
})";

TEST_F(RewriteTest, MatchesInAnyOrderOfCommutativeOperands) {
  parse(kGelu);
  std::optional<Match> m = match_output(gelu());
  ASSERT_TRUE(m);
  EXPECT_EQ(m->value("x")->name, "a");
  EXPECT_EQ(m->nodes.size(), 5u);
  EXPECT_EQ(m->nodes[0]->output()->name, "y");
}

TEST_F(RewriteTest, InnerReadersMustBeInside) {
  std::string text(kGelu);
  text.replace(text.find("return %y"), 9, "return %y, %e");
  parse(text);
  EXPECT_FALSE(match_output(gelu()));
  Pattern x = any_value("x");
  EXPECT_TRUE(match(graph_->outputs()[1], made_by("erf", {x})));  // the root may be shared
}

TEST_F(RewriteTest, SameNameIsTheSameValue) {
  parse("graph g(%a: f32[2], %b: f32[2]) { %s = sigmoid(%a) %y = mul(%b, %s) return %y }");
  EXPECT_FALSE(
      match_output(made_by("mul", {any_value("x"), made_by("sigmoid", {any_value("x")})})));
  EXPECT_TRUE(match_output(made_by("mul", {any_value("x"), made_by("sigmoid", {any_value("z")})})));
}

TEST_F(RewriteTest, BacktracksOverOperandOrder) {
  // The first order binds x to %p, which fails only at the second operand of the outer op.
  parse(R"(graph g(%p: f32[2], %q: f32[2]) {
    %s = add(%p, %q)  %y = sub(%s, %q)  return %y })");
  auto m = match_output(
      made_by("sub", {made_by("add", {any_value("x"), any_value("z")}), same_value("x")}));
  ASSERT_TRUE(m);
  EXPECT_EQ(m->value("x")->name, "q");
  EXPECT_EQ(m->value("z")->name, "p");
}

TEST_F(RewriteTest, ConditionsAndNamedNodes) {
  parse("graph g(%a: f32[2]) { %l = leaky_relu(%a) {alpha=0.5} %y = abs(%l) return %y }");
  auto with_alpha = [](float alpha) {
    return made_by(
        "abs", {made_by("leaky_relu", {any_value("x")}).named("l").where([alpha](const Node& node) {
          return node.attrs().to_string() == str_cat("{alpha=0.", alpha * 10 == 5 ? 5 : 1, "}");
        })});
  };
  auto m = match_output(with_alpha(0.5f));
  ASSERT_TRUE(m);
  EXPECT_TRUE(m->node("l")->is("leaky_relu"));
  EXPECT_FALSE(match_output(with_alpha(0.1f)));
}

TEST_F(RewriteTest, ReplaceKeepsTheGraphTrue) {
  parse(kGelu);
  auto m = match_output(gelu());
  ASSERT_TRUE(m);
  auto y = insert(m->nodes[0], "gelu", {m->value("x")});
  ASSERT_TRUE(y.ok());
  replace(m->nodes[0], *y);
  graph_->erase_dead();
  EXPECT_TRUE(verify(*graph_).ok()) << verify(*graph_).message();
  EXPECT_EQ(print_graph(*graph_),
            "graph g(%a: f32[n,4]) {\n  %y: f32[n,4] = gelu(%a)\n  return %y\n}\n");
}

TEST_F(RewriteTest, SubgraphsAreInlined) {
  Graph& g = parse(R"(graph g(%c: bool[], %x: f32[2]) {
    %a = relu(%x)
    %y, %z = choose(%c) first() {
      %k: f32[2] = const [1, 2]
      %u = add(%a, %k)
      return %u, %a
    } second() {
      return %x, %x
    }
    return %y, %z })");
  Node* node = g.nodes().back().get();
  std::vector<Value*> results = g.inline_subgraph(node, 0, {});
  ASSERT_EQ(results.size(), 2u);
  for (size_t i = 0; i < 2; ++i) g.replace_uses(node->output(i), results[i]);
  g.erase(node);
  EXPECT_TRUE(verify(g).ok()) << verify(g).message();
  EXPECT_EQ(print_graph(g), R"(graph g(%c: bool[], %x: f32[2]) {
  %a: f32[2] = relu(%x)
  %k: f32[2] = const [1, 2]
  %u: f32[2] = add(%a, %k)
  return %u as "y", %a as "z"
}
)");
}

TEST_F(RewriteTest, ConstantsAsNumbers) {
  Graph& g = parse(R"(graph g(%x: f32[4,n]) {
    %a: f16[2,2] = const splat 0.5
    %b: i64[3] = const [1, 2, -3]
    %c: f32[0] = const []
    %d: str[1] = const ["s"]
    %s = shape(%x) {end=1}
    %t = shape(%x)
    return %a, %b, %c, %d, %s, %t })");
  EXPECT_EQ(splat_constant(g.outputs()[0]), 0.5);
  EXPECT_EQ(scalar_constant(g.outputs()[0]), std::nullopt);
  EXPECT_EQ(splat_constant(g.outputs()[1]), std::nullopt);
  EXPECT_EQ(splat_constant(g.outputs()[2]), std::nullopt);
  EXPECT_EQ(splat_constant(g.outputs()[3]), std::nullopt);
  EXPECT_EQ(constant_ints(g.outputs()[1]), (std::vector<int64_t>{1, 2, -3}));
  EXPECT_EQ(constant_ints(g.outputs()[0]), std::nullopt);
  EXPECT_EQ(constant_ints(g.outputs()[4]), (std::vector<int64_t>{4}));
  EXPECT_EQ(constant_ints(g.outputs()[5]), std::nullopt);
}

TEST_F(RewriteTest, VerifierFindsEveryFault) {
  Graph& g = parse(R"(graph g(%x: f32[4]) {
    %a = relu(%x)  %b = abs(%a)  %c = neg(%b)  return %c })");
  EXPECT_TRUE(verify(g).ok());
  std::vector<Node*> nodes = g.node_snapshot();
  g.move_before(nodes[1], nodes[0]);
  nodes[2]->output()->type = Type::tensor(DType::kFloat32, SymDims{5});
  nodes[2]->output()->uses.push_back({nodes[0], &g, 0});
  std::string message(verify(g).message());
  EXPECT_NE(message.find("reads %a, which is not made before it"), std::string::npos) << message;
  EXPECT_NE(message.find("%c lists 2 uses, but is read 1 times"), std::string::npos) << message;
}

TEST_F(RewriteTest, VerifierFindsStaleAndWrongTypes) {
  Graph& g = parse("graph g(%x: f32[4]) { %a = relu(%x) %b = abs(%a) return %b }");
  std::vector<Node*> nodes = g.node_snapshot();
  nodes[0]->output()->type = Type::tensor(DType::kFloat32);
  nodes[1]->output()->type = Type::tensor(DType::kFloat16, SymDims{4});
  std::string message(verify(g).message());
  EXPECT_NE(message.find("has the type f32[*], but its op makes f32[4]"), std::string::npos)
      << message;
  EXPECT_NE(message.find("has the type f16[4], but its op makes"), std::string::npos) << message;
}

}  // namespace
}  // namespace redline
