// SPDX-License-Identifier: Apache-2.0
#include "base/status.h"

#include <gtest/gtest.h>

namespace redline {
namespace {

TEST(StatusTest, ContextKeepsTheRecord) {
  Status status = unsupported("too large").at_node("conv1").at_position("net.txt:12");
  Status outer = status.with_context("net.txt:12: step 'conv1'");
  EXPECT_EQ(outer.code(), StatusCode::kUnsupported);
  EXPECT_EQ(outer.message(), "net.txt:12: step 'conv1': too large");
  EXPECT_EQ(outer.node(), "conv1");
  EXPECT_EQ(outer.position(), "net.txt:12");
  EXPECT_EQ(status.message(), "too large");
}

TEST(StatusTest, TheInnermostNodeAndPositionStay) {
  Status status = unsupported("x").at_node("inner").at_node("outer").at_position("a:1");
  EXPECT_EQ(status.node(), "inner");
  EXPECT_EQ(status.at_position("b").position(), "a:1");
}

TEST(StatusTest, OkStaysOk) {
  Status status = Status().at_node("n").at_position("p").with_context("c");
  EXPECT_TRUE(status.ok());
  EXPECT_EQ(status.node(), "");
  EXPECT_EQ(status.position(), "");
}

}  // namespace
}  // namespace redline
