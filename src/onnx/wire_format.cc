// SPDX-License-Identifier: Apache-2.0
#include "onnx/wire_format.h"

#include <algorithm>
#include <cstring>
#include <protozero/exception.hpp>
#include <protozero/varint.hpp>

namespace redline {
namespace {

template <class T>
uint64_t load(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

bool take_varint(std::string_view& bytes, uint64_t& value) {
  const char* position = bytes.data();
  const char* const end = position + bytes.size();
  try {
    value = protozero::decode_varint(&position, end);
  } catch (const protozero::exception&) {
    return false;
  }
  bytes.remove_prefix(static_cast<size_t>(position - bytes.data()));
  return true;
}

// Not protozero's pbf_reader: it holds lengths in 32 bits, so it would misread a graph over 4 GB.
const char* take_field(std::string_view& bytes, WireField& field) {
  uint64_t tag = 0;
  if (!take_varint(bytes, tag)) return "broken field tag";
  if (tag >> 3 == 0 || tag >> 3 > (1u << 29) - 1) return "impossible field number";
  field.number = static_cast<uint32_t>(tag >> 3);
  field.type = static_cast<WireType>(tag & 7);
  uint64_t length = 0;
  switch (field.type) {
    case WireType::kVarint: {
      const char* const begin = bytes.data();
      if (!take_varint(bytes, field.value)) return "broken varint";
      field.content = {begin, static_cast<size_t>(bytes.data() - begin)};
      return nullptr;
    }
    case WireType::kFixed32:
      length = 4;
      break;
    case WireType::kFixed64:
      length = 8;
      break;
    case WireType::kBytes:
      if (!take_varint(bytes, length)) return "broken length";
      break;
    default:
      return "unknown wire type";
  }
  if (length > bytes.size()) return "value longer than what is left of its message";
  field.content = bytes.substr(0, static_cast<size_t>(length));
  bytes.remove_prefix(field.content.size());
  if (field.type == WireType::kFixed32) field.value = load<uint32_t>(field.content);
  if (field.type == WireType::kFixed64) field.value = load<uint64_t>(field.content);
  return nullptr;
}

uint64_t count_varints(std::string_view bytes) {
  return static_cast<uint64_t>(
      std::count_if(bytes.begin(), bytes.end(), [](char byte) { return (byte & 0x80) == 0; }));
}

}  // namespace redline
