// SPDX-License-Identifier: Apache-2.0
#include "ops/einsum.h"

#include <algorithm>
#include <map>

#include "ops/axes.h"
#include "ops/elements.h"
#include "ops/op.h"

namespace redline {
namespace {

constexpr int kEllipsis = 0;  // stands for the axes of "..." until their number is known

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

Result<std::vector<int>> parse_term(std::string_view text) {
  std::vector<int> labels;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ' ') continue;
    if (is_letter(text[i])) {
      labels.push_back(text[i]);
    } else if (text.substr(i, 3) == "...") {
      if (std::count(labels.begin(), labels.end(), kEllipsis) > 0) {
        return invalid_argument("the term '", text, "' has more than one ellipsis");
      }
      labels.push_back(kEllipsis);
      i += 2;
    } else {
      return invalid_argument("the term '", text, "' holds '", text.substr(i, 1), "'");
    }
  }
  return labels;
}

// Puts `count` axes in the place of the ellipsis, if there is one.
void expand_ellipsis(std::vector<int>& labels, int count) {
  auto at = std::find(labels.begin(), labels.end(), kEllipsis);
  if (at == labels.end()) return;
  at = labels.erase(at);
  std::vector<int> axes;
  for (int i = count; i >= 1; --i) axes.push_back(-i);
  labels.insert(at, axes.begin(), axes.end());
}

}  // namespace

Result<EinsumTerms> parse_einsum(std::string_view equation, std::span<const int> ranks) {
  EinsumTerms terms;
  size_t arrow = equation.find("->");
  std::string_view left = equation.substr(0, arrow);
  for (size_t begin = 0; begin <= left.size();) {
    size_t end = std::min(left.find(',', begin), left.size());
    REDLINE_ASSIGN(std::vector<int> labels, parse_term(left.substr(begin, end - begin)));
    terms.inputs.push_back(std::move(labels));
    begin = end + 1;
  }
  if (terms.inputs.size() != ranks.size()) {
    return invalid_argument("the equation '", equation, "' has ", terms.inputs.size(),
                            " terms for ", ranks.size(), " inputs");
  }
  int broadcast = 0;
  std::map<int, int> seen;
  for (size_t i = 0; i < ranks.size(); ++i) {
    std::vector<int>& labels = terms.inputs[i];
    bool ellipsis = std::count(labels.begin(), labels.end(), kEllipsis) > 0;
    int extra = ranks[i] - static_cast<int>(labels.size()) + (ellipsis ? 1 : 0);
    if (extra < 0 || (!ellipsis && extra > 0)) {
      return invalid_argument("term ", i, " of '", equation, "' does not fit an input of rank ",
                              ranks[i]);
    }
    for (int label : labels) ++seen[label];
    if (ellipsis) broadcast = std::max(broadcast, extra);
    expand_ellipsis(labels, extra);
  }
  if (arrow != std::string_view::npos) {
    REDLINE_ASSIGN(terms.output, parse_term(equation.substr(arrow + 2)));
  } else {
    // Implicit: what appears once, in ASCII order, after the ellipsis.
    if (seen.contains(kEllipsis)) terms.output.push_back(kEllipsis);
    for (auto [label, count] : seen) {
      if (label != kEllipsis && count == 1) terms.output.push_back(label);
    }
  }
  for (int label : terms.output) {
    if (!seen.contains(label)) {
      if (label == kEllipsis) continue;
      return invalid_argument("'", static_cast<char>(label), "' of the output of '", equation,
                              "' is not in an input");
    }
    if (std::count(terms.output.begin(), terms.output.end(), label) > 1) {
      return invalid_argument("the output of '", equation, "' repeats a label");
    }
  }
  expand_ellipsis(terms.output, broadcast);
  return terms;
}

namespace {

Status infer_einsum(InferContext& c) {
  std::vector<int> ranks;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    REDLINE_TRY(c.expect_same_dtype(i, 0));
    if (c.shape(i).has_rank()) ranks.push_back(c.shape(i).rank());
  }
  if (c.dtype(0) == DType::kString) return c.input_error(0, "must hold numbers");
  c.set_output(0, c.dtype(0), Shape());
  if (ranks.size() != c.num_inputs()) return {};
  Result<EinsumTerms> terms = parse_einsum(c.attrs<EinsumAttrs>().equation, ranks);
  if (!terms.ok()) return c.error(terms.status().message());
  std::map<int, Dim> sizes;
  for (size_t i = 0; i < ranks.size(); ++i) {
    for (int d = 0; d < ranks[i]; ++d) {
      int label = terms->inputs[i][static_cast<size_t>(d)];
      const Dim& size = c.shape(i)[d];
      auto [it, fresh] = sizes.emplace(label, size);
      if (fresh) continue;
      if (conflict(it->second, size) && size != Dim(1) && it->second != Dim(1)) {
        return c.input_error(i, str_cat("must have size ", it->second.value(), " at axis ", d));
      }
      it->second = broadcast(it->second, size);
    }
  }
  SymDims out;
  for (int label : terms->output) out.push_back(sizes.at(label));
  REDLINE_TRY(check_output_rank(c, static_cast<int64_t>(out.size())));
  c.set_output(0, c.dtype(0), std::move(out));
  return {};
}

template <class W>
struct Labelled {
  std::vector<int> labels;
  Dims dims;
  std::vector<W> values;
};

// Strides of an operand along `labels`: repeated labels add up (a diagonal), size 1 is broadcast.
template <class W>
Dims strides_along(const Labelled<W>& operand, std::span<const int> labels) {
  Dims own = operand.dims.strides();
  Dims result;
  for (int label : labels) {
    int64_t stride = 0;
    for (size_t d = 0; d < operand.labels.size(); ++d) {
      if (operand.labels[d] == label && operand.dims[d] != 1) stride += own[d];
    }
    result.push_back(stride);
  }
  return result;
}

// sum of a * b over the labels that are not in `keep`.
template <class W>
Result<Labelled<W>> contract(const Labelled<W>& a, const Labelled<W>& b,
                             const std::vector<int>& keep, const std::map<int, int64_t>& sizes) {
  Labelled<W> result;
  result.labels = keep;
  std::vector<int> loop = keep;
  for (const auto* labels : {&a.labels, &b.labels}) {
    for (int label : *labels) {
      if (std::find(loop.begin(), loop.end(), label) == loop.end()) loop.push_back(label);
    }
  }
  if (loop.size() > kMaxRank) {
    return invalid_argument("a product over ", loop.size(), " labels, the most is ", kMaxRank);
  }
  Dims dims;
  for (int label : loop) dims.push_back(sizes.at(label));
  for (int label : keep) result.dims.push_back(sizes.at(label));
  std::optional<int64_t> count = checked_count({result.dims.begin(), result.dims.size()});
  std::optional<int64_t> steps = checked_count({dims.begin(), dims.size()});
  if (!count || !steps || *count > (int64_t{1} << 31)) {
    return invalid_argument("an intermediate product of ", result.dims.to_string(),
                            " is too large");
  }
  result.values.assign(static_cast<size_t>(*count), W{0});
  Dims own = result.dims.strides();
  own.resize(dims.rank(), 0);
  Dims strides[3] = {strides_along(a, loop), strides_along(b, loop), own};
  for_each_offset(dims, strides, [&](int64_t, const int64_t(&at)[3]) {
    W& sum = result.values[static_cast<size_t>(at[2])];
    const W& x = a.values[static_cast<size_t>(at[0])];
    const W& y = b.values[static_cast<size_t>(at[1])];
    if constexpr (std::is_same_v<W, double>) {
      sum += x * y;
    } else {
      sum = static_cast<W>(static_cast<uint64_t>(sum) +
                           static_cast<uint64_t>(x) * static_cast<uint64_t>(y));
    }
  });
  return result;
}

// From left to right, two operands at a time; a label is summed as soon as no later one has it.
template <class W>
Status run_einsum(ReferenceContext& c, const EinsumTerms& terms) {
  std::map<int, int64_t> sizes;
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    for (size_t d = 0; d < terms.inputs[i].size(); ++d) {
      int64_t size = c.input(i).dims[d];
      int64_t& known = sizes.emplace(terms.inputs[i][d], size).first->second;
      if (known == 1) known = size;
      if (size != known && size != 1) {
        return invalid_argument("sizes ", known, " and ", size, " of one label differ");
      }
    }
  }
  Labelled<W> result{{}, {}, {W{1}}};
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    Labelled<W> next{terms.inputs[i], c.input(i).dims, read_elements<W>(c.input(i))};
    std::vector<int> keep;
    if (i + 1 == c.num_inputs()) {
      keep = terms.output;
    } else {
      auto needed = [&](int label) {
        auto in = [label](const std::vector<int>& labels) {
          return std::find(labels.begin(), labels.end(), label) != labels.end();
        };
        return in(terms.output) || std::any_of(terms.inputs.begin() + static_cast<int64_t>(i) + 1,
                                               terms.inputs.end(), in);
      };
      for (const auto* labels : {&result.labels, &next.labels}) {
        for (int label : *labels) {
          bool listed = std::find(keep.begin(), keep.end(), label) != keep.end();
          if (!listed && needed(label)) keep.push_back(label);
        }
      }
    }
    REDLINE_ASSIGN(result, contract(result, next, keep, sizes));
  }
  write_elements(result.values, c.output(0));
  return {};
}

Status reference_einsum(ReferenceContext& c) {
  std::vector<int> ranks;
  for (size_t i = 0; i < c.num_inputs(); ++i) ranks.push_back(c.input(i).dims.rank());
  REDLINE_ASSIGN(EinsumTerms terms, parse_einsum(c.attrs<EinsumAttrs>().equation, ranks));
  return with_wide_type(c.input(0).dtype,
                        [&](auto wide) { return run_einsum<decltype(wide)>(c, terms); });
}

}  // namespace

void register_op_einsum(OpRegistry& registry) {
  registry.add({.name = "einsum",
                .inputs = {{"first"}, {"rest", Arity::kVariadic}},
                .outputs = {{"y"}},
                .attrs = attrs_type<EinsumAttrs>(),
                .infer = infer_einsum,
                .reference = reference_einsum});
}

}  // namespace redline
