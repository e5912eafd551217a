// SPDX-License-Identifier: Apache-2.0
#include "passes/range_memory.h"

#include <charconv>
#include <unordered_set>
#include <vector>

#include "base/hash.h"
#include "ir/text.h"

namespace redline {
namespace {

// Another where the same graph may come to another result: other inputs, other kinds of values.
constexpr int kMethod = 1;

std::vector<const Value*> results_of(const Graph& graph) {
  std::vector<const Value*> results;
  graph.for_each_node([&](const Node* node) {
    for (const Value* output : node->outputs()) results.push_back(output);
  });
  return results;
}

std::vector<const Tensor*> constants_of(const Graph& graph) {
  std::vector<const Tensor*> constants;
  std::unordered_set<const Value*> seen;
  auto add = [&](const Value* value) {
    if (value == nullptr || !value->is_constant() || !seen.insert(value).second) return;
    constants.push_back(&value->constant);
  };
  graph.for_each_node([&](const Node* node) {
    for (const Value* input : node->inputs()) add(input);
  });
  return constants;
}

uint64_t hash_of(const Tensor& tensor) {
  if (tensor.dtype() != DType::kString) {
    return hash64(std::string_view(tensor.data<char>(), tensor.bytes()));
  }
  uint64_t hash = 0;
  for (const std::string& text : tensor.span<std::string>()) hash = hash64(text, hash);
  return hash;
}

template <class Number>
bool take_number(std::string_view& text, char end, Number& number) {
  auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || at == text.data() + text.size() || *at != end) return false;
  text.remove_prefix(static_cast<size_t>(at - text.data()) + 1);
  return true;
}

}  // namespace

std::string range_to_text(const Graph& graph, const MeasuredRange& range, double least) {
  std::string text = range.outcome + "\n";
  std::vector<const Value*> results = results_of(graph);
  for (size_t i = 0; i < results.size(); ++i) {
    auto it = range.largest.find(results[i]);
    if (it == range.largest.end() || it->second <= least) continue;
    char digits[32];
    auto [end, error] = std::to_chars(digits, digits + sizeof digits, it->second);
    text += str_cat(i, " ", std::string_view(digits, static_cast<size_t>(end - digits)), "\n");
  }
  return text;
}

std::optional<MeasuredRange> range_from_text(const Graph& graph, std::string_view text) {
  size_t end = text.find('\n');
  if (end == std::string_view::npos) return std::nullopt;
  MeasuredRange range;
  range.outcome = text.substr(0, end);
  text.remove_prefix(end + 1);
  std::vector<const Value*> results = results_of(graph);
  while (!text.empty()) {
    size_t index = 0;
    double largest = 0;
    if (!take_number(text, ' ', index) || !take_number(text, '\n', largest)) return std::nullopt;
    if (index >= results.size()) return std::nullopt;
    range.largest[results[index]] = largest;
  }
  return range;
}

std::string range_key(const Graph& graph, const SymbolValues& symbols, ThreadPool* pool) {
  std::string text = str_cat(kMethod, "\n", print_graph(graph, {.elide_constants = true}));
  for (const auto& [name, size] : symbols) text += str_cat(name, "=", size, "\n");
  graph.for_each_node([&](const Node* node) { text += str_cat(node->attrs().hash(), " "); });
  std::vector<const Tensor*> constants = constants_of(graph);
  std::vector<uint64_t> hashes(constants.size());
  auto hash = [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      hashes[i] = hash_of(*constants[i]);
    }
  };
  auto count = static_cast<int64_t>(constants.size());
  if (pool != nullptr) {
    pool->parallel_for(count, 1, hash);
  } else {
    hash(0, count);
  }
  for (uint64_t h : hashes) text += str_cat(h, " ");
  return "range " + hash128(text).to_hex();
}

}  // namespace redline
