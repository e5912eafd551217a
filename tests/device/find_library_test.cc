// SPDX-License-Identifier: Apache-2.0
#include "device/find_library.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/own_path.h"
#include "device/nvrtc.h"

namespace redline::cuda {
namespace {

namespace fs = std::filesystem;

class FindLibraryTest : public testing::Test {
 protected:
  void SetUp() override {
    unsetenv("REDLINE_NVRTC");
    unsetenv("CUDA_HOME");
    unsetenv("REDLINE_FOUND");
    std::string pattern = testing::TempDir() + "toolkit-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { fs::remove_all(folder_); }
  // A library that can be opened, under another name.
  std::string put(const fs::path& file) const {
    fs::create_directories(file.parent_path());
    fs::copy_file(FAKE_NVRTC, file, fs::copy_options::overwrite_existing);
    return file;
  }
  // Folders are looked for beside this program, which is elsewhere.
  std::string beside(const std::string& name) const {
    return fs::relative(folder_, fs::path(own_).parent_path()) / name;
  }
  const std::string own_ = fs::canonical(own_path()).parent_path();
  std::string folder_;
};

TEST_F(FindLibraryTest, NvrtcIsLookedForInTheToolkitAndInWheels) {
  setenv("CUDA_HOME", "/opt/toolkit", 1);
  std::vector<std::string> expected;
  for (const std::string& folder :
       {own_ + "/", own_ + "/../lib/", std::string(), std::string("/opt/toolkit/lib64/"),
        std::string("/usr/local/cuda/lib64/"), own_ + "/../nvidia/cu13/lib/",
        own_ + "/../nvidia/cuda_nvrtc/lib/"}) {
    for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"})
      expected.push_back(folder + name);
  }
  EXPECT_EQ(places_of(nvrtc_library()), expected);
}

TEST_F(FindLibraryTest, AFileThatIsNamedIsTheOnlyPlace) {
  size_t usual = places_of(nvrtc_library()).size();
  setenv("REDLINE_NVRTC", "/opt/libmine.so", 1);
  EXPECT_EQ(places_of(nvrtc_library()), std::vector<std::string>{"/opt/libmine.so"});
  setenv("REDLINE_NVRTC", "", 1);
  EXPECT_EQ(places_of(nvrtc_library()).size(), usual);
}

TEST_F(FindLibraryTest, TheFirstThatOpensIsTaken) {
  std::string wheel = beside("wheel/lib");
  ToolkitLibrary library = {
      "REDLINE_FOUND", {"libfound.so.2", "libfound.so.1"}, {"lib64"}, {wheel.c_str()}};
  auto found = [&] {
    Result<void*> opened = open_library(library, "none here");
    return opened.ok() ? fs::canonical(file_of(*opened)).string() : opened.status().to_string();
  };
  EXPECT_TRUE(found().starts_with("not found: none here (tried " + own_ + "/libfound.so.2, "))
      << found();
  std::string in_wheel = put(folder_ + "/wheel/lib/libfound.so.1");
  EXPECT_EQ(found(), in_wheel);

  std::string in_toolkit = put(folder_ + "/toolkit/lib64/libfound.so.1");
  std::ofstream(folder_ + "/toolkit/lib64/libfound.so.2") << "no library";
  setenv("CUDA_HOME", (folder_ + "/toolkit").c_str(), 1);
  EXPECT_EQ(found(), in_toolkit);

  std::string named = put(folder_ + "/libmine.so");
  setenv("REDLINE_FOUND", named.c_str(), 1);
  EXPECT_EQ(found(), named);
}

// In a process of its own: NVRTC is loaded once.
void expect_nvrtc(const char* file, const std::string& expected) {
  auto say = [&] {
    setenv("REDLINE_NVRTC", file, 1);
    Result<const Nvrtc*> nvrtc = Nvrtc::load();
    std::fputs(nvrtc.ok() ? (*nvrtc)->version().c_str() : nvrtc.status().to_string().c_str(),
               stderr);
    std::exit(0);
  };
  EXPECT_EXIT(say(), testing::ExitedWithCode(0), expected);
}

TEST_F(FindLibraryTest, TheNvrtcThatIsNamedIsLoaded) { expect_nvrtc(FAKE_NVRTC, "^1\\.0$"); }

TEST_F(FindLibraryTest, WhatIsNoNvrtcIsNamed) {
  expect_nvrtc("libm.so.6",
               "^incompatible: /.*/libm\\.so\\.6 is no NVRTC that Redline can use: it has no "
               "nvrtcVersion$");
  expect_nvrtc("/nowhere/libnvrtc.so",
               "^not found: cannot load NVRTC, .* \\(tried /nowhere/libnvrtc.so\\)$");
}

}  // namespace
}  // namespace redline::cuda
