// SPDX-License-Identifier: Apache-2.0
#include "base/nvtx.h"

#include <dlfcn.h>
#include <gtest/gtest.h>

namespace redline {
namespace {

using Take = const char* (*)();

TEST(NvtxTest, WithoutAToolThereIsNothing) {
  Nvtx::Name name{nullptr, "never seen"};
  NvtxRange range(nullptr, name);
}

TEST(NvtxTest, AToolSeesRangesByTheirNames) {
  ASSERT_EQ(setenv(nvtx::kLibraryVariable, NVTX_RECORDER, 1), 0);
  const Nvtx* tool = Nvtx::attached();
  ASSERT_NE(tool, nullptr);
  auto take = reinterpret_cast<Take>(dlsym(dlopen(NVTX_RECORDER, RTLD_LAZY), "take_events"));
  ASSERT_NE(take, nullptr);
  std::string outer = "outer", inner = "inner";
  Nvtx::Name first = tool->name(outer);
  Nvtx::Name second = tool->name(inner);
  EXPECT_EQ(first.handle, tool->name(outer).handle);
  EXPECT_NE(first.handle, second.handle);
  {
    NvtxRange one(tool, first);
    { NvtxRange two(tool, second); }
    NvtxRange unnamed(tool, {});
  }
  EXPECT_EQ(std::string(take()), "+outer\n+inner\n-\n-\n");
}

}  // namespace
}  // namespace redline
