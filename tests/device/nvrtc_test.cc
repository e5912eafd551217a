// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "device/compiler.h"
#include "device/cubin_cache.h"

namespace redline::cuda {
namespace {

constexpr const char* kText = R"(
extern "C" __global__ void twice(float* x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) x[i] *= 2;
})";

class NvrtcTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<const Nvrtc*> loaded = Nvrtc::load();
    if (!loaded.ok()) GTEST_SKIP() << loaded.status().message();
    nvrtc_ = *loaded;
    std::string pattern = testing::TempDir() + "cubins-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::filesystem::path only_file() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (entry.is_regular_file()) return entry.path();
    }
    return {};
  }
  const Nvrtc* nvrtc_ = nullptr;
  std::string folder_;
};

TEST_F(NvrtcTest, CompilesForAnArchitectureAndReadsItsResources) {
  CompiledKernel kernel = nvrtc_->compile({"twice", kText, "sm_90a", {}}).value();
  EXPECT_GT(kernel.cubin.size(), 500u);
  EXPECT_GT(kernel.registers, 3);
  EXPECT_EQ(kernel.spill_bytes, 0);
}

TEST_F(NvrtcTest, ReadsSpills) {
  std::string text =
      "extern \"C\" __global__ void __launch_bounds__(1024) spill(float* x, int n) { float v[200];"
      "for (int r = 0; r < n; ++r) {"
      "\n#pragma unroll\n for (int i = 0; i < 200; ++i) v[i] = x[i * 1024 + threadIdx.x] + r;"
      "\n#pragma unroll\n for (int i = 0; i < 200; ++i) x[i * 1024 + threadIdx.x] = v[i] * v[199 - "
      "i]; } }";
  CompiledKernel kernel = nvrtc_->compile({"spill", text, "sm_90a", {}}).value();
  EXPECT_GT(kernel.spill_bytes, 0);
}

TEST_F(NvrtcTest, AnErrorCarriesTheLog) {
  Status status =
      nvrtc_->compile({"bad", "extern \"C\" __global__ void bad() { x = 1; }", "sm_90a", {}})
          .status();
  EXPECT_NE(status.message().find("identifier \"x\" is undefined"), std::string::npos)
      << status.message();
}

TEST_F(NvrtcTest, CachesAndRepairs) {
  std::vector<std::string> messages;
  CubinCache cache(folder_,
                   Logger([&](Severity, std::string_view text) { messages.emplace_back(text); }));
  KernelSource source{"twice", kText, "sm_90a", {}};
  std::string key = CubinCache::key(source, nvrtc_->version());
  EXPECT_FALSE(cache.find(key));
  CompiledKernel first = cache.get(*nvrtc_, source).value();
  CompiledKernel again = cache.find(key).value();
  EXPECT_EQ(first.cubin, again.cubin);
  EXPECT_EQ(first.registers, again.registers);

  {
    std::fstream file(only_file(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(300);
    file.put('\x5a');
  }
  EXPECT_FALSE(cache.find(key));
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_NE(messages[0].find("is damaged"), std::string::npos);
  EXPECT_EQ(cache.get(*nvrtc_, source).value().cubin, first.cubin);
}

TEST_F(NvrtcTest, KeysTellSourcesApart) {
  KernelSource source{"twice", kText, "sm_90a", {}};
  std::string key = CubinCache::key(source, "13.0");
  KernelSource other = source;
  other.options = {"-DN=1"};
  EXPECT_NE(CubinCache::key(other, "13.0"), key);
  other = source;
  other.arch = "sm_80";
  EXPECT_NE(CubinCache::key(other, "13.0"), key);
  EXPECT_NE(CubinCache::key(source, "13.1"), key);
}

TEST_F(NvrtcTest, PruneKeepsWhatWasUsedLast) {
  CubinCache cache(folder_, {}, 3000);
  CompiledKernel kernel;
  kernel.cubin.resize(1000);
  for (const char* key : {"aa", "bb", "cc", "dd"}) {
    cache.put(key, kernel);
    std::filesystem::last_write_time(
        folder_ + "/" + key + "/" + key + ".cubin",
        std::filesystem::file_time_type::clock::now() - std::chrono::hours(1));
  }
  EXPECT_TRUE(cache.find("aa"));
  EXPECT_EQ(cache.prune(), 2u);
  EXPECT_TRUE(cache.find("aa"));
}

TEST_F(NvrtcTest, ABuildLeavesNoMoreThanIsAllowed) {
  CubinCache before(folder_);
  CompiledKernel kernel;
  kernel.cubin.resize(1000);
  for (const char* key : {"aa", "bb", "cc"}) before.put(key, kernel);
  { CubinCache reads(folder_, {}, 1); }
  EXPECT_TRUE(before.find("aa"));
  auto compiler = KernelCompiler::create(CubinCache(folder_, {}, 1)).value();
  ASSERT_TRUE(compiler->get({"twice", kText, "sm_90a", {}}).ok());
  EXPECT_TRUE(before.find("aa"));
  compiler.reset();
  for (const char* key : {"aa", "bb", "cc"}) EXPECT_FALSE(before.find(key));
}

TEST_F(NvrtcTest, AnUnwritableFolderIsNoErrorAndToldOnce) {
  std::vector<std::string> told;
  Logger logger([&](Severity, std::string_view message) { told.emplace_back(message); });
  CubinCache cache("/proc/nowhere", logger);
  EXPECT_TRUE(cache.get(*nvrtc_, {"twice", kText, "sm_90a", {}}).ok());
  EXPECT_TRUE(cache.get(*nvrtc_, {"twice", kText, "sm_80", {}}).ok());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("kernels are not cached"), std::string::npos);
}

}  // namespace
}  // namespace redline::cuda
