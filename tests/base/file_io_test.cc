// SPDX-License-Identifier: Apache-2.0
#include "base/file_io.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/mmap_file.h"

namespace redline {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "redline-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::string path(std::string_view name) const { return (folder_ / name).string(); }
  size_t entries() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }

  fs::path folder_;
};

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_F(FileTest, WriteThenReadThenMap) {
  const std::string content("a\0b\nc", 5);
  ASSERT_TRUE(write_file(path("x"), content).ok());
  EXPECT_EQ(read_text_file(path("x")).value(), content);
  EXPECT_EQ(text(read_file(path("x")).value()), content);
  auto map = MmapFile::open(path("x"));
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(text((*map)->bytes()), content);
  EXPECT_EQ((*map)->path(), path("x"));
  EXPECT_EQ(entries(), 1u);
}

TEST_F(FileTest, EmptyFile) {
  ASSERT_TRUE(write_file(path("x"), std::string_view()).ok());
  EXPECT_EQ(read_file(path("x")).value().size(), 0u);
  auto map = MmapFile::open(path("x"));
  ASSERT_TRUE(map.ok()) << map.status().to_string();
  EXPECT_TRUE((*map)->bytes().empty());
}

TEST_F(FileTest, MappingOutlivesTheName) {
  ASSERT_TRUE(write_file(path("x"), "old").ok());
  auto map = MmapFile::open(path("x"));
  ASSERT_TRUE(map.ok());
  ASSERT_TRUE(write_file(path("x"), "newer").ok());
  EXPECT_EQ(text((*map)->bytes()), "old");
}

TEST_F(FileTest, MissingFileIsNotFoundAndNamed) {
  for (const Status& status :
       {read_file(path("none")).status(), MmapFile::open(path("none")).status()}) {
    EXPECT_EQ(status.code(), StatusCode::kNotFound);
    EXPECT_EQ(status.message(), "cannot open '" + path("none") + "': No such file or directory");
  }
}

TEST_F(FileTest, FolderAndPipeAreRefused) {
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_EQ(MmapFile::open(path("")).status().code(), StatusCode::kIoError);
  EXPECT_EQ(MmapFile::open(path("pipe")).status().message(),
            "cannot map '" + path("pipe") + "': it is not a regular file");
  EXPECT_EQ(read_file(path("")).status().code(), StatusCode::kIoError);
  EXPECT_EQ(AtomicFile::create(path("")).status().code(), StatusCode::kIoError);
}

TEST_F(FileTest, ReadLimit) {
  ASSERT_TRUE(write_file(path("x"), "12345").ok());
  EXPECT_TRUE(read_file(path("x"), 5).ok());
  EXPECT_EQ(read_file(path("x"), 4).status().message(),
            "cannot read '" + path("x") + "': it is larger than 4 bytes");
  EXPECT_FALSE(read_file("/dev/zero", 10000).ok());
}

TEST_F(FileTest, FilesWithoutASizeAreReadToTheEnd) {
  auto status = read_text_file("/proc/self/status");
  ASSERT_TRUE(status.ok());
  EXPECT_NE(status->find("VmPeak"), std::string::npos);
}

TEST_F(FileTest, UncommittedFileLeavesNothing) {
  ASSERT_TRUE(write_file(path("x"), "old").ok());
  {
    auto file = AtomicFile::create(path("x"));
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
    EXPECT_EQ(entries(), 2u);
  }
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(read_text_file(path("x")).value(), "old");
}

TEST_F(FileTest, AlignAndOverwrite) {
  auto file = AtomicFile::create(path("x"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write("????ab").ok());
  ASSERT_TRUE(file->align(8).ok());
  ASSERT_TRUE(file->align(8).ok());
  EXPECT_EQ(file->size(), 8u);
  ASSERT_TRUE(file->overwrite(0, std::as_bytes(std::span("head", 4))).ok());
  ASSERT_TRUE(file->write("z").ok());
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(read_text_file(path("x")).value(), std::string("headab\0\0z", 9));
}

TEST_F(FileTest, NewFileHonoursTheUmask) {
  const mode_t before = ::umask(022);
  ASSERT_TRUE(write_file(path("x"), "a").ok());
  ::umask(before);
  struct stat info {};
  ASSERT_EQ(::stat(path("x").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(FileTest, SymbolicLinkStaysAndItsTargetIsReplaced) {
  fs::create_directory(path("inner"));
  ASSERT_TRUE(write_file(path("inner/x"), "old").ok());
  fs::create_symlink("inner/x", path("link"));
  ASSERT_TRUE(write_file(path("link"), "replaced").ok());
  EXPECT_TRUE(fs::is_symlink(path("link")));
  EXPECT_EQ(read_text_file(path("inner/x")).value(), "replaced");
}

TEST_F(FileTest, MissingFolder) {
  const Status status = write_file(path("no/x"), "a");
  EXPECT_EQ(status.code(), StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "cannot write '" + path("no/x") + "': No such file or directory");
}

TEST_F(FileTest, FullDiskSaysSo) {
  const Status status = write_file("/dev/full", "a");
  EXPECT_EQ(status.code(), StatusCode::kIoError);
  EXPECT_EQ(status.message(),
            "cannot write '/dev/full': the disk is full (No space left on device)");
  EXPECT_FALSE(fs::is_regular_file("/dev/full"));
}

TEST_F(FileTest, DeviceIsWrittenNotReplaced) {
  EXPECT_TRUE(write_file("/dev/null", "a").ok());
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

}  // namespace
}  // namespace redline
