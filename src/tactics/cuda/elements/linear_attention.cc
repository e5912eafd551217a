// SPDX-License-Identifier: Apache-2.0
#include "ops/linear_attention.h"

#include <algorithm>
#include <cmath>

#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

constexpr size_t kState = 3;
constexpr size_t kDecay = 4;
constexpr size_t kBeta = 5;
// Numbers of the state that one thread holds.
constexpr int64_t kMostKeys = 512;

// A value element has a column of the state of its own: the thread runs through the tokens with
// that column.
class ColumnCode {
 public:
  ColumnCode(ElementContext& c, std::string b, std::string h, std::string m)
      : c_(c),
        attrs_(c.attrs<LinearAttentionAttrs>()),
        type_(compute_type(c.input(0).dtype)),
        b_(std::move(b)),
        h_(std::move(h)),
        m_(std::move(m)),
        keys_(*c.input(0).static_dim(2) / attrs_.q_heads),
        values_(str_cat("((", c.input(2).dims[2], ") / ", attrs_.kv_heads, ")")) {}

  std::string row(const std::string& d) const { return str_cat(state_, "[", d, "]"); }
  const std::string& type() const { return type_; }
  int64_t keys() const { return keys_; }

  Status start() {
    state_ = "column_state";
    c_.line(str_cat(type_, " ", state_, "[", std::max<int64_t>(keys_, 1), "];"));
    std::string d = c_.loop(std::to_string(keys_));
    std::string past = type_ + "(0)";
    if (c_.has_input(kState)) {
      REDLINE_ASSIGN(past, c_.read(kState, {b_, h_, d, m_}));
    }
    c_.line(str_cat(row(d), " = (", type_, ")", past, ";"));
    c_.close();
    return {};
  }

  // What token t makes of the column.
  Status step(const std::string& t) {
    if (c_.has_input(kDecay)) {
      bool one = c_.input(kDecay).static_dim(2) == attrs_.kv_heads;
      std::string d = c_.loop(std::to_string(keys_));
      std::string at = one ? h_ : str_cat("(", h_, ") * ", keys_, " + ", d);
      REDLINE_ASSIGN(std::string decay, c_.read(kDecay, {b_, t, at}));
      c_.line(str_cat(row(d), " *= exp(", decay, ");"));
      c_.close();
    }
    REDLINE_ASSIGN(std::string v,
                   c_.read(2, {b_, t, str_cat("(", h_, ") * ", values_, " + ", m_)}));
    std::string update = c_.variable(type_, v);
    auto key = [&](const std::string& d) {
      return c_.read(1, {b_, t, str_cat("(", h_, ") * ", keys_, " + ", d)});
    };
    if (c_.has_input(kBeta)) {
      std::string d = c_.loop(std::to_string(keys_));
      REDLINE_ASSIGN(std::string k, key(d));
      c_.line(str_cat(update, " -= ", row(d), " * ", k, ";"));
      c_.close();
      bool one = c_.input(kBeta).dims[2] == "1";
      REDLINE_ASSIGN(std::string rate, c_.read(kBeta, {b_, t, one ? "0" : h_}));
      c_.line(str_cat(update, " *= ", rate, ";"));
    }
    std::string d = c_.loop(std::to_string(keys_));
    REDLINE_ASSIGN(std::string k, key(d));
    c_.line(str_cat(row(d), " += ", k, " * ", update, ";"));
    c_.close();
    return {};
  }

 private:
  ElementContext& c_;
  const LinearAttentionAttrs& attrs_;
  std::string type_;
  std::string b_, h_, m_;
  int64_t keys_;
  std::string values_;
  std::string state_;
};

Result<std::string> linear_attention(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<LinearAttentionAttrs>();
  bool present = c.output_number() == 1;
  std::string values = str_cat("((", c.input(2).dims[2], ") / ", attrs.kv_heads, ")");
  std::string head = present ? at[1] : c.let("idx", str_cat("(", at[2], ") / ", values));
  std::string m = present ? at[3] : c.let("idx", str_cat("(", at[2], ") % ", values));
  std::string group = str_cat(attrs.q_heads / attrs.kv_heads);
  ColumnCode column(c, at[0], present ? head : c.let("idx", str_cat(head, " / ", group)), m);
  REDLINE_TRY(column.start());
  std::string t = c.loop(present ? c.input(0).dims[1] : str_cat(at[1], " + 1"));
  REDLINE_TRY(column.step(t));
  c.close();
  if (present) return column.row(at[2]);
  std::string sum = c.variable(column.type(), "0");
  std::string d = c.loop(std::to_string(column.keys()));
  REDLINE_ASSIGN(std::string q,
                 c.read(0, {at[0], at[1], str_cat("(", head, ") * ", column.keys(), " + ", d)}));
  c.line(str_cat(sum, " += ", q, " * ", column.row(d), ";"));
  c.close();
  double scale = attrs.scale != 0 ? attrs.scale : 1 / std::sqrt(static_cast<double>(column.keys()));
  return str_cat(sum, " * ", float_literal(scale, column.type()));
}

Status linear_attention_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  const auto& attrs = node.attrs.as<LinearAttentionAttrs>();
  if (!inputs[0].static_dim(2)) return unsupported("an unknown head size");
  if (*inputs[0].static_dim(2) / attrs.q_heads > kMostKeys) {
    return unsupported("head sizes over ", kMostKeys);
  }
  for (size_t i : {kDecay, kBeta}) {
    if (i < inputs.size() && inputs[i].present && !inputs[i].static_dim(2)) {
      return unsupported("a decay or beta of unknown size");
    }
  }
  return {};
}

}  // namespace

void register_element_linear_attention(ElementRegistry& registry) {
  registry.add({.ops = {"linear_attention"},
                .supports = linear_attention_supports,
                .element = linear_attention,
                .loops = true});
}

}  // namespace redline
