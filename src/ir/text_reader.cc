// SPDX-License-Identifier: Apache-2.0
#include "ir/text_reader.h"

#include <charconv>
#include <cstring>
#include <limits>

#include "core/float_types.h"
#include "ops/body.h"
#include "ops/elements.h"
#include "ops/random_tensor.h"

namespace redline {
namespace {

constexpr int kMaxDepth = 16;
constexpr int64_t kMaxGeneratedBytes = 32 << 20;
constexpr int64_t kMaxBodyValues = 1 << 16;

bool is_word_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.';
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

// A number as written: whole ones keep all 64 bits of either signedness.
struct TextReader::Number {
  size_t position = 0;
  bool whole = false;
  bool negative = false;
  uint64_t magnitude = 0;  // when whole
  double real = 0;

  std::optional<int64_t> as_int64() const {
    if (!whole) return std::nullopt;
    constexpr uint64_t kLimit = uint64_t{1} << 63;
    if (magnitude > kLimit || (magnitude == kLimit && !negative)) return std::nullopt;
    return static_cast<int64_t>(negative ? uint64_t{0} - magnitude : magnitude);
  }
};

void TextReader::skip_blanks() {
  while (position_ < text_.size()) {
    char c = text_[position_];
    if (c == '#' || text_.substr(position_, 2) == "//") {
      size_t end = text_.find('\n', position_);
      position_ = end == std::string_view::npos ? text_.size() : end;
    } else if (c == ' ' || c == '\n' || c == '\t' || c == '\r') {
      ++position_;
    } else {
      return;
    }
  }
}

bool TextReader::at_end() {
  skip_blanks();
  return position_ == text_.size();
}

bool TextReader::next_is(std::string_view token) {
  skip_blanks();
  if (text_.substr(position_, token.size()) != token) return false;
  size_t end = position_ + token.size();
  return !is_word_char(token.back()) || end == text_.size() || !is_word_char(text_[end]);
}

bool TextReader::accept(std::string_view token) {
  if (!next_is(token)) return false;
  position_ += token.size();
  return true;
}

Status TextReader::expect(std::string_view token) {
  if (accept(token)) return {};
  return error(str_cat("expected '", token, "'"));
}

Status TextReader::error_at(size_t position, std::string_view message) const {
  size_t line = 1;
  size_t start = 0;
  for (size_t i = 0; i < position; ++i) {
    if (text_[i] != '\n') continue;
    ++line;
    start = i + 1;
  }
  return invalid_argument(line, ":", position - start + 1, ": ", message);
}

Status TextReader::error(std::string_view message) {
  if (at_end()) return error_at(position_, str_cat(message, ", found the end of the text"));
  size_t length = 1;
  if (is_word_char(text_[position_])) {
    while (length < 20 && position_ + length < text_.size() &&
           is_word_char(text_[position_ + length])) {
      ++length;
    }
  }
  std::string found;
  for (char c : text_.substr(position_, length)) found += c >= 0x20 && c < 0x7f ? c : '?';
  return error_at(position_, str_cat(message, ", found '", found, "'"));
}

Result<std::string> TextReader::read_word(std::string_view what) {
  skip_blanks();
  size_t end = position_;
  while (end < text_.size() && is_word_char(text_[end])) ++end;
  if (end == position_) return error(str_cat("expected ", what));
  std::string word(text_.substr(position_, end - position_));
  position_ = end;
  return word;
}

Result<std::string> TextReader::read_quoted(std::string_view what) {
  if (!next_is("\"")) return error(str_cat("expected ", what, " in double quotes"));
  size_t start = position_++;
  std::string result;
  while (position_ < text_.size()) {
    char c = text_[position_++];
    if (c == '"') return result;
    if (c != '\\') {
      result += c;
      continue;
    }
    char escaped = position_ < text_.size() ? text_[position_++] : '\0';
    if (escaped == '"' || escaped == '\\') {
      result += escaped;
    } else if (escaped == 'x' && position_ + 2 <= text_.size() &&
               hex_digit(text_[position_]) >= 0 && hex_digit(text_[position_ + 1]) >= 0) {
      result +=
          static_cast<char>(hex_digit(text_[position_]) * 16 + hex_digit(text_[position_ + 1]));
      position_ += 2;
    } else {
      return error_at(position_ - 1, "expected \\\", \\\\ or \\xHH after the backslash");
    }
  }
  return error_at(start, "the quoted text that begins here does not end");
}

Result<std::string> TextReader::read_word_or_quoted(std::string_view what) {
  return next_is_quoted() ? read_quoted(what) : read_word(what);
}

Result<TextReader::Number> TextReader::read_number(std::string_view what) {
  skip_blanks();
  Number number;
  number.position = position_;
  size_t start = position_;
  number.negative = start < text_.size() && text_[start] == '-';
  size_t end = start + (number.negative ? 1 : 0);
  size_t digits = end;
  bool real = false;
  while (end < text_.size()) {
    char c = text_[end];
    bool sign = (c == '+' || c == '-') && end > digits && text_[end - 1] == 'e';
    if (!sign && !is_word_char(c)) break;
    real |= c < '0' || c > '9';
    ++end;
  }
  const char* first = text_.data() + digits;
  const char* last = text_.data() + end;
  if (!real && end > digits) {
    auto [at, problem] = std::from_chars(first, last, number.magnitude);
    number.whole = problem == std::errc();
  }
  auto [at, problem] = std::from_chars(first, last, number.real);
  if (end == digits || at != last || problem == std::errc::invalid_argument) {
    return error(str_cat("expected ", what));
  }
  if (problem == std::errc::result_out_of_range || (!number.whole && !real)) {
    return error_at(start, "this number is out of range");
  }
  if (number.negative) number.real = -number.real;
  position_ = end;
  return number;
}

Result<int64_t> TextReader::read_int(std::string_view what) {
  REDLINE_ASSIGN(Number number, read_number(what));
  std::optional<int64_t> value = number.as_int64();
  if (!value) return error_at(number.position, str_cat("expected ", what));
  return *value;
}

Result<SymDims> TextReader::read_dims(char close) {
  SymDims dims;
  if (accept(std::string_view(&close, 1))) return dims;
  while (true) {
    skip_blanks();
    size_t start = position_;
    size_t end = start;
    int depth = 0;
    bool quoted = false;
    for (; end < text_.size(); ++end) {
      char c = text_[end];
      if (quoted && c == '\\') {
        ++end;
      } else if (c == '\'') {
        quoted = !quoted;
      } else if (!quoted && c == '(') {
        ++depth;
      } else if (!quoted && c == ')') {
        --depth;
      } else if (!quoted && (c == close || c == '\n' || (c == ',' && depth == 0))) {
        break;
      }
    }
    end = std::min(end, text_.size());
    Result<Dim> dim = Dim::parse(text_.substr(start, end - start));
    if (!dim.ok()) return error_at(start, dim.status().message());
    if (dim->is_invalid()) return error_at(start, "this size is not a number");
    dims.push_back(*std::move(dim));
    position_ = end;
    if (accept(std::string_view(&close, 1))) return dims;
    if (!accept(",")) return error(str_cat("expected ',' or '", close, "'"));
  }
}

Result<Type> TextReader::read_type() { return read_type(0); }

Result<Type> TextReader::read_type(int depth) {
  if (depth > kMaxDepth) return error("types nest too deeply");
  skip_blanks();
  size_t start = position_;
  REDLINE_ASSIGN(std::string word, read_word("a type"));
  if (word == "seq" || word == "opt") {
    REDLINE_TRY(expect("("));
    REDLINE_ASSIGN(Type element, read_type(depth + 1));
    REDLINE_TRY(expect(")"));
    return word == "seq" ? Type::sequence(std::move(element)) : Type::optional(std::move(element));
  }
  std::optional<DType> dtype = parse_dtype(word);
  if (!dtype) return error_at(start, str_cat("expected a type, found '", word, "'"));
  REDLINE_TRY(expect("["));
  if (accept("*")) {
    REDLINE_TRY(expect("]"));
    return Type::tensor(*dtype);
  }
  start = position_;
  REDLINE_ASSIGN(SymDims dims, read_dims(']'));
  if (dims.size() > kMaxRank) return error_at(start, str_cat("the rank is over ", kMaxRank));
  for (const Dim& dim : dims) {
    if (dim.is_const() && dim.value() < 0) {
      return error_at(start, str_cat("the size ", dim.value(), " is negative"));
    }
  }
  return Type::tensor(*dtype, std::move(dims));
}

Result<AttrMap> TextReader::read_attr_map() { return read_attr_map(0); }

Result<AttrMap> TextReader::read_attr_map(int depth) {
  AttrMap map;
  if (!accept("{")) return map;
  if (accept("}")) return map;
  do {
    REDLINE_ASSIGN(std::string name, read_word("the name of an attribute"));
    REDLINE_TRY(expect("="));
    REDLINE_ASSIGN(AttrValue value, read_attr_value(depth));
    map.push_back({std::move(name), std::move(value)});
  } while (accept(","));
  if (!accept("}")) return error("expected ',' or '}' after an attribute");
  return map;
}

Result<AttrValue> TextReader::read_attr_value() { return read_attr_value(0); }

Result<AttrValue> TextReader::read_attr_value(int depth) {
  if (depth > kMaxDepth) return error("attributes nest too deeply");
  if (next_is("{")) {
    REDLINE_ASSIGN(std::shared_ptr<const Body> body, read_body(depth));
    return AttrValue(std::move(body));
  }
  if (next_is("[")) return read_list(depth);
  if (accept("<")) {
    REDLINE_ASSIGN(SymDims dims, read_dims('>'));
    return AttrValue(std::move(dims));
  }
  if (next_is("\"")) {
    REDLINE_ASSIGN(std::string text, read_quoted("text"));
    return AttrValue(std::move(text));
  }
  if (accept("tensor")) {
    size_t start = position_;
    REDLINE_ASSIGN(Type type, read_type());
    std::optional<Dims> dims = type.is_tensor() ? type.shape.as_static() : std::nullopt;
    if (!dims) return error_at(start, "expected a tensor type with sizes that are numbers");
    REDLINE_ASSIGN(Tensor tensor, read_elements_of(type.dtype, *dims));
    return AttrValue(std::move(tensor));
  }
  size_t start = position_;
  if (!next_is("nan") && !next_is("inf") && start < text_.size() &&
      (text_[start] < '0' || text_[start] > '9') && is_word_char(text_[start])) {
    REDLINE_ASSIGN(std::string word, read_word("a value"));
    if (std::optional<DType> dtype = parse_dtype(word)) return AttrValue(*dtype);
    return error_at(start, str_cat("expected the value of an attribute, found '", word, "'"));
  }
  REDLINE_ASSIGN(Number number, read_number("the value of an attribute"));
  if (!number.whole) return AttrValue(number.real);
  std::optional<int64_t> value = number.as_int64();
  if (!value) return error_at(number.position, "this number is out of range");
  return AttrValue(*value);
}

Result<AttrValue> TextReader::read_list(int depth) {
  REDLINE_TRY(expect("["));
  if (accept("]")) return AttrValue(std::vector<int64_t>());
  if (next_is("\"")) {
    std::vector<std::string> items;
    do {
      REDLINE_ASSIGN(std::string item, read_quoted("text"));
      items.push_back(std::move(item));
    } while (accept(","));
    if (!accept("]")) return error("expected ',' or ']'");
    return AttrValue(std::move(items));
  }
  std::vector<int64_t> whole;
  std::vector<double> real;
  bool all_whole = true;
  do {
    REDLINE_ASSIGN(AttrValue value, read_attr_value(depth + 1));
    if (auto* number = std::get_if<int64_t>(&value)) {
      whole.push_back(*number);
      real.push_back(static_cast<double>(*number));
    } else if (auto* fraction = std::get_if<double>(&value)) {
      all_whole = false;
      real.push_back(*fraction);
    } else {
      return error("a list holds numbers or texts");
    }
  } while (accept(","));
  if (!accept("]")) return error("expected ',' or ']'");
  return all_whole ? AttrValue(std::move(whole)) : AttrValue(std::move(real));
}

Result<std::vector<int>> TextReader::read_body_operands(int next, std::string_view close) {
  std::vector<int> ids;
  if (next_is(close)) return ids;
  do {
    if (accept("_")) {
      ids.push_back(-1);
      continue;
    }
    skip_blanks();
    size_t start = position_;
    REDLINE_ASSIGN(int64_t id, read_int("the number of a value, or _"));
    if (id < 0 || id >= next) {
      return error_at(start, str_cat("value ", id, " is not defined before this"));
    }
    ids.push_back(static_cast<int>(id));
  } while (accept(","));
  return ids;
}

Result<std::shared_ptr<const Body>> TextReader::read_body(int depth) {
  REDLINE_TRY(expect("{"));
  size_t start = position_;
  auto body = std::make_shared<Body>();
  REDLINE_ASSIGN(int64_t inputs, read_int("the number of a body's inputs"));
  if (inputs < 0 || inputs > kMaxBodyValues) {
    return error_at(start, str_cat("a body has at most ", kMaxBodyValues, " inputs"));
  }
  body->num_inputs = static_cast<int>(inputs);
  int next = body->num_inputs;
  REDLINE_TRY(expect("in"));
  REDLINE_TRY(expect(";"));
  while (!accept("return")) {
    BodyNode node;
    node.num_outputs = 0;
    int first = next;
    do {
      skip_blanks();
      start = position_;
      REDLINE_ASSIGN(int64_t id, read_int("the number of a value, or 'return'"));
      if (id != next || next >= kMaxBodyValues) {
        return error_at(start, str_cat("expected the value number ", next));
      }
      ++next;
      ++node.num_outputs;
    } while (accept(","));
    REDLINE_TRY(expect("="));
    skip_blanks();
    start = position_;
    REDLINE_ASSIGN(std::string name, read_word("the name of an op"));
    node.op = registry_.find(name);
    if (node.op == nullptr) return error_at(start, str_cat("no op is named '", name, "'"));
    if (node.op->num_subgraphs > 0) return error_at(start, "an op with subgraphs in a body");
    REDLINE_TRY(expect("("));
    REDLINE_ASSIGN(node.inputs, read_body_operands(first, ")"));
    REDLINE_TRY(expect(")"));
    auto outputs = static_cast<size_t>(node.num_outputs);
    if (node.inputs.size() < node.op->min_inputs() || node.inputs.size() > node.op->max_inputs() ||
        outputs < node.op->min_outputs() || outputs > node.op->max_outputs()) {
      return error_at(start, str_cat(name, " does not have ", node.inputs.size(), " inputs and ",
                                     outputs, " outputs"));
    }
    REDLINE_ASSIGN(AttrMap map, read_attr_map(depth + 1));
    Result<Attrs> attrs = Attrs::load(node.op->attrs, map);
    if (!attrs.ok()) return error_at(start, str_cat(name, ": ", attrs.status().message()));
    node.attrs = *std::move(attrs);
    body->nodes.push_back(std::move(node));
    REDLINE_TRY(expect(";"));
  }
  REDLINE_ASSIGN(body->outputs, read_body_operands(next, "}"));
  REDLINE_TRY(expect("}"));
  return std::shared_ptr<const Body>(std::move(body));
}

Status TextReader::store(Tensor& tensor, int64_t index, const Number& number) {
  TensorView element{tensor.dtype(), Dims{},
                     static_cast<uint8_t*>(tensor.mutable_raw()) +
                         static_cast<size_t>(index) * dtype_bytes(tensor.dtype())};
  DType dtype = tensor.dtype();
  if (is_float(dtype)) {
    encode_floats(dtype, &number.real, element.data, 1, {.saturate = false});
    return {};
  }
  int bits = dtype_bits(dtype);
  auto out_of_range = [&] {
    return error_at(number.position, str_cat("this is not a value of type ", dtype_name(dtype)));
  };
  if (is_signed_int(dtype)) {
    std::optional<int64_t> value = number.as_int64();
    int64_t limit =
        bits == 64 ? std::numeric_limits<int64_t>::max() : (int64_t{1} << (bits - 1)) - 1;
    if (!value || *value > limit || *value < -limit - 1) return out_of_range();
    write_elements(std::vector<int64_t>{*value}, element);
    return {};
  }
  uint64_t limit = bits >= 64 ? std::numeric_limits<uint64_t>::max() : (uint64_t{1} << bits) - 1;
  if (dtype == DType::kBool) limit = 1;
  if (!number.whole || number.magnitude > limit || (number.negative && number.magnitude != 0)) {
    return out_of_range();
  }
  write_elements(std::vector<uint64_t>{number.magnitude}, element);
  return {};
}

Result<Tensor> TextReader::read_list_elements(Tensor tensor) {
  int64_t count = tensor.count();
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0 && !accept(","))
      return error(str_cat("expected ',': the type has ", count, " elements"));
    if (tensor.dtype() == DType::kString) {
      REDLINE_ASSIGN(tensor.mutable_data<std::string>()[i], read_quoted("an element"));
    } else {
      REDLINE_ASSIGN(Number number, read_number("an element"));
      REDLINE_TRY(store(tensor, i, number));
    }
  }
  return tensor;
}

Result<Tensor> TextReader::read_hex_elements(Tensor tensor) {
  if (!next_is("\"")) return error("expected hex digits in double quotes");
  size_t start = position_++;
  size_t bytes = tensor.bytes();
  size_t end = text_.find('"', position_);
  if (tensor.dtype() == DType::kString) return error_at(start, "text is not written in hex");
  if (end == std::string_view::npos || end - position_ != 2 * bytes) {
    return error_at(start, str_cat("expected ", 2 * bytes, " hex digits in double quotes"));
  }
  auto* data = static_cast<uint8_t*>(tensor.mutable_raw());
  for (size_t i = 0; i < bytes; ++i, position_ += 2) {
    int high = hex_digit(text_[position_]);
    int low = hex_digit(text_[position_ + 1]);
    if (high < 0 || low < 0) return error_at(position_, "expected two of 0-9a-f");
    data[i] = static_cast<uint8_t>(high * 16 + low);
  }
  ++position_;
  // What a byte may not hold would reach code that trusts its tensors.
  int bits = tensor.dtype() == DType::kBool ? 1 : dtype_bits(tensor.dtype());
  int largest = bits < 8 ? (1 << bits) - 1 : 255;
  bool small_unsigned = is_unsigned_int(tensor.dtype()) || tensor.dtype() == DType::kBool ||
                        tensor.dtype() == DType::kFloat4E2M1;
  for (size_t i = 0; bits < 8 && i < bytes; ++i) {
    int value = small_unsigned ? data[i] : static_cast<int8_t>(data[i]) + (largest + 1) / 2;
    if (value < 0 || value > largest) {
      return error_at(start,
                      str_cat("byte ", i, " is not a value of type ", dtype_name(tensor.dtype())));
    }
  }
  return tensor;
}

Result<Tensor> TextReader::read_elements_of(DType dtype, const Dims& dims) {
  skip_blanks();
  size_t start = position_;
  std::optional<int64_t> count = checked_count(std::span(dims.begin(), dims.size()));
  if (!count) return error("the sizes overflow");
  // Written elements take at least one character each, so the text bounds what is allocated.
  auto written = [&]() -> Result<Tensor> {
    if (static_cast<uint64_t>(*count) > text_.size() - position_) {
      return error_at(start, str_cat("expected ", *count, " elements"));
    }
    return Tensor::create(dtype, dims);
  };
  if (accept("[") || accept("strings")) {
    bool listed = text_[position_ - 1] == '[';
    if (!listed && dtype != DType::kString) {
      return error_at(start, str_cat("strings are not elements of type ", dtype_name(dtype)));
    }
    if (!listed) REDLINE_TRY(expect("("));
    REDLINE_ASSIGN(Tensor tensor, written());
    REDLINE_ASSIGN(tensor, read_list_elements(std::move(tensor)));
    std::string_view close = listed ? "]" : ")";
    if (!accept(close)) {
      return error(str_cat("expected '", close, "' after ", *count, " elements"));
    }
    return tensor;
  }
  if (accept("hex")) {
    REDLINE_ASSIGN(Tensor tensor, written());
    return read_hex_elements(std::move(tensor));
  }
  if (accept("elided")) {
    return error_at(start, "this text is a dump without its constants, which cannot be read back");
  }
  bool splat = accept("splat");
  if (!splat && !accept("random")) {
    return error("expected elements: [..], hex\"..\", strings(..), splat or random");
  }
  auto element_bytes = static_cast<int64_t>(dtype_bytes(dtype));
  if (*count > (kMaxGeneratedBytes - generated_bytes_) / element_bytes) {
    return error_at(
        start, str_cat("splat and random make at most ", kMaxGeneratedBytes, " bytes in one text"));
  }
  generated_bytes_ += *count * element_bytes;
  if (!splat) {
    REDLINE_ASSIGN(int64_t seed, read_int("a seed"));
    return random_tensor(dtype, dims, static_cast<uint64_t>(seed));
  }
  REDLINE_ASSIGN(Tensor tensor, Tensor::create(dtype, dims));
  if (dtype == DType::kString) {
    REDLINE_ASSIGN(std::string item, read_quoted("an element"));
    for (int64_t i = 0; i < *count; ++i) tensor.mutable_data<std::string>()[i] = item;
    return tensor;
  }
  REDLINE_ASSIGN(Number number, read_number("an element"));
  REDLINE_ASSIGN(Tensor one, Tensor::create(dtype, {}));
  REDLINE_TRY(store(one, 0, number));
  auto* data = static_cast<uint8_t*>(tensor.mutable_raw());
  for (int64_t i = 0; i < *count; ++i, data += element_bytes) {
    std::memcpy(data, one.raw(), static_cast<size_t>(element_bytes));
  }
  return tensor;
}

}  // namespace redline
