// SPDX-License-Identifier: Apache-2.0
#include "core/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checked.h"
#include "base/file_io.h"
#include "base/mmap_file.h"
#include "core/sub_byte.h"

namespace redline {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr char32_t kNoCodePoint = 0xFFFFFFFF;

struct Header {
  std::string_view descr;
  bool fortran_order = false;
  Dims dims;
};

// The Python literal of a header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
class HeaderParser {
 public:
  explicit HeaderParser(std::string_view text) : text_(text) {}

  Result<Header> parse() {
    REDLINE_TRY(expect('{'));
    while (!take('}')) {
      REDLINE_ASSIGN(const std::string_view key, quoted());
      REDLINE_TRY(expect(':'));
      REDLINE_TRY(value_of(key));
      if (!take(',') && !peek('}')) return damaged("expected ',' or '}'");
    }
    skip_space();
    if (!text_.empty()) return damaged("expected nothing after '}'");
    if (!seen_descr_ || !seen_order_ || !seen_shape_) {
      return damaged("expected the keys 'descr', 'fortran_order' and 'shape'");
    }
    return header_;
  }

 private:
  Status damaged(std::string_view what) const {
    return invalid_argument("damaged header: ", what, " before '", text_.substr(0, 20), "'");
  }

  void skip_space() {
    const size_t end = text_.find_first_not_of(" \t\r\n");
    text_.remove_prefix(std::min(end, text_.size()));
  }
  bool peek(char c) {
    skip_space();
    return text_.starts_with(c);
  }
  bool take(char c) {
    if (!peek(c)) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool take_word(std::string_view word) {
    skip_space();
    if (!text_.starts_with(word)) return false;
    text_.remove_prefix(word.size());
    return true;
  }
  Status expect(char c) { return take(c) ? Status() : damaged(str_cat("expected '", c, "'")); }

  Result<std::string_view> quoted() {
    skip_space();
    if (!text_.starts_with('\'') && !text_.starts_with('"')) return damaged("expected a string");
    const size_t end = text_.find(text_[0], 1);
    if (end == std::string_view::npos) return damaged("a string without an end");
    const std::string_view content = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return content;
  }

  Status value_of(std::string_view key) {
    if (key == "descr") {
      if (peek('[')) return unsupported("structured arrays; expected one plain element type");
      seen_descr_ = true;
      REDLINE_ASSIGN(header_.descr, quoted());
      return {};
    }
    if (key == "fortran_order") {
      seen_order_ = true;
      header_.fortran_order = take_word("True");
      if (!header_.fortran_order && !take_word("False")) return damaged("expected True or False");
      return {};
    }
    if (key == "shape") return shape();
    return invalid_argument("damaged header: unknown key '", key.substr(0, 40), "'");
  }

  Status shape() {
    seen_shape_ = true;
    header_.dims = {};
    REDLINE_TRY(expect('('));
    while (!take(')')) {
      skip_space();
      int64_t dim = -1;
      const auto [stop, error] = std::from_chars(text_.data(), text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) return damaged("expected a size");
      text_.remove_prefix(static_cast<size_t>(stop - text_.data()));
      take('L');  // as Python 2 wrote it
      if (header_.dims.rank() == kMaxRank) {
        return unsupported("arrays of more than ", kMaxRank, " dimensions");
      }
      header_.dims.push_back(dim);
      if (!take(',') && !peek(')')) return damaged("expected ',' or ')'");
    }
    return {};
  }

  std::string_view text_;
  Header header_;
  bool seen_descr_ = false;
  bool seen_order_ = false;
  bool seen_shape_ = false;
};

// How the elements lie in the file.
struct Elements {
  DType dtype = DType::kFloat32;
  size_t bytes = 0;
  bool swapped = false;
  bool utf32 = false;  // strings: UTF-32, else bytes
};

constexpr std::pair<std::string_view, DType> kPlainTypes[] = {
    {"b1", DType::kBool},       {"i1", DType::kInt8},    {"i2", DType::kInt16},
    {"i4", DType::kInt32},      {"i8", DType::kInt64},   {"u1", DType::kUInt8},
    {"u2", DType::kUInt16},     {"u4", DType::kUInt32},  {"u8", DType::kUInt64},
    {"f2", DType::kFloat16},    {"f4", DType::kFloat32}, {"f8", DType::kFloat64},
    {"f1", DType::kFloat8E5M2},
};

Result<Elements> opaque_elements(size_t bytes, std::optional<DType> expected) {
  const bool fits = expected && *expected != DType::kString && dtype_bytes(*expected) == bytes;
  if (fits) return Elements{.dtype = *expected, .bytes = bytes};
  if (bytes == 2) return Elements{.dtype = DType::kBFloat16, .bytes = 2};
  return unsupported("opaque elements of ", bytes,
                     " bytes, which do not say their type; expected a ",
                     "plain type, or bfloat16 as V2");
}

Result<Elements> elements_of(std::string_view descr, std::optional<DType> expected) {
  const auto refuse = [&](std::string_view what) {
    return unsupported(what, " ('", descr.substr(0, 40),
                       "'); expected bool, integers, float16/32/64 or strings");
  };
  std::string_view type = descr;
  const bool swapped = type.starts_with('>');
  if (swapped || type.starts_with('<') || type.starts_with('|') || type.starts_with('=')) {
    type.remove_prefix(1);
  }
  for (const auto& [name, dtype] : kPlainTypes) {
    if (type == name) return Elements{dtype, dtype_bytes(dtype), swapped};
  }
  if (type.empty()) return refuse("an element type without a name");
  switch (type.front()) {
    case 'O':
      return refuse("object arrays hold Python pickles");
    case 'c':
      return refuse("complex numbers");
    case 'f':
      return refuse("floating-point numbers of this size");
    case 'M':
    case 'm':
      return refuse("dates and times");
    default:
      break;
  }
  size_t number = 0;
  const char* const end = type.data() + type.size();
  const auto [stop, error] = std::from_chars(type.data() + 1, end, number);
  if (error != std::errc() || stop != end) return refuse("an unknown element type");
  if (type.front() == 'V') return opaque_elements(number, expected);
  if (type.front() == 'S') return Elements{DType::kString, number};
  const auto bytes = checked_mul(number, size_t{4});
  if (type.front() != 'U' || !bytes) return refuse("an unknown element type");
  return Elements{DType::kString, *bytes, swapped, true};
}

// Calls fn(target, source) with the positions of each element in C and in the file's order.
template <class Fn>
void for_each_position(const Header& header, Fn fn) {
  const int64_t count = header.dims.count();
  if (!header.fortran_order) {
    for (int64_t i = 0; i < count; ++i) fn(i, i);
    return;
  }
  const int rank = header.dims.rank();
  Dims strides = header.dims;
  int64_t stride = 1;
  for (int axis = 0; axis < rank; ++axis) {
    stride *= std::exchange(strides[static_cast<size_t>(axis)], stride);
  }
  Dims index;
  index.resize(rank);
  int64_t source = 0;
  for (int64_t target = 0; target < count; ++target) {
    fn(target, source);
    for (int axis = rank - 1; axis >= 0; --axis) {
      const auto a = static_cast<size_t>(axis);
      source += strides[a];
      if (++index[a] < header.dims[a]) break;
      source -= strides[a] * header.dims[a];
      index[a] = 0;
    }
  }
}

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | (c >> 6));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | (c >> 12));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (c >> 18));
    out += static_cast<char>(0x80 | ((c >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((c >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

bool is_code_point(char32_t c) { return c <= 0x10FFFF && !(c >= 0xD800 && c <= 0xDFFF); }

// Takes one code point off the front of `text`, or returns kNoCodePoint: not UTF-8.
char32_t take_code_point(std::string_view& text) {
  const auto first = static_cast<uint8_t>(text[0]);
  const int length = first < 0x80 ? 1 : first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : 4;
  if (length == 4 && first >> 3 != 30) return kNoCodePoint;
  if (text.size() < static_cast<size_t>(length)) return kNoCodePoint;
  char32_t c = length == 1 ? first : first & (0x7F >> length);
  for (int i = 1; i < length; ++i) {
    const auto byte = static_cast<uint8_t>(text[static_cast<size_t>(i)]);
    if (byte >> 6 != 2) return kNoCodePoint;
    c = (c << 6) | (byte & 0x3F);
  }
  constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  if (c < kLeast[length] || !is_code_point(c)) return kNoCodePoint;
  text.remove_prefix(static_cast<size_t>(length));
  return c;
}

// Strings are padded with zeros to the common width.
Status read_string(std::span<const std::byte> bytes, const Elements& elements, std::string& out) {
  if (!elements.utf32) {
    out.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    out.erase(out.find_last_not_of('\0') + 1);
    return {};
  }
  size_t length = bytes.size() / 4;
  const auto code = [&](size_t i) {
    uint32_t value = 0;
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    return static_cast<char32_t>(elements.swapped ? __builtin_bswap32(value) : value);
  };
  while (length > 0 && code(length - 1) == 0) --length;
  for (size_t i = 0; i < length; ++i) {
    if (!is_code_point(code(i))) {
      return invalid_argument("a string holds ", static_cast<uint32_t>(code(i)),
                              ", which is no Unicode character");
    }
    append_utf8(out, code(i));
  }
  return {};
}

Result<Tensor> read_strings(std::span<const std::byte> data, const Header& header,
                            const Elements& elements) {
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(DType::kString, header.dims));
  auto* const out = tensor.mutable_data<std::string>();
  Status status;
  for_each_position(header, [&](int64_t target, int64_t source) {
    if (!status.ok()) return;
    const size_t offset = static_cast<size_t>(source) * elements.bytes;
    status = read_string(data.subspan(offset, elements.bytes), elements, out[target]);
  });
  if (!status.ok()) return status;
  return tensor;
}

Result<Tensor> read_numbers(std::span<const std::byte> data, const Header& header,
                            const Elements& elements, std::shared_ptr<const void> owner) {
  const size_t bytes = elements.bytes;
  const bool swapped = elements.swapped && bytes > 1;
  const bool sub_byte = is_sub_byte(elements.dtype);
  const bool in_place =
      !header.fortran_order && !swapped && !sub_byte && elements.dtype != DType::kBool;
  const bool aligned = reinterpret_cast<uintptr_t>(data.data()) % bytes == 0;
  if (in_place && aligned && owner != nullptr && !data.empty()) {
    return Tensor::wrap(elements.dtype, header.dims, data.data(), std::move(owner));
  }
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(elements.dtype, header.dims));
  auto* const out = tensor.mutable_data<std::byte>();
  if (in_place) {
    std::copy(data.begin(), data.end(), out);
    return tensor;
  }
  for_each_position(header, [&](int64_t target, int64_t source) {
    const std::byte* const from = data.data() + static_cast<size_t>(source) * bytes;
    std::byte* const to = out + static_cast<size_t>(target) * bytes;
    if (elements.dtype == DType::kBool) {
      *to = std::byte{*from != std::byte{0}};
    } else if (sub_byte) {
      *to = std::byte{widen_sub_byte(elements.dtype, std::to_integer<uint8_t>(*from))};
    } else if (swapped) {
      std::reverse_copy(from, from + bytes, to);
    } else {
      std::memcpy(to, from, bytes);
    }
  });
  return tensor;
}

// The text of the header, and in `data` what follows it.
Result<std::string_view> split_header(std::span<const std::byte> bytes,
                                      std::span<const std::byte>& data) {
  const std::string_view file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!file.starts_with(kMagic))
    return invalid_argument("not an .npy file: its first bytes differ");
  if (file.size() < 8) return invalid_argument("cut off in its header");
  const int major = file[6];
  if (major < 1 || major > 3) {
    return unsupported(".npy version ", major, "; expected 1, 2 or 3");
  }
  const size_t field = major == 1 ? 2 : 4;
  if (file.size() < 8 + field) return invalid_argument("cut off in its header");
  size_t length = 0;
  std::memcpy(&length, file.data() + 8, field);
  if (length > file.size() - 8 - field) {
    return invalid_argument("cut off: a header of ", length, " bytes in a file of ", file.size());
  }
  data = bytes.subspan(8 + field + length);
  return file.substr(8 + field, length);
}

// Characters of the longest string, at least 1 as in NumPy.
Result<size_t> utf32_width(const Tensor& tensor) {
  size_t width = 1;
  for (const std::string& text : tensor.span<std::string>()) {
    if (text.ends_with('\0')) return unsupported("a string that ends in a zero byte, in .npy");
    size_t length = 0;
    for (std::string_view rest = text; !rest.empty(); ++length) {
      if (take_code_point(rest) == kNoCodePoint) {
        return unsupported("a string that is not UTF-8, in .npy");
      }
    }
    width = std::max(width, length);
  }
  return width;
}

Status write_strings(AtomicFile& file, const Tensor& tensor, size_t width) {
  constexpr size_t kBufferSize = size_t{1} << 16;
  std::vector<char32_t> buffer;
  for (std::string_view rest : tensor.span<std::string>()) {
    const size_t end = buffer.size() + width;
    while (!rest.empty()) buffer.push_back(take_code_point(rest));
    buffer.resize(end, U'\0');
    if (buffer.size() < kBufferSize) continue;
    REDLINE_TRY(file.write(std::as_bytes(std::span(buffer))));
    buffer.clear();
  }
  return file.write(std::as_bytes(std::span(buffer)));
}

Status write_npy(AtomicFile& file, const Tensor& tensor) {
  size_t width = 1;
  if (tensor.dtype() == DType::kString) {
    REDLINE_ASSIGN(width, utf32_width(tensor));
  }
  REDLINE_TRY(file.write(npy_header(tensor.dtype(), tensor.dims(), width)));
  if (tensor.dtype() == DType::kString) return write_strings(file, tensor, width);
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(tensor.raw()),
                                         tensor.bytes());
  if (!is_sub_byte(tensor.dtype())) return file.write(bytes);
  std::vector<std::byte> narrow(bytes.begin(), bytes.end());
  for (std::byte& byte : narrow) {
    byte = std::byte{narrow_sub_byte(tensor.dtype(), std::to_integer<uint8_t>(byte))};
  }
  return file.write(narrow);
}

}  // namespace

Result<Tensor> read_npy(std::span<const std::byte> bytes, std::shared_ptr<const void> owner,
                        std::optional<DType> expected) {
  std::span<const std::byte> data;
  REDLINE_ASSIGN(const std::string_view text, split_header(bytes, data));
  REDLINE_ASSIGN(const Header header, HeaderParser(text).parse());
  REDLINE_ASSIGN(const Elements elements, elements_of(header.descr, expected));
  const auto count =
      checked_product(std::span<const int64_t>(header.dims.begin(), header.dims.size()));
  const auto size = count ? checked_mul(static_cast<size_t>(*count), elements.bytes) : std::nullopt;
  if (!size || *size > data.size()) {
    return invalid_argument("cut off: ", data.size(), " bytes of elements; expected ",
                            size ? std::to_string(*size) : "more than there can be", " for ",
                            header.dims.to_string(), " of '", header.descr, "'");
  }
  if (*size < data.size()) {
    return invalid_argument(data.size() - *size,
                            " bytes after the elements; expected one array of ", *size, " bytes");
  }
  if (elements.dtype != DType::kString) {
    return read_numbers(data, header, elements, std::move(owner));
  }
  // Strings of width 0 take no room in the file, so their number proves nothing.
  if (elements.bytes == 0 && static_cast<size_t>(*count) > bytes.size()) {
    return unsupported(*count, " strings of width 0");
  }
  return read_strings(data, header, elements);
}

Result<Tensor> read_npy_file(const std::string& path, std::optional<DType> expected) {
  REDLINE_ASSIGN(auto file, MmapFile::open(path));
  auto tensor = read_npy(file->bytes(), file, expected);
  if (!tensor.ok()) return tensor.status().with_context(str_cat("'", path, "'"));
  return tensor;
}

std::string npy_header(DType dtype, const Dims& dims, size_t width) {
  std::string descr = dtype_bytes(dtype) == 2 ? "<V2" : "<V1";
  for (const auto& [name, plain] : kPlainTypes) {
    // NumPy cannot load f1.
    if (plain == dtype && name != "f1") descr = str_cat(name[1] == '1' ? '|' : '<', name);
  }
  if (dtype == DType::kString) descr = str_cat("<U", width);
  std::string shape = "(";
  for (int64_t dim : dims) shape += str_cat(dim, ", ");
  if (dims.rank() > 1) shape.resize(shape.size() - 2);
  if (dims.rank() == 1) shape.pop_back();
  std::string text =
      str_cat("{'descr': '", descr, "', 'fortran_order': False, 'shape': ", shape, "), }");
  constexpr size_t kPrefix = 10;
  text.resize((kPrefix + text.size() + 1 + 63) / 64 * 64 - kPrefix - 1, ' ');
  text += '\n';
  std::string out(kMagic);
  out +=
      {'\x01', '\x00', static_cast<char>(text.size() & 255), static_cast<char>(text.size() >> 8)};
  return out + text;
}

Status write_npy_file(const std::string& path, const Tensor& tensor) {
  REDLINE_ASSIGN(AtomicFile file, AtomicFile::create(path));
  if (Status status = write_npy(file, tensor); !status.ok()) {
    return status.with_context(str_cat("'", path, "'"));
  }
  return file.commit();
}

}  // namespace redline
