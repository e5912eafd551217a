// SPDX-License-Identifier: Apache-2.0
#include "ops/gather.h"

#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

Result<std::string> gather(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& data = c.input(0);
  size_t axis = at_axis(c.attrs<GatherAttrs>().axis, data.rank());
  size_t count = c.input(1).dims.size();
  auto begin = at.begin() + static_cast<ptrdiff_t>(axis);
  ElementIndex where(begin, begin + static_cast<ptrdiff_t>(count));
  REDLINE_ASSIGN(std::string index, c.read(1, where));
  ElementIndex from(at.begin(), begin);
  from.push_back(index_inside(c, index, data.dims[axis]));
  from.insert(from.end(), begin + static_cast<ptrdiff_t>(count), at.end());
  return c.read(0, from);
}

Result<std::string> gather_elements(ElementContext& c, const ElementIndex& at) {
  size_t axis = at_axis(c.attrs<GatherAttrs>().axis, c.input(0).rank());
  REDLINE_ASSIGN(std::string index, c.read(1, at));
  ElementIndex from = at;
  from[axis] = index_inside(c, index, c.input(0).dims[axis]);
  return c.read(0, from);
}

Result<std::string> gather_nd(ElementContext& c, const ElementIndex& at) {
  auto batch = static_cast<size_t>(c.attrs<GatherNdAttrs>().batch_dims);
  const ElementOperand& indices = c.input(1);
  std::optional<int64_t> depth = indices.static_dim(indices.rank() - 1);
  if (!depth) return unsupported("gather_nd with an unknown number of indices");
  size_t rows = indices.dims.size() - 1;
  ElementIndex from(at.begin(), at.begin() + static_cast<ptrdiff_t>(batch));
  for (int64_t k = 0; k < *depth; ++k) {
    ElementIndex where(at.begin(), at.begin() + static_cast<ptrdiff_t>(rows));
    where.push_back(std::to_string(k));
    REDLINE_ASSIGN(std::string index, c.read(1, where));
    from.push_back(index_inside(c, index, c.input(0).dims[batch + static_cast<size_t>(k)]));
  }
  from.insert(from.end(), at.begin() + static_cast<ptrdiff_t>(rows), at.end());
  return c.read(0, from);
}

Status gather_nd_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  if (inputs[1].static_dim(inputs[1].rank() - 1)) return {};
  return unsupported("gather_nd with an unknown number of indices");
}

}  // namespace

void register_element_gather(ElementRegistry& registry) {
  registry.add({.ops = {"gather"}, .element = gather, .refuses = true});
  registry.add({.ops = {"gather_elements"}, .element = gather_elements, .refuses = true});
  registry.add({.ops = {"gather_nd"},
                .supports = gather_nd_supports,
                .element = gather_nd,
                .refuses = true});
}

}  // namespace redline
