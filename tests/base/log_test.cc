// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace redline {
namespace {

TEST(Logger, PassesOnWhatIsSevereEnough) {
  std::vector<std::string> lines;
  const Logger logger(
      [&](Severity severity, std::string_view message) {
        lines.push_back(str_cat(severity_name(severity), " ", message));
      },
      Severity::kWarning);
  logger.verbose("a");
  logger.info("b ", 1);
  logger.warning("c ", 2, " of ", std::string("3"));
  logger.error("d");
  EXPECT_EQ(lines, (std::vector<std::string>{"warning c 2 of 3", "error d"}));
}

TEST(Logger, DiscardsByDefault) {
  const Logger logger;
  EXPECT_FALSE(logger.enabled(Severity::kError));
  logger.error("nobody hears this");
}

}  // namespace
}  // namespace redline
