// SPDX-License-Identifier: Apache-2.0
#include "ops/gemm.h"

#include <algorithm>

#include "ops/matmul.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// The index of a batch axis that may be broadcast.
std::string batch_index(const std::string& size, const std::string& to, const std::string& at) {
  return size == to ? at : broadcast_index(size, at);
}

// Where the elements of a row of a and a column of b are, for step `k` of their product.
struct MatrixIndex {
  ElementIndex a, b;
};
MatrixIndex matrix_index(const ElementContext& c, const ElementIndex& at, const std::string& k) {
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
  MatrixIndex index;
  if (!a_vector) {
    index.a = leading(a);
    index.a.push_back(at[batch]);
  }
  index.a.push_back(k);
  if (!b_vector) index.b = leading(b);
  index.b.push_back(k);
  if (!b_vector) index.b.push_back(at.back());
  return index;
}

// One after another over k: right for every size and type, and what is left when nothing faster
// takes a problem.
Result<std::string> matmul(ElementContext& c, const ElementIndex& at) {
  std::string type(compute_type(c.output().dtype));
  std::string acc = c.variable(type, type + "(0)");
  MatrixIndex index = matrix_index(c, at, c.loop(c.input(0).dims.back()));
  REDLINE_ASSIGN(std::string x, c.read(0, index.a));
  REDLINE_ASSIGN(std::string y, c.read(1, index.b));
  bool tf32 = c.attrs<MatmulAttrs>().tf32;
  c.line(add_product(type, acc, factor(x, tf32), factor(y, tf32)));
  c.close();
  return acc;
}

// The zero point of the element at `own` of operand i: one number, or one for each row of a or
// column of b, or of sizes that broadcast.
Result<std::string> zero_point(ElementContext& c, size_t i, ElementIndex own) {
  const ElementOperand& zero = c.input(i + 2);
  if (own.size() == 1) own.insert(i == 0 ? own.begin() : own.end(), "0");
  if (zero.rank() == 1) {
    return c.read(i + 2, {broadcast_index(zero.dims[0], own[own.size() - (i == 0 ? 2 : 1)])});
  }
  ElementIndex at(zero.dims.size(), "0");
  for (size_t d = 1; d <= std::min(at.size(), own.size()); ++d) {
    at[at.size() - d] = broadcast_index(zero.dims[at.size() - d], own[own.size() - d]);
  }
  return c.read(i + 2, at);
}

// 32 bits wrap as the sum of the result's low bits does.
Result<std::string> matmul_integer(ElementContext& c, const ElementIndex& at) {
  std::string acc = c.variable("u32", "0");
  MatrixIndex index = matrix_index(c, at, c.loop(c.input(0).dims.back()));
  std::string factor[2];
  for (size_t i : {0, 1}) {
    const ElementIndex& own = i == 0 ? index.a : index.b;
    REDLINE_ASSIGN(std::string value, c.read(i, own));
    factor[i] = "(int)" + value;
    if (!c.has_input(i + 2)) continue;
    REDLINE_ASSIGN(std::string zero, zero_point(c, i, own));
    factor[i] += " - (int)" + zero;
  }
  c.line(str_cat(acc, " += (u32)(", factor[0], ") * (u32)(", factor[1], ");"));
  c.close();
  return str_cat("(i64)(i32)", acc);
}

Result<std::string> gemm(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<GemmAttrs>();
  std::string type(compute_type(c.output().dtype));
  std::string acc = c.variable(type, type + "(0)");
  std::string k = c.loop(c.input(0).dims[attrs.trans_a ? 0 : 1]);
  REDLINE_ASSIGN(std::string x,
                 c.read(0, attrs.trans_a ? ElementIndex{k, at[0]} : ElementIndex{at[0], k}));
  REDLINE_ASSIGN(std::string y,
                 c.read(1, attrs.trans_b ? ElementIndex{at[1], k} : ElementIndex{k, at[1]}));
  c.line(add_product(type, acc, factor(x, attrs.tf32), factor(y, attrs.tf32)));
  c.close();
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
  registry.add({.ops = {"matmul_integer"}, .element = matmul_integer, .loops = true});
  registry.add({.ops = {"gemm"}, .element = gemm, .loops = true});
}

}  // namespace redline
