// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace redline {

// Takes one code point off the front of `text`, which is not empty. A byte that begins no valid
// sequence counts as a code point of its own, 0xDC80 + its low bits, which write_utf8 turns back.
inline char32_t read_utf8(std::string_view& text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  char32_t first = byte(0);
  size_t length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;
  constexpr char32_t kLeastOfLength[] = {0, 0, 0x80, 0x800, 0x10000};
  if (length == 1 || (length == 4 && first >> 3 != 30) || text.size() < length) {
    text.remove_prefix(1);
    return first < 0x80 ? first : 0xDC00 + first;
  }
  char32_t code = first & (0x7Fu >> length);
  bool valid = true;
  for (size_t i = 1; i < length; ++i) {
    valid &= byte(i) >> 6 == 2;
    code = code << 6 | (byte(i) & 0x3F);
  }
  valid &= code >= kLeastOfLength[length] && code <= 0x10FFFF && (code < 0xD800 || code > 0xDFFF);
  text.remove_prefix(valid ? length : 1);
  return valid ? code : 0xDC00 + first;
}

inline void write_utf8(char32_t code, std::string& text) {
  auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code >= 0xDC80 && code <= 0xDCFF) return put(code - 0xDC00);
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

}  // namespace redline
