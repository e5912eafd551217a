// SPDX-License-Identifier: Apache-2.0
#include "ops/tf_idf_vectorizer.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

int64_t pool_size(const TfIdfVectorizerAttrs& a) {
  return static_cast<int64_t>(std::max(a.pool_int64s.size(), a.pool_strings.size()));
}

int64_t output_size(const TfIdfVectorizerAttrs& a) {
  return a.ngram_indexes.empty() ? 0 : *std::ranges::max_element(a.ngram_indexes) + 1;
}

// Where the n-grams of each length lie in the pool: n, begin, end.
struct Block {
  int64_t length;
  int64_t begin;
  int64_t end;
};
Result<std::vector<Block>> pool_blocks(const TfIdfVectorizerAttrs& a) {
  std::vector<Block> blocks;
  int64_t grams = 0;
  for (size_t i = 0; i < a.ngram_counts.size(); ++i) {
    int64_t begin = a.ngram_counts[i];
    int64_t end = i + 1 < a.ngram_counts.size() ? a.ngram_counts[i + 1] : pool_size(a);
    auto length = static_cast<int64_t>(i) + 1;
    if (begin < 0 || end < begin || end > pool_size(a) || (end - begin) % length != 0) {
      return invalid_argument("ngram_counts: the ", length, "-grams lie at ", begin, " to ", end,
                              " of a pool of ", pool_size(a));
    }
    grams += (end - begin) / length;
    blocks.push_back({length, begin, end});
  }
  if (grams != static_cast<int64_t>(a.ngram_indexes.size())) {
    return invalid_argument("ngram_indexes has ", a.ngram_indexes.size(), " elements for ", grams,
                            " n-grams");
  }
  return blocks;
}

Status infer_tf_idf_vectorizer(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  const auto& a = c.attrs<TfIdfVectorizerAttrs>();
  bool strings = c.dtype(0) == DType::kString;
  if (!strings && c.dtype(0) != DType::kInt32 && c.dtype(0) != DType::kInt64) {
    return c.input_error(0, "must hold strings, int32 or int64");
  }
  if (a.pool_int64s.empty() == a.pool_strings.empty() || strings == a.pool_strings.empty()) {
    return c.error(strings ? "needs pool_strings alone" : "needs pool_int64s alone");
  }
  REDLINE_TRY(pool_blocks(a).status());
  if (a.min_gram_length < 1 || a.max_gram_length < a.min_gram_length || a.max_skip_count < 0) {
    return c.error("min_gram_length, max_gram_length or max_skip_count is out of range");
  }
  if (std::ranges::any_of(a.ngram_indexes, [](int64_t i) { return i < 0; })) {
    return c.error("ngram_indexes holds a negative number");
  }
  if (!a.weights.empty() && static_cast<int64_t>(a.weights.size()) < output_size(a)) {
    return c.error(
        str_cat("weights has ", a.weights.size(), " elements, expected ", output_size(a)));
  }
  const Shape& in = c.shape(0);
  c.set_output(0, DType::kFloat32, Shape());
  if (!in.has_rank()) return {};
  if (in.rank() != 1 && in.rank() != 2) return c.input_error(0, "must have rank 1 or 2");
  SymDims out = in.dims();
  out.back() = Dim(output_size(a));
  c.set_output(0, DType::kFloat32, std::move(out));
  return {};
}

// The pool as a tree of items; the way from the root to a node is an n-gram.
class GramTree {
 public:
  static constexpr int64_t kNone = -1;

  void add(const int64_t* items, int64_t length, int64_t index) {
    int64_t node = 0;
    for (int64_t i = 0; i < length; ++i) {
      auto [it, added] = children_.try_emplace({node, items[i]}, next_);
      if (added) {
        ++next_;
        index_.push_back(kNone);
      }
      node = it->second;
    }
    index_[static_cast<size_t>(node)] = index;
  }
  int64_t child(int64_t node, int64_t item) const {
    auto it = children_.find({node, item});
    return it == children_.end() ? kNone : it->second;
  }
  // The position in the output of the n-gram that ends here.
  int64_t index(int64_t node) const { return index_[static_cast<size_t>(node)]; }

 private:
  std::map<std::pair<int64_t, int64_t>, int64_t> children_;
  std::vector<int64_t> index_ = {kNone};
  int64_t next_ = 1;
};

void count_grams(const GramTree& tree, const TfIdfVectorizerAttrs& a,
                 std::span<const int64_t> items, float* out) {
  auto size = static_cast<int64_t>(items.size());
  for (int64_t start = 0; start < size; ++start) {
    for (int64_t skip = 0; skip <= std::min(a.max_skip_count, size); ++skip) {
      int64_t node = 0;
      int64_t at = start;
      for (int64_t n = 1; n <= a.max_gram_length && at < size; ++n, at += skip + 1) {
        node = tree.child(node, items[static_cast<size_t>(at)]);
        if (node == GramTree::kNone) break;
        // A single item has nothing to skip, so it counts once.
        if (n >= a.min_gram_length && tree.index(node) >= 0 && (n > 1 || skip == 0)) {
          out[tree.index(node)] += 1;
        }
      }
    }
  }
}

Status reference_tf_idf_vectorizer(ReferenceContext& c) {
  const auto& a = c.attrs<TfIdfVectorizerAttrs>();
  const TensorView& in = c.input(0);
  std::vector<int64_t> pool = a.pool_int64s;
  std::vector<int64_t> items;
  if (in.dtype == DType::kString) {
    std::unordered_map<std::string, int64_t> numbers;
    for (const std::string& text : a.pool_strings) {
      pool.push_back(numbers.try_emplace(text, static_cast<int64_t>(numbers.size())).first->second);
    }
    for (const std::string& text : in.span<const std::string>()) {
      auto it = numbers.find(text);
      items.push_back(it == numbers.end() ? -1 : it->second);
    }
  } else {
    items = read_ints(in);
  }
  REDLINE_ASSIGN(std::vector<Block> blocks, pool_blocks(a));
  GramTree tree;
  size_t gram = 0;
  for (const Block& block : blocks) {
    for (int64_t at = block.begin; at < block.end; at += block.length) {
      int64_t index = a.ngram_indexes[gram++];
      if (block.length < a.min_gram_length || block.length > a.max_gram_length) continue;
      tree.add(pool.data() + at, block.length, index);
    }
  }

  const TensorView& out = c.output(0);
  std::fill_n(out.as<float>(), out.count(), 0.0f);
  int64_t row = in.dims.back();
  int64_t width = out.dims.back();
  int64_t rows = in.dims.rank() == 2 ? in.dims[0] : 1;
  for (int64_t i = 0; i < rows; ++i) {
    float* counts = out.as<float>() + i * width;
    count_grams(tree, a,
                std::span(items).subspan(static_cast<size_t>(i * row), static_cast<size_t>(row)),
                counts);
    for (int64_t j = 0; j < width && a.mode != TermWeight::kTf; ++j) {
      if (a.mode == TermWeight::kIdf) counts[j] = std::min(counts[j], 1.0f);
      if (!a.weights.empty()) counts[j] *= a.weights[static_cast<size_t>(j)];
    }
  }
  return {};
}

}  // namespace

void register_op_tf_idf_vectorizer(OpRegistry& registry) {
  registry.add({.name = "tf_idf_vectorizer",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<TfIdfVectorizerAttrs>(),
                .infer = infer_tf_idf_vectorizer,
                .reference = reference_tf_idf_vectorizer});
}

}  // namespace redline
