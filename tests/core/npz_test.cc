// SPDX-License-Identifier: Apache-2.0
#include "core/npz.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "core/npy.h"

namespace redline {
namespace {

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// The .npy file of the u8 array [7, 9], whose CRC-32 zlib gives as below.
std::string array() { return npy_header(DType::kUInt8, {2}) + "\x07\x09"; }
constexpr uint32_t kArrayCrc = 0x9eed7c6c;

struct Options {
  std::string name = "x.npy";
  std::string content = array();
  uint32_t crc = kArrayCrc;
  uint16_t method = 0;
  uint16_t flags = 0;
  bool zip64 = false;
  int entries = 1;  // of the same bytes
};

std::string archive(const Options& options) {
  std::string out;
  put<uint32_t>(out, 0x04034b50);
  out.append(22, '\0');
  put<uint16_t>(out, static_cast<uint16_t>(options.name.size()));
  put<uint16_t>(out, 0);
  out += options.name + options.content;
  const auto directory = static_cast<uint32_t>(out.size());
  const uint32_t size = options.zip64 ? 0xFFFFFFFF : static_cast<uint32_t>(options.content.size());
  for (int i = 0; i < options.entries; ++i) {
    put<uint32_t>(out, 0x02014b50);
    put<uint32_t>(out, 0);
    put<uint16_t>(out, options.flags);
    put<uint16_t>(out, options.method);
    put<uint32_t>(out, 0);
    put<uint32_t>(out, options.crc);
    put<uint32_t>(out, size);
    put<uint32_t>(out, size);
    put<uint16_t>(out, static_cast<uint16_t>(options.name.size()));
    put<uint16_t>(out, options.zip64 ? 20 : 0);
    out.append(10, '\0');
    put<uint32_t>(out, 0);
    out += options.name;
    if (options.zip64) {
      put<uint16_t>(out, 1);
      put<uint16_t>(out, 16);
      put<uint64_t>(out, options.content.size());
      put<uint64_t>(out, options.content.size());
    }
  }
  put<uint32_t>(out, 0x06054b50);
  put<uint32_t>(out, 0);
  put<uint16_t>(out, static_cast<uint16_t>(options.entries));
  put<uint16_t>(out, static_cast<uint16_t>(options.entries));
  put<uint32_t>(out, 0);
  put<uint32_t>(out, directory);
  put<uint16_t>(out, 0);
  return out;
}

Result<NamedTensors> read(const std::string& file) {
  return read_npz(std::as_bytes(std::span(file)));
}
std::string error(const Options& options) {
  return std::string(read(archive(options)).status().message());
}

TEST(Npz, ReadsStoredArrays) {
  for (bool zip64 : {false, true}) {
    const auto tensors = read(archive({.zip64 = zip64}));
    ASSERT_TRUE(tensors.ok()) << tensors.status().to_string();
    ASSERT_EQ(tensors->size(), 1u);
    EXPECT_EQ((*tensors)[0].first, "x");
    EXPECT_EQ((*tensors)[0].second.dims(), (Dims{2}));
    EXPECT_EQ((*tensors)[0].second.data<uint8_t>()[1], 9);
  }
}

TEST(Npz, EmptyArchive) { EXPECT_TRUE(read(archive({.entries = 0}))->empty()); }

TEST(Npz, RefusesWithTheReason) {
  EXPECT_EQ(
      error({.method = 8}),
      "'x.npy' is compressed; expected an archive as numpy.savez, not numpy.savez_compressed, "
      "writes it");
  EXPECT_EQ(error({.flags = 1}), "'x.npy' is encrypted");
  EXPECT_EQ(error({.name = "x.txt"}), "it holds 'x.txt', which is not an .npy file");
  EXPECT_EQ(error({.crc = kArrayCrc ^ 1}), "damaged archive: 'x.npy' has another checksum");
  EXPECT_EQ(read("nonsense").status().message(), "not an .npz file: it is no zip archive");
}

TEST(Npz, EntriesMayNotShareBytes) {
  EXPECT_EQ(error({.entries = 100}), "damaged archive: its entries overlap");
}

TEST(Npz, EveryTruncationIsRefused) {
  const std::string whole = archive({});
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(read(whole.substr(0, size)).ok()) << size;
  }
}

TEST(Npz, EveryBitCountsOrIsChecked) {
  const std::string whole = archive({.zip64 = true});
  for (size_t bit = 0; bit < 8 * whole.size(); ++bit) {
    std::string flipped = whole;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    const auto tensors = read(flipped);  // must not crash; what it accepts holds the same numbers
    if (!tensors.ok()) continue;
    for (const auto& [name, tensor] : *tensors) EXPECT_EQ(tensor.data<uint8_t>()[0], 7) << bit;
  }
}

}  // namespace
}  // namespace redline
