// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace redline {
namespace {

// The published XXH3 values of the empty input; the rest by xxhsum 0.8.1 (-H3, -H2).
TEST(Hash, KnownValues) {
  EXPECT_EQ(hash64(std::string_view("")), 0x2d06800538d394c2u);
  EXPECT_EQ(hash128(std::string_view("")).to_hex(), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(hash64(std::string_view("redline")), 0x6bed24a7ec09d457u);
  EXPECT_EQ(hash128(std::string_view("redline")).to_hex(), "cb240683adc8d1c580bbf64faf1a22bd");
}

TEST(Hash, EachBitAndLengthCounts) {
  std::set<uint64_t> hashes64;
  std::set<Hash128> hashes128;
  for (size_t length : {1u, 16u, 200u, 1000u}) {
    const std::string text(length, '\0');
    hashes64.insert(hash64(text));
    hashes128.insert(hash128(text));
    for (size_t bit = 0; bit < 8 * length; ++bit) {
      std::string flipped = text;
      flipped[bit / 8] = static_cast<char>(1 << (bit % 8));
      hashes64.insert(hash64(flipped));
      hashes128.insert(hash128(flipped));
    }
  }
  EXPECT_EQ(hashes64.size(), 4u + 8 * 1217);
  EXPECT_EQ(hashes128.size(), 4u + 8 * 1217);
}

TEST(Hash, SeedChangesTheResult) {
  EXPECT_NE(hash64(std::string_view("a"), 1), hash64(std::string_view("a"), 2));
}

}  // namespace
}  // namespace redline
