// SPDX-License-Identifier: Apache-2.0
#include "base/function_ref.h"

#include <gtest/gtest.h>

#include <memory>

namespace redline {
namespace {

int apply(FunctionRef<int(int)> f, int x) { return f(x); }

TEST(FunctionRef, CallsTheObjectItself) {
  int calls = 0;
  auto count = [&calls](int x) {
    ++calls;
    return x + 1;
  };
  EXPECT_EQ(apply(count, 4), 5);
  EXPECT_EQ(apply(count, 5), 6);
  EXPECT_EQ(calls, 2);
}

TEST(FunctionRef, TakesMoveOnlyConstAndTemporary) {
  const auto owning = [p = std::make_unique<int>(7)](int x) { return x * *p; };
  EXPECT_EQ(apply(owning, 3), 21);
  EXPECT_EQ(apply([](int x) { return -x; }, 3), -3);
}

TEST(FunctionRef, PassesReferencesThrough) {
  auto increment = [](int& x) { ++x; };
  FunctionRef<void(int&)> ref = increment;
  FunctionRef<void(int&)> copy = ref;
  int x = 1;
  copy(x);
  EXPECT_EQ(x, 2);
}

}  // namespace
}  // namespace redline
