// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ops/attrs.h"

namespace redline {

enum class TermWeight : uint8_t { kTf, kIdf, kTfIdf };
inline std::span<const std::string_view> enum_names(TermWeight) {
  static constexpr std::string_view kNames[] = {"TF", "IDF", "TFIDF"};
  return kNames;
}

// tf_idf_vectorizer(x[C] or [N, C]): how often each n-gram of the pool occurs in a row, its items
// next to each other or with up to max_skip_count others between any two. The pool holds all
// 1-grams, then all 2-grams, ...; those of length n begin at ngram_counts[n - 1]. The i-th n-gram
// counts at ngram_indexes[i] of the output; `weights`, if any, are for positions of the output.
struct TfIdfVectorizerAttrs {
  TermWeight mode = TermWeight::kTf;
  int64_t min_gram_length = 1;
  int64_t max_gram_length = 1;
  int64_t max_skip_count = 0;
  std::vector<int64_t> ngram_counts;
  std::vector<int64_t> ngram_indexes;
  std::vector<int64_t> pool_int64s;
  std::vector<std::string> pool_strings;
  std::vector<float> weights;
  template <class V>
  void fields(V& v) {
    v("mode", mode);
    v("min_gram_length", min_gram_length);
    v("max_gram_length", max_gram_length);
    v("max_skip_count", max_skip_count);
    v("ngram_counts", ngram_counts);
    v("ngram_indexes", ngram_indexes);
    v("pool_int64s", pool_int64s);
    v("pool_strings", pool_strings);
    v("weights", weights);
  }
};

}  // namespace redline
