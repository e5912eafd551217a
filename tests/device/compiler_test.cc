// SPDX-License-Identifier: Apache-2.0
#include "device/compiler.h"

#include <gtest/gtest.h>

#include <chrono>
#include <latch>
#include <set>

#include "base/status.h"

namespace redline::cuda {
namespace {

using std::chrono::milliseconds;

KernelSource source(int i) { return {str_cat("k", i), str_cat("text ", i), "sm_90a", {}}; }

std::vector<KernelSource> sources(int count) {
  std::vector<KernelSource> list;
  for (int i = 0; i < count; ++i) list.push_back(source(i));
  return list;
}

TEST(KernelCompilerTest, EveryTextIsMadeOnceWhoeverAsks) {
  std::mutex mutex;
  std::multiset<std::string> made;
  KernelCompiler compiler([&](const KernelSource& source) -> Result<CompiledKernel> {
    std::lock_guard lock(mutex);
    made.insert(source.entry);
    return CompiledKernel{};
  });
  std::vector<KernelSource> list = sources(200);
  for (int i = 0; i < 100; ++i) list.push_back(source(i));
  {
    KernelCompiler::Ahead ahead(compiler, list, 7);
    for (int i = 199; i >= 0; --i) ASSERT_TRUE(compiler.get(source(i)).ok());
  }
  EXPECT_EQ(made.size(), 200u);
  EXPECT_EQ(std::set(made.begin(), made.end()).size(), 200u);
}

TEST(KernelCompilerTest, WhoAsksWaitsForTheOneThatIsBeingMade) {
  std::latch begun(1), asked(1);
  KernelCompiler compiler([&](const KernelSource&) -> Result<CompiledKernel> {
    begun.count_down();
    asked.wait();
    std::this_thread::sleep_for(milliseconds(20));
    return CompiledKernel{{}, 40};
  });
  KernelCompiler::Ahead ahead(compiler, sources(1), 1);
  begun.wait();
  EXPECT_EQ(compiler.seconds_waited(), 0) << "its own threads are nobody who waits";
  asked.count_down();
  auto kernel = compiler.get(source(0));
  ASSERT_TRUE(kernel.ok());
  EXPECT_EQ((*kernel)->registers, 40);
  EXPECT_GT(compiler.seconds_waited(), 0.01);
}

TEST(KernelCompilerTest, NotesWhatTheSourceSaysOfLaunches) {
  KernelCompiler compiler(
      [](const KernelSource&) -> Result<CompiledKernel> { return CompiledKernel{}; });
  KernelSource source{"k", "__global__ void __launch_bounds__(384, 1) k() {}", "sm_90a", {}, 1000};
  auto kernel = compiler.get(source).value();
  EXPECT_EQ(kernel->entry, "k");
  EXPECT_EQ(kernel->threads, 384);
  EXPECT_EQ(kernel->dynamic_shared_bytes, 1000);
  source.dynamic_shared_bytes = 2000;
  EXPECT_EQ(compiler.get(source).value()->dynamic_shared_bytes, 2000);
  source.text = "__global__ void k() {}";
  EXPECT_EQ(compiler.get(source).value()->threads, 0);
}

TEST(KernelCompilerTest, WhatIsAheadIsMadeInOrderAndNoMoreAfterItsEnd) {
  std::vector<std::string> made;
  std::latch third(1);
  KernelCompiler compiler([&](const KernelSource& source) -> Result<CompiledKernel> {
    made.push_back(source.entry);
    if (made.size() == 3) third.count_down();
    std::this_thread::sleep_for(milliseconds(5));
    return CompiledKernel{};
  });
  {
    KernelCompiler::Ahead ahead(compiler, sources(1000), 1);
    third.wait();
  }
  ASSERT_GE(made.size(), 3u);
  EXPECT_LT(made.size(), 900u);
  for (size_t i = 0; i < made.size(); ++i) EXPECT_EQ(made[i], str_cat("k", i));
}

TEST(KernelCompilerTest, WhatIsLeftOutIsMadeWhenAskedFor) {
  std::vector<std::string> made;
  KernelCompiler compiler([&](const KernelSource& source) -> Result<CompiledKernel> {
    made.push_back(source.entry);
    return CompiledKernel{};
  });
  KernelCompiler::Ahead ahead(compiler, sources(5), 0);
  ahead.restrict_to({4, 1});
  ASSERT_TRUE(ahead.help({}).ok());
  EXPECT_EQ(made, (std::vector<std::string>{"k1", "k4"}));
  EXPECT_TRUE(compiler.get(source(2)).ok());
}

TEST(KernelCompilerTest, FailuresAreForTheOneWhoAsks) {
  KernelCompiler compiler([](const KernelSource& source) -> Result<CompiledKernel> {
    if (source.entry == "k1") throw std::bad_alloc();
    if (source.entry == "k2") return internal_error("no such instruction");
    return CompiledKernel{};
  });
  KernelCompiler::Ahead ahead(compiler, sources(4), 3);
  ASSERT_TRUE(ahead.help({}).ok());
  EXPECT_TRUE(compiler.get(source(0)).ok());
  EXPECT_EQ(compiler.get(source(1)).status().code(), StatusCode::kOutOfMemory);
  EXPECT_EQ(compiler.get(source(2)).status().message(), "no such instruction");
  EXPECT_TRUE(compiler.get(source(3)).ok());
}

TEST(KernelCompilerTest, HelpTellsHowFarItIsAndCanBeStopped) {
  std::vector<double> told;
  int made = 0;
  KernelCompiler compiler([&](const KernelSource&) -> Result<CompiledKernel> {
    ++made;
    return CompiledKernel{};
  });
  Progress progress([&](std::string_view phase, double fraction) {
    EXPECT_EQ(phase, "compile");
    told.push_back(fraction);
    return told.size() < 3;
  });
  KernelCompiler::Ahead ahead(compiler, sources(4), 0);
  EXPECT_EQ(ahead.help(progress).code(), StatusCode::kCancelled);
  EXPECT_EQ(told, (std::vector<double>{0, 0.25, 0.5}));
  EXPECT_EQ(made, 2);
}

}  // namespace
}  // namespace redline::cuda
