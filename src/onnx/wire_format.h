// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace redline {

static_assert(std::endian::native == std::endian::little,
              "the wire format is read in place, which needs a little-endian host");

enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

// One field of a protobuf message: its number and its value, still untyped.
struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t value = 0;        // kVarint, kFixed64, kFixed32
  std::string_view content;  // the bytes of the value, without the length of kBytes
};

// Takes one varint off the front of `bytes`; false leaves both alone: cut off or over 10 bytes.
bool take_varint(std::string_view& bytes, uint64_t& value);

// Takes one field off the front of `bytes`. Returns null, or what is wrong there.
const char* take_field(std::string_view& bytes, WireField& field);

// Number of varints in a run of them, counted by their last bytes.
uint64_t count_varints(std::string_view bytes);

}  // namespace redline
