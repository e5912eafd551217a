// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "ops/tf_idf_vectorizer.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// The pool is part of the kernel's text.
constexpr size_t kMostPoolItems = 4096;

using Grams = std::map<std::vector<int64_t>, int64_t>;

// The n-grams that count, each with its place in the output; of equal ones the last.
Grams grams_of(const TfIdfVectorizerAttrs& a) {
  Grams grams;
  size_t gram = 0;
  for (size_t i = 0; i < a.ngram_counts.size(); ++i) {
    auto length = static_cast<int64_t>(i) + 1;
    int64_t end = i + 1 < a.ngram_counts.size() ? a.ngram_counts[i + 1]
                                                : static_cast<int64_t>(a.pool_int64s.size());
    for (int64_t at = a.ngram_counts[i]; at < end; at += length) {
      int64_t place = a.ngram_indexes[gram++];
      if (length < a.min_gram_length || length > a.max_gram_length) continue;
      auto first = a.pool_int64s.begin() + at;
      grams[std::vector<int64_t>(first, first + length)] = place;
    }
  }
  return grams;
}

// "__device__ const i64 NAME[] = {...};"; an empty one has an element too.
template <class T>
std::string table(std::string_view name, const std::vector<T>& values, std::string_view end) {
  std::string text = str_cat("__device__ const i64 ", name, "[] = {");
  for (const T& value : values) text += str_cat(value, end, ", ");
  return text + "0};";
}

std::string weighted(ElementContext& c, const std::string& count, const std::string& j) {
  const auto& a = c.attrs<TfIdfVectorizerAttrs>();
  if (a.mode == TermWeight::kTf) return count;
  if (a.mode == TermWeight::kIdf) c.line(str_cat("if (", count, " > 1) ", count, " = 1;"));
  if (a.weights.empty()) return count;
  std::string text = "__device__ const float tf_idf_weights[] = {";
  for (float weight : a.weights) text += float_literal(weight, "float") + ", ";
  c.function(text + "0};");
  return str_cat(count, " * tf_idf_weights[", j, "]");
}

Result<std::string> tf_idf(ElementContext& c, const ElementIndex& at) {
  const auto& a = c.attrs<TfIdfVectorizerAttrs>();
  std::vector<std::string> items;
  std::vector<int64_t> begins = {0};
  std::vector<int64_t> places;
  for (const auto& [gram, place] : grams_of(a)) {
    for (int64_t item : gram) items.push_back(int_literal(item));
    begins.push_back(static_cast<int64_t>(items.size()));
    places.push_back(place);
  }
  c.function(table("tf_idf_items", items, ""));
  c.function(table("tf_idf_begins", begins, "LL"));
  c.function(table("tf_idf_places", places, "LL"));
  std::string size = c.let("i64", c.input(0).dims.back());
  std::string count = c.variable("float", "0");
  std::string gram = c.loop(std::to_string(places.size()));
  c.line(str_cat("if (tf_idf_places[", gram, "] != (i64)(", at.back(), ")) continue;"));
  std::string length =
      c.let("i64", str_cat("tf_idf_begins[", gram, " + 1] - tf_idf_begins[", gram, "]"));
  // A single item has nothing to skip, so it counts once.
  std::string skips = c.let("i64", str_cat(length, " == 1 ? 0 : ", a.max_skip_count, "LL < ", size,
                                           " ? ", a.max_skip_count, "LL : ", size));
  std::string skip = c.loop(skips + " + 1");
  std::string span = c.let("i64", str_cat("(", length, " - 1) * (", skip, " + 1)"));
  std::string start = c.loop(str_cat(size, " - ", span));
  std::string same = c.variable("bool", "true");
  std::string k = c.loop(str_cat(length, " && ", same));
  ElementIndex from = at;
  from.back() = c.let("idx", str_cat("(idx)(", start, " + ", k, " * (", skip, " + 1))"));
  REDLINE_ASSIGN(std::string item, c.read(0, from));
  c.line(str_cat(same, " = ", item, " == tf_idf_items[tf_idf_begins[", gram, "] + ", k, "];"));
  c.close();
  c.line(str_cat("if (", same, ") ", count, " += 1;"));
  for (int i = 0; i < 3; ++i) c.close();
  return weighted(c, count, at.back());
}

Status tf_idf_supports(const BodyNode& node, const std::vector<ElementOperand>&) {
  if (node.attrs.as<TfIdfVectorizerAttrs>().pool_int64s.size() <= kMostPoolItems) return {};
  return unsupported("a pool of more than ", kMostPoolItems, " items");
}

}  // namespace

void register_element_tf_idf(ElementRegistry& registry) {
  registry.add({.ops = {"tf_idf_vectorizer"},
                .supports = tf_idf_supports,
                .element = tf_idf,
                .loops = true});
}

}  // namespace redline
