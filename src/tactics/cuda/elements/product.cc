// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm.h"
#include "tactics/cuda/element.h"

namespace redline {
namespace {

// One after another over k: right for every size and type, and what is left when nothing faster
// takes a problem.
Result<std::string> dot(ElementContext& c, const ElementIndex& a_at, const ElementIndex& b_at,
                        size_t a_axis, size_t b_axis, const std::string& k) {
  std::string type(compute_type(c.output().dtype));
  std::string acc = c.variable(type, type + "(0)");
  std::string i = c.loop(k);
  ElementIndex a = a_at;
  ElementIndex b = b_at;
  a[a_axis] = i;
  b[b_axis] = i;
  REDLINE_ASSIGN(std::string x, c.read(0, a));
  REDLINE_ASSIGN(std::string y, c.read(1, b));
  c.line(type == "i64" ? str_cat(acc, " = (i64)((u64)", acc, " + (u64)", x, " * (u64)", y, ");")
                       : str_cat(acc, " += ", x, " * ", y, ";"));
  c.close();
  return acc;
}

// The index of a batch axis that may be broadcast.
std::string batch_index(const std::string& size, const std::string& to, const std::string& at) {
  if (size == "1") return "0";
  bool known = size[0] >= '0' && size[0] <= '9';
  return known || size == to ? at : str_cat("(", size, " == 1 ? idx(0) : ", at, ")");
}

Result<std::string> matmul(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& a = c.input(0);
  const ElementOperand& b = c.input(1);
  bool a_vector = a.rank() == 1;
  bool b_vector = b.rank() == 1;
  size_t batch = at.size() - (a_vector ? 0 : 1) - (b_vector ? 0 : 1);
  auto leading = [&](const ElementOperand& operand) {
    ElementIndex index;
    size_t own = operand.dims.size() - 2;
    for (size_t i = 0; i < own; ++i) {
      size_t axis = batch - own + i;
      index.push_back(batch_index(operand.dims[i], c.output().dims[axis], at[axis]));
    }
    return index;
  };
  ElementIndex a_at = a_vector ? ElementIndex{"0"} : leading(a);
  if (!a_vector) {
    a_at.push_back(at[batch]);
    a_at.push_back("0");
  }
  ElementIndex b_at = b_vector ? ElementIndex{"0"} : leading(b);
  if (!b_vector) {
    b_at.push_back("0");
    b_at.push_back(at.back());
  }
  size_t a_axis = a_at.size() - 1;
  size_t b_axis = b_vector ? 0 : b_at.size() - 2;
  return dot(c, a_at, b_at, a_axis, b_axis, a.dims.back());
}

Result<std::string> gemm(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<GemmAttrs>();
  ElementIndex a = {at[0], at[0]};
  ElementIndex b = {at[1], at[1]};
  size_t a_axis = attrs.trans_a ? 0 : 1;
  size_t b_axis = attrs.trans_b ? 1 : 0;
  REDLINE_ASSIGN(std::string acc, dot(c, a, b, a_axis, b_axis, c.input(0).dims[a_axis]));
  std::string type(compute_type(c.output().dtype));
  auto scaled = [&](float by, const std::string& v) {
    if (by == 1) return v;
    return str_cat("(", type, ")(", float_literal(by, "double"), " * (double)", v, ")");
  };
  acc = scaled(attrs.alpha, acc);
  if (!c.has_input(2)) return acc;
  const ElementOperand& bias = c.input(2);
  ElementIndex from;
  for (size_t i = 0; i < bias.dims.size(); ++i) {
    size_t axis = 2 - bias.dims.size() + i;
    from.push_back(batch_index(bias.dims[i], c.output().dims[axis], at[axis]));
  }
  REDLINE_ASSIGN(std::string value, c.read(2, from));
  return str_cat(acc, " + ", scaled(attrs.beta, value));
}

}  // namespace

void register_element_product(ElementRegistry& registry) {
  registry.add({.ops = {"matmul"}, .element = matmul, .loops = true});
  registry.add({.ops = {"gemm"}, .element = gemm, .loops = true});
}

}  // namespace redline
