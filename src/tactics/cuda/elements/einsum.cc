// SPDX-License-Identifier: Apache-2.0
#include "ops/einsum.h"

#include <algorithm>
#include <map>

#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

std::vector<int> ranks_of(const std::vector<ElementOperand>& inputs) {
  std::vector<int> ranks;
  for (const ElementOperand& input : inputs) ranks.push_back(input.rank());
  return ranks;
}

// The size of each label: of the operands that have it, the one that is not broadcast.
std::map<int, std::string> label_sizes(const EinsumTerms& terms,
                                       const std::vector<ElementOperand>& inputs) {
  std::map<int, std::string> sizes;
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t d = 0; d < terms.inputs[i].size(); ++d) {
      const std::string& size = inputs[i].dims[d];
      auto [it, fresh] = sizes.emplace(terms.inputs[i][d], size);
      if (fresh || it->second == size || size == "1") continue;
      it->second = it->second == "1" ? size : str_cat("bcast(", it->second, ", ", size, ")");
    }
  }
  return sizes;
}

Result<std::string> einsum(ElementContext& c, const ElementIndex& at) {
  std::vector<ElementOperand> inputs;
  for (size_t i = 0; i < c.num_inputs(); ++i) inputs.push_back(c.input(i));
  REDLINE_ASSIGN(EinsumTerms terms,
                 parse_einsum(c.attrs<EinsumAttrs>().equation, ranks_of(inputs)));
  std::map<int, std::string> sizes = label_sizes(terms, inputs);
  std::map<int, std::string> place;
  for (size_t d = 0; d < at.size(); ++d) place[terms.output[d]] = at[d];
  std::string type =
      c.output().dtype == DType::kBool ? "u64" : std::string(compute_type(c.output().dtype));
  std::string sum = c.variable(type, type + "(0)");
  int loops = 0;
  for (const auto& [label, size] : sizes) {
    if (place.contains(label)) continue;
    place[label] = c.loop(size);
    ++loops;
  }
  std::string product;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ElementIndex from;
    for (size_t d = 0; d < terms.inputs[i].size(); ++d) {
      int label = terms.inputs[i][d];
      bool whole = inputs[i].dims[d] == sizes.at(label);
      from.push_back(whole ? place.at(label) : broadcast_index(inputs[i].dims[d], place.at(label)));
    }
    REDLINE_ASSIGN(std::string value, c.read(i, from));
    if (!is_float(c.output().dtype)) value.insert(0, "(u64)");
    if (!product.empty()) product += " * ";
    product += value;
  }
  c.line(type == "i64" ? str_cat(sum, " = (i64)((u64)", sum, " + ", product, ");")
                       : str_cat(sum, " += ", product, ";"));
  while (loops-- > 0) c.close();
  return c.output().dtype == DType::kBool ? str_cat("(", sum, " != 0)") : sum;
}

Status einsum_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  return parse_einsum(node.attrs.as<EinsumAttrs>().equation, ranks_of(inputs)).status();
}

}  // namespace

void register_element_einsum(ElementRegistry& registry) {
  registry.add({.ops = {"einsum"}, .supports = einsum_supports, .element = einsum, .loops = true});
}

}  // namespace redline
