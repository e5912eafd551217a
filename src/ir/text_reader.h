// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "ops/attrs.h"
#include "ops/op.h"

namespace redline {

// Reads the pieces of which the text forms (IR, case files) are made, from any text. Blanks and
// comments before a piece are skipped. Errors begin with line:column and say what was expected.
class TextReader {
 public:
  // The text must outlive the reader.
  TextReader(const OpRegistry& registry, std::string_view text)
      : registry_(registry), text_(text) {}

  const OpRegistry& registry() const { return registry_; }
  size_t position() const { return position_; }

  bool at_end();
  // Whether the next piece is this punctuation or whole word.
  bool next_is(std::string_view token);
  bool next_is_quoted() { return next_is("\""); }
  bool accept(std::string_view token);
  Status expect(std::string_view token);

  // [A-Za-z0-9_.]+, not checked further.
  Result<std::string> read_word(std::string_view what);
  Result<std::string> read_quoted(std::string_view what);
  Result<std::string> read_word_or_quoted(std::string_view what);
  Result<int64_t> read_int(std::string_view what);
  Result<Type> read_type();
  // Up to and with `close`, a single character.
  Result<SymDims> read_dims(char close);
  Result<AttrValue> read_attr_value();
  // Nothing, or {name=value, ...}.
  Result<AttrMap> read_attr_map();
  // Elements in one of the forms of a constant. Those that are generated rather than written take
  // from a budget of the whole text.
  Result<Tensor> read_elements_of(DType dtype, const Dims& dims);

  // An error at the next piece, or at a position.
  Status error(std::string_view message);
  Status error_at(size_t position, std::string_view message) const;

 private:
  struct Number;
  void skip_blanks();
  Result<Number> read_number(std::string_view what);
  Result<Type> read_type(int depth);
  Result<AttrValue> read_attr_value(int depth);
  Result<AttrMap> read_attr_map(int depth);
  Result<AttrValue> read_list(int depth);
  Result<std::shared_ptr<const Body>> read_body(int depth);
  Result<std::vector<int>> read_body_operands(int next, std::string_view close);
  Result<Tensor> read_list_elements(Tensor tensor);
  Result<Tensor> read_hex_elements(Tensor tensor);
  Status store(Tensor& tensor, int64_t index, const Number& number);

  const OpRegistry& registry_;
  std::string_view text_;
  size_t position_ = 0;
  int64_t generated_bytes_ = 0;
};

}  // namespace redline
