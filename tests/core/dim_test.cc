// SPDX-License-Identifier: Apache-2.0
#include "core/dim.h"

#include <gtest/gtest.h>
TEST(Dim, Basic) { EXPECT_EQ((redline::Dim::symbol("n") * 12).to_string(), "n*12"); }
