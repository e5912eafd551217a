// SPDX-License-Identifier: Apache-2.0
// The shape arithmetic that exporters write ends in symbolic sizes, not in unknown ones.
#include <gtest/gtest.h>

#include "ir/text.h"

namespace redline {
namespace {

// The type of the (only) output of a graph.
std::string output_type(std::string_view text) {
  static const std::unique_ptr<OpRegistry> registry = make_op_registry();
  auto graph = parse_graph(*registry, text);
  if (!graph.ok()) return graph.status().to_string();
  return (*graph)->outputs()[0]->type.to_string();
}

TEST(ShapeArithmetic, SplitsHeadsAsTransformersDo) {
  EXPECT_EQ(output_type(R"(graph g(%x: f32[batch,seq,768]) {
    %s = shape(%x)
    %zero: i64[] = const [0]
    %one: i64[] = const [1]
    %axis: i64[1] = const [0]
    %heads: i64[2] = const [12, -1]
    %b = gather(%s, %zero)
    %n = gather(%s, %one)
    %b1 = unsqueeze(%b, %axis)
    %n1 = unsqueeze(%n, %axis)
    %target = concat(%b1, %n1, %heads)
    %y = reshape(%x, %target)
    return %y })"),
            "f32[batch,seq,12,64]");
}

TEST(ShapeArithmetic, FlattensByAProductOfASlice) {
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c,h,w]) {
    %zero: i64[1] = const [0]
    %one: i64[1] = const [1]
    %end: i64[1] = const [9223372036854775807]
    %s = shape(%x)
    %first = slice(%s, %zero, %one)
    %rest = slice(%s, %one, %end)
    %count = reduce_prod(%rest)
    %target = concat(%first, %count)
    %y = reshape(%x, %target)
    return %y })"),
            "f32[n,c*h*w]");
}

TEST(ShapeArithmetic, RangesOverALength) {
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c]) {
    %zero: i64[] = const [0]
    %one: i64[] = const [1]
    %s = shape(%x)
    %n = gather(%s, %zero)
    %y = range(%zero, %n, %one)
    return %y })"),
            "i64[n]");
}

TEST(ShapeArithmetic, ExpandsSplitsTilesAndPads) {
  EXPECT_EQ(output_type(R"(graph g(%x: f32[1,c], %like: f32[n,c]) {
    %s = shape(%like)
    %y = expand(%x, %s)
    return %y })"),
            "f32[n,c]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[2,1,0], %s: i64[4]) {
    %y = expand(%x, %s)
    return %y })"),
            "f32[expand.0,2,expand.2,0]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c]) {
    %s = shape(%x)
    %a, %b = split(%s)
    %both = concat(%b, %a)
    %y = constant_of_shape(%both)
    return %y })"),
            "f32[c,n]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c]) {
    %r: i64[2] = const [2, 3]
    %y = tile(%x, %r)
    return %y })"),
            "f32[n*2,c*3]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c]) {
    %p: i64[4] = const [0, 1, 2, -1]
    %y = pad(%x, %p)
    return %y })"),
            "f32[n + 2,c]");
}

TEST(ShapeArithmetic, SlicesSymbolicAxes) {
  constexpr std::string_view kText = R"(graph g(%x: f32[n,8]) {
    %start: i64[1] = const [START]
    %end: i64[1] = const [END]
    %axis: i64[1] = const [0]
    %step: i64[1] = const [STEP]
    %y = slice(%x, %start, %end, %axis, %step)
    return %y })";
  auto sliced = [&](std::string start, std::string end, std::string step) {
    std::string text(kText);
    text.replace(text.find("START"), 5, start);
    text.replace(text.find("END"), 3, end);
    text.replace(text.find("STEP"), 4, step);
    return output_type(text);
  };
  EXPECT_EQ(sliced("0", "9223372036854775807", "1"), "f32[n,8]");
  EXPECT_EQ(sliced("0", "2147483647", "2"), "f32[floordiv(n + 1, 2),8]");
  EXPECT_EQ(sliced("-1", "-9223372036854775808", "-1"), "f32[n,8]");
  EXPECT_EQ(sliced("0", "3", "1"), "f32[min(3, n),8]");
  EXPECT_EQ(sliced("1", "9223372036854775807", "1"), "f32[max(0, n - 1),8]");
  EXPECT_EQ(sliced("-1", "9223372036854775807", "1"), "f32[min(1, n),8]");
}

TEST(ShapeArithmetic, KeepsTheRankOfUnknownTargets) {
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c], %k: i64[1]) {
    %y, %i = topk(%x, %k)
    return %y })"),
            "f32[n,topk.0]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c], %axes: i64[1]) {
    %y = reduce_sum(%x, %axes) {keepdims=0}
    return %y })"),
            "f32[reduce.0]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c], %axes: i64[k]) {
    %y = reduce_sum(%x, %axes) {keepdims=0}
    return %y })"),
            "f32[*]");
  EXPECT_EQ(output_type(R"(graph g(%x: f32[n,c], %axes: i64[1]) {
    %y = unsqueeze(%x, %axes)
    return %y })"),
            "f32[unsqueeze.0,unsqueeze.1,unsqueeze.2]");
}

}  // namespace
}  // namespace redline
