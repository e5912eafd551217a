// SPDX-License-Identifier: Apache-2.0
#include "onnx/import_rule.h"

namespace redline {
namespace {

Status required(ImportContext& c, std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) {
    if (!c.has_attr(name)) {
      return invalid_argument(c.op_type(), ": attribute '", name, "' is missing");
    }
  }
  return {};
}

Status import_regex_full_match(ImportContext& c) {
  REDLINE_TRY(required(c, {"pattern"}));
  return c.import_same("regex_full_match");
}

// Case is changed letter by letter, so the locale makes no difference.
Status import_string_normalizer(ImportContext& c) {
  return c.import_same("string_normalizer", {}, {"locale"});
}

Status import_tf_idf_vectorizer(ImportContext& c) {
  REDLINE_TRY(required(c, {"mode", "min_gram_length", "max_gram_length", "max_skip_count",
                           "ngram_counts", "ngram_indexes"}));
  return c.import_same("tf_idf_vectorizer");
}

}  // namespace

void register_import_strings(ImportRegistry& registry) {
  registry.add("RegexFullMatch", import_regex_full_match);
  registry.add("StringNormalizer", import_string_normalizer);
  registry.add("TfIdfVectorizer", import_tf_idf_vectorizer);
  registry.add("StringConcat", [](ImportContext& c) { return c.import_same("string_concat"); });
  registry.add("StringSplit", [](ImportContext& c) { return c.import_same("string_split"); });
}

}  // namespace redline
