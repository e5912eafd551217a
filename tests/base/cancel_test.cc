// SPDX-License-Identifier: Apache-2.0
#include "base/cancel.h"

#include <gtest/gtest.h>

#include <string>

namespace redline {
namespace {

TEST(Progress, FalseCancels) {
  const Progress progress([](std::string_view, double fraction) { return fraction < 0.5; });
  EXPECT_TRUE(progress.report("tune", 0.25).ok());
  const Status stopped = progress.report("tune", 0.75);
  EXPECT_EQ(stopped.code(), StatusCode::kCancelled);
  EXPECT_EQ(stopped.message(), "stopped by the caller in phase 'tune'");
}

TEST(Progress, ClampsTheFraction) {
  double seen = -1;
  const Progress progress([&](std::string_view, double fraction) {
    seen = fraction;
    return true;
  });
  EXPECT_TRUE(progress.report("load", 1.5).ok());
  EXPECT_EQ(seen, 1.0);
  EXPECT_TRUE(progress.report("load", -1).ok());
  EXPECT_EQ(seen, 0.0);
}

TEST(Progress, DefaultNeverCancels) { EXPECT_TRUE(Progress().report("load", 0.5).ok()); }

}  // namespace
}  // namespace redline
