// SPDX-License-Identifier: Apache-2.0
#include "ops/attention.h"

#include <cmath>

#include "ops/rotary_embedding.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

constexpr size_t kMask = 3;
constexpr size_t kPastK = 4;
constexpr size_t kPastV = 5;
constexpr size_t kLengths = 6;

// Sizes of one operand, [batch, heads, sequence, size] or [batch, sequence, heads * size].
struct HeadCode {
  bool split = true;
  std::string heads, sequence, size;
  int64_t first = 0;  // head of packed rows
  ElementIndex at(const std::string& b, const std::string& h, const std::string& i,
                  const std::string& d) const {
    if (split) return {b, h, i, d};
    return {b, i, str_cat("(", h, " + ", first, ") * (", size, ") + ", d)};
  }
};

HeadCode head_code(const ElementOperand& operand, int64_t heads) {
  if (operand.rank() == 4) return {true, operand.dims[1], operand.dims[2], operand.dims[3]};
  return {false, std::to_string(heads), operand.dims[1],
          str_cat("((", operand.dims[2], ") / ", heads, ")")};
}

// Of attention's first three operands.
HeadCode head_code(ElementContext& c, size_t i) {
  const auto& attrs = c.attrs<AttentionAttrs>();
  HeadCode code = head_code(c.input(i), row_heads(attrs, i));
  if (attrs.packed) code.heads = std::to_string(operand_heads(attrs, i));
  code.first = first_head(attrs, i);
  return code;
}

// One query row against all keys.
class RowCode {
 public:
  RowCode(ElementContext& c, std::string b, std::string h, std::string i)
      : c_(c),
        attrs_(c.attrs<AttentionAttrs>()),
        type_(compute_type(c.input(0).dtype)),
        b_(std::move(b)),
        h_(std::move(h)),
        i_(std::move(i)),
        q_(head_code(c, 0)),
        k_(head_code(c, 1)),
        past_(c.has_input(kPastK) ? c.input(kPastK).dims[2] : "0") {
    group_head_ = c.let("idx", str_cat("(", h_, ") / ((", q_.heads, ") / (", k_.heads, "))"));
  }

  const std::string& type() const { return type_; }
  std::string keys() const { return str_cat("(", past_, " + ", k_.sequence, ")"); }

  // What queries may see, and the scale.
  Status start() {
    valid_ = c_.variable("i64", str_cat("(i64)", keys()));
    position_ = c_.variable("i64", str_cat("(i64)(", i_, ") + (i64)(", past_, ")"));
    if (c_.has_input(kLengths)) {
      REDLINE_ASSIGN(std::string length, c_.read(kLengths, {b_}));
      c_.line(str_cat(valid_, " = ", length, " < -(1LL << 40) ? -(1LL << 40) : ", length,
                      " > (1LL << 40) ? (1LL << 40) : ", length, ";"));
      c_.line(str_cat(position_, " = (i64)(", i_, ") + ", valid_, " - (i64)(", q_.sequence, ");"));
    }
    scale_ = attrs_.scale
                 ? float_literal(*attrs_.scale, type_)
                 : c_.let(type_, str_cat("(", type_, ")(1 / sqrt((double)(", q_.size, ")))"));
    return {};
  }

  // Key or value j of the past and the present.
  Result<std::string> entry(size_t operand, const std::string& j, const std::string& d) {
    return joined(c_, operand, b_, group_head_, j, d);
  }
  static Result<std::string> joined(ElementContext& c, size_t operand, const std::string& b,
                                    const std::string& head, const std::string& j,
                                    const std::string& d) {
    HeadCode now = head_code(c, operand);
    size_t old = operand + 3;
    if (!c.has_input(old)) return c.read(operand, now.at(b, head, j, d));
    const std::string& past = c.input(old).dims[2];
    std::string type(compute_type(c.input(operand).dtype));
    std::string result = c.variable(type, type + "(0)");
    c.open(str_cat("if (", j, " < ", past, ")"));
    REDLINE_ASSIGN(std::string before, c.read(old, {b, head, j, d}));
    c.line(str_cat(result, " = ", before, ";"));
    c.close();
    c.open("else");
    REDLINE_ASSIGN(std::string after,
                   c.read(operand, now.at(b, head, str_cat("(", j, " - ", past, ")"), d)));
    c.line(str_cat(result, " = ", after, ";"));
    c.close();
    return result;
  }

  struct Score {
    std::string value, bias;
  };
  // The score of key j, up to a stage; no bias before that stage.
  Result<Score> score(const std::string& j, QkOutput stage) {
    std::string product = c_.variable(type_, "0");
    std::string d = c_.loop(q_.size);
    REDLINE_ASSIGN(std::string x, c_.read(0, q_.at(b_, h_, i_, d)));
    REDLINE_ASSIGN(std::string y, entry(1, j, d));
    c_.line(str_cat(product, " += ", factor(x, attrs_.tf32), " * ", factor(y, attrs_.tf32), ";"));
    c_.close();
    c_.line(str_cat(product, " *= ", scale_, ";"));
    if (stage == QkOutput::kProduct) return Score{product, ""};
    if (attrs_.softcap > 0) {
      std::string cap = float_literal(attrs_.softcap, type_);
      c_.line(str_cat(product, " = tanh(", product, " / ", cap, ") * ", cap, ";"));
    }
    if (stage == QkOutput::kSoftcapped) return Score{product, ""};
    REDLINE_ASSIGN(std::string bias, bias_of(j));
    c_.line(str_cat(product, " += ", bias, ";"));
    return Score{product, bias};
  }

  // The greatest score, and whether the bias hides every key: such a row is zero, whatever its
  // scores.
  struct Row {
    std::string most, hidden;
  };
  Result<Row> row() {
    Row r{c_.variable(type_, type_ + "(-INFINITY)"), c_.variable("bool", "true")};
    std::string j = c_.loop(keys());
    REDLINE_ASSIGN(Score s, score(j, QkOutput::kBiased));
    c_.line(str_cat("if (", s.bias, " != ", type_, "(-INFINITY)) ", r.hidden, " = false;"));
    c_.line(str_cat(r.most, " = ", s.value, " != ", s.value, " || ", r.most, " < ", s.value, " ? ",
                    s.value, " : ", r.most, ";"));
    c_.close();
    c_.line(str_cat("if (", r.most, " == ", type_, "(-INFINITY)) ", r.most, " = 0;"));
    return r;
  }

 private:
  Result<std::string> bias_of(const std::string& j) {
    std::string bias = c_.variable(type_, "0");
    if (c_.has_input(kMask)) {
      const ElementOperand& mask = c_.input(kMask);
      c_.line(str_cat(bias, " = ", type_, "(-INFINITY);"));
      c_.open(str_cat("if (", j, " < ", mask.dims.back(), ")"));
      ElementIndex full = {b_, h_, i_, j};
      ElementIndex at;
      for (size_t axis = 0; axis + 1 < mask.dims.size(); ++axis) {
        at.push_back(broadcast_index(mask.dims[axis], full[4 - mask.dims.size() + axis]));
      }
      at.push_back(j);
      REDLINE_ASSIGN(std::string value, c_.read(kMask, at));
      c_.line(mask.dtype == DType::kBool ? str_cat("if (", value, ") ", bias, " = 0;")
                                         : str_cat(bias, " = (", type_, ")", value, ";"));
      c_.close();
    }
    std::string hidden = str_cat("(i64)", j, " >= ", valid_);
    if (attrs_.causal) hidden += str_cat(" || (i64)", j, " > ", position_);
    if (attrs_.left_window >= 0) {
      hidden += str_cat(" || ", position_, " - (i64)", j, " > ", attrs_.left_window, "LL");
    }
    if (attrs_.right_window >= 0) {
      hidden += str_cat(" || (i64)", j, " - ", position_, " > ", attrs_.right_window, "LL");
    }
    c_.line(str_cat("if (", hidden, ") ", bias, " += ", type_, "(-INFINITY);"));
    return bias;
  }

  ElementContext& c_;
  const AttentionAttrs& attrs_;
  std::string type_;
  std::string b_, h_, i_;
  HeadCode q_, k_;
  std::string past_;
  std::string group_head_, valid_, position_, scale_;
};

Result<std::string> attention_output(ElementContext& c, const ElementIndex& at) {
  bool split = c.input(0).rank() == 4;
  std::string h = split ? at[1] : "";
  std::string d = split ? at[3] : "";
  if (!split) {
    std::string size = head_code(c, 2).size;
    h = c.let("idx", str_cat("(", at[2], ") / ", size));
    d = c.let("idx", str_cat("(", at[2], ") % ", size));
  }
  RowCode code(c, at[0], h, split ? at[2] : at[1]);
  REDLINE_TRY(code.start());
  REDLINE_ASSIGN(RowCode::Row row, code.row());
  std::string sum = c.variable(code.type(), "0");
  std::string acc = c.variable(code.type(), "0");
  c.open(str_cat("if (!", row.hidden, ")"));
  std::string j = c.loop(code.keys());
  REDLINE_ASSIGN(RowCode::Score s, code.score(j, QkOutput::kBiased));
  std::string p = c.let(code.type(), str_cat("exp(", s.value, " - ", row.most, ")"));
  REDLINE_ASSIGN(std::string v, code.entry(2, j, d));
  c.line(str_cat(sum, " += ", p, ";"));
  c.line(str_cat(acc, " += ", p, " * ", factor(v, c.attrs<AttentionAttrs>().tf32), ";"));
  c.close();
  c.close();
  return str_cat("(", sum, " == 0 ? ", acc, " : ", acc, " / ", sum, ")");
}

Result<std::string> attention_scores(ElementContext& c, const ElementIndex& at) {
  QkOutput stage = c.attrs<AttentionAttrs>().qk_output;
  RowCode code(c, at[0], at[1], at[2]);
  REDLINE_TRY(code.start());
  if (stage != QkOutput::kProbabilities) {
    REDLINE_ASSIGN(RowCode::Score s, code.score(at[3], stage));
    return s.value;
  }
  REDLINE_ASSIGN(RowCode::Row row, code.row());
  std::string sum = c.variable(code.type(), "0");
  std::string own = c.variable(code.type(), "0");
  c.open(str_cat("if (!", row.hidden, ")"));
  std::string j = c.loop(code.keys());
  REDLINE_ASSIGN(RowCode::Score s, code.score(j, QkOutput::kBiased));
  std::string p = c.let(code.type(), str_cat("exp(", s.value, " - ", row.most, ")"));
  c.line(str_cat(sum, " += ", p, ";"));
  c.line(str_cat("if (", j, " == ", at[3], ") ", own, " = ", p, ";"));
  c.close();
  c.close();
  return str_cat("(", sum, " == 0 ? ", own, " : ", own, " / ", sum, ")");
}

Result<std::string> attention(ElementContext& c, const ElementIndex& at) {
  switch (c.output_number()) {
    case 0:
      return attention_output(c, at);
    case 3:
      return attention_scores(c, at);
    default:
      return RowCode::joined(c, c.output_number(), at[0], at[1], at[2], at[3]);
  }
}

Status attention_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  bool past = inputs.size() > kPastK && inputs[kPastK].present;
  bool values = inputs.size() > kPastV && inputs[kPastV].present;
  if (past != values) return unsupported("a past of keys or values alone");
  return {};
}

// The row of the caches that turns token (b, s).
Result<ElementIndex> cache_row(ElementContext& c, const std::string& b, const std::string& s) {
  constexpr size_t kPositions = 3;
  if (!c.has_input(kPositions)) return ElementIndex{b, s};
  const ElementOperand& positions = c.input(kPositions);
  const std::string& rows = c.input(1).dims[0];
  if (positions.rank() < 2) {
    REDLINE_ASSIGN(std::string first, read_scalar(c, kPositions));
    std::string row = c.let("i64", str_cat("(i64)", first, " + (i64)(", s, ")"));
    return ElementIndex{index_inside(c, row, rows)};
  }
  REDLINE_ASSIGN(std::string row, c.read(kPositions, {b, s}));
  return ElementIndex{index_inside(c, row, rows)};
}

Result<std::string> rotary_embedding(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<RotaryEmbeddingAttrs>();
  HeadCode x = head_code(c.input(0), attrs.heads);
  const std::string& b = at[0];
  const std::string& s = x.split ? at[2] : at[1];
  std::string head = x.split ? at[1] : c.let("idx", str_cat("(", at[2], ") / ", x.size));
  std::string i = x.split ? at[3] : c.let("idx", str_cat("(", at[2], ") % ", x.size));
  std::string half =
      c.let("idx", attrs.dim > 0 ? std::to_string(attrs.dim / 2) : str_cat("(", x.size, ") / 2"));
  std::string type(compute_type(c.output().dtype));
  REDLINE_ASSIGN(std::string own, c.read(0, at));
  std::string result = c.variable(type, own);
  c.open(str_cat("if (", i, " < 2 * ", half, ")"));
  std::string second =
      c.let("bool", attrs.interleaved ? str_cat("(", i, ") % 2 == 1") : str_cat(i, " >= ", half));
  std::string step = attrs.interleaved ? "1" : half;
  std::string partner = c.let("idx", str_cat(second, " ? ", i, " - ", step, " : ", i, " + ", step));
  std::string pair =
      c.let("idx", attrs.interleaved ? str_cat("(", i, ") / 2")
                                     : str_cat(second, " ? ", i, " - ", half, " : ", i));
  REDLINE_ASSIGN(ElementIndex cache, cache_row(c, b, s));
  cache.push_back(pair);
  REDLINE_ASSIGN(std::string cosine, c.read(1, cache));
  REDLINE_ASSIGN(std::string sine, c.read(2, cache));
  REDLINE_ASSIGN(std::string other, c.read(0, x.at(b, head, s, partner)));
  c.line(str_cat(result, " = ", second, " ? ", sine, " * ", other, " + ", cosine, " * ", own, " : ",
                 cosine, " * ", own, " - ", sine, " * ", other, ";"));
  c.close();
  return result;
}

}  // namespace

void register_element_attention(ElementRegistry& registry) {
  registry.add(
      {.ops = {"attention"}, .supports = attention_supports, .element = attention, .loops = true});
  registry.add({.ops = {"rotary_embedding"}, .element = rotary_embedding, .refuses = true});
}

}  // namespace redline
