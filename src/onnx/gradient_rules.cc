// SPDX-License-Identifier: Apache-2.0
#include "onnx/gradient_rules.h"

#include "ir/rewrite.h"
#include "ops/cast.h"
#include "ops/reduce.h"
#include "ops/reshape.h"
#include "ops/transpose.h"

namespace redline {
namespace {

// One node on the way back: dy is known, and the rule of its op gives each operand its share.
struct Back {
  ImportContext& c;
  const std::unordered_set<const Value*>& active;
  ValueMap& gradients;
  Node* node;
  Value* y;
  Value* dy;

  Value* x(size_t i) const { return node->input(i); }
  bool wants(size_t i) const { return x(i) != nullptr && active.contains(x(i)); }
  Result<Value*> emit(std::string_view op, std::vector<Value*> inputs) const {
    return c.emit(op, std::move(inputs));
  }
  Value* number(double value) const { return c.constant_scalar(dy->dtype(), value); }
  Status give(size_t i, Value* share) const;
};

Result<Value*> shape_of(const Back& b, Value* x) { return b.emit("shape", {x}); }

Result<Value*> with_shape_of(const Back& b, Value* value, Value* x) {
  REDLINE_ASSIGN(Value * shape, shape_of(b, x));
  return b.c.emit("reshape", {value, shape}, ReshapeAttrs{.allow_zero = true});
}

// The sum over the axes along which x was broadcast.
Result<Value*> summed_to(const Back& b, Value* share, Value* x) {
  if (!share->shape().has_rank() || !x->shape().has_rank()) {
    return unsupported("the rank of an operand is not known");
  }
  int leading = share->shape().rank() - x->shape().rank();
  if (leading < 0) return internal_error("gradient of rank ", share->shape().rank());
  std::vector<int64_t> axes;
  for (int axis = 0; axis < share->shape().rank(); ++axis) {
    const Dim& wide = share->shape()[axis];
    if (axis < leading) {
      axes.push_back(axis);
    } else if (const Dim& own = x->shape()[axis - leading]; own != wide) {
      if (own.as_const() != 1) {
        return unsupported("whether axis ", axis - leading, " of '", x->name, "' (",
                           x->type.to_string(), ") is broadcast is not known");
      }
      axes.push_back(axis);
    }
  }
  if (axes.empty()) return share;
  REDLINE_ASSIGN(Value * sum, b.c.emit("reduce_sum", {share, b.c.constant_ints(axes)},
                                       ReduceAttrs{.keepdims = true}));
  return leading == 0 ? Result<Value*>(sum) : with_shape_of(b, sum, x);
}

Status Back::give(size_t i, Value* share) const {
  if (!wants(i)) return {};
  REDLINE_ASSIGN(share, summed_to(*this, share, x(i)));
  Value*& total = gradients[x(i)];
  if (total != nullptr) {
    REDLINE_ASSIGN(share, emit("add", {total, share}));
  }
  total = share;
  return {};
}

// Rules of one operand: dx = dy * f'(x), in terms of x and y.
Result<Value*> pointwise_share(const Back& b) {
  const std::string& op = b.node->op().name;
  Value* x = b.x(0);
  if (op == "identity" || op == "expand") return b.dy;
  if (op == "neg") return b.emit("neg", {b.dy});
  if (op == "exp") return b.emit("mul", {b.dy, b.y});
  if (op == "log") return b.emit("div", {b.dy, x});
  if (op == "relu") {
    REDLINE_ASSIGN(Value * above, b.emit("greater", {x, b.number(0)}));
    return b.emit("where", {above, b.dy, b.number(0)});
  }
  if (op == "sqrt") {
    REDLINE_ASSIGN(Value * twice, b.emit("mul", {b.y, b.number(2)}));
    return b.emit("div", {b.dy, twice});
  }
  Value* slope = nullptr;
  if (op == "tanh") {
    REDLINE_ASSIGN(Value * square, b.emit("mul", {b.y, b.y}));
    REDLINE_ASSIGN(slope, b.emit("sub", {b.number(1), square}));
  } else if (op == "sigmoid") {
    REDLINE_ASSIGN(Value * rest, b.emit("sub", {b.number(1), b.y}));
    REDLINE_ASSIGN(slope, b.emit("mul", {b.y, rest}));
  } else if (op == "reciprocal") {
    REDLINE_ASSIGN(Value * square, b.emit("mul", {b.y, b.y}));
    REDLINE_ASSIGN(slope, b.emit("neg", {square}));
  } else if (op == "abs") {
    REDLINE_ASSIGN(slope, b.emit("sign", {x}));
  } else if (op == "sin") {
    REDLINE_ASSIGN(slope, b.emit("cos", {x}));
  } else if (op == "cos") {
    REDLINE_ASSIGN(Value * sine, b.emit("sin", {x}));
    REDLINE_ASSIGN(slope, b.emit("neg", {sine}));
  }
  if (slope == nullptr) return internal_error("no slope of ", op);
  return b.emit("mul", {b.dy, slope});
}

Status back_pointwise(const Back& b) {
  REDLINE_ASSIGN(Value * share, pointwise_share(b));
  return b.give(0, share);
}

Status back_add(const Back& b) {
  REDLINE_TRY(b.give(0, b.dy));
  return b.give(1, b.dy);
}

Status back_sub(const Back& b) {
  REDLINE_TRY(b.give(0, b.dy));
  REDLINE_ASSIGN(Value * negative, b.emit("neg", {b.dy}));
  return b.give(1, negative);
}

Status back_mul(const Back& b) {
  for (size_t i = 0; i < 2; ++i) {
    REDLINE_ASSIGN(Value * share, b.emit("mul", {b.dy, b.x(1 - i)}));
    REDLINE_TRY(b.give(i, share));
  }
  return {};
}

// d(p / q) = dp / q - y dq / q
Status back_div(const Back& b) {
  REDLINE_ASSIGN(Value * share, b.emit("div", {b.dy, b.x(1)}));
  REDLINE_TRY(b.give(0, share));
  REDLINE_ASSIGN(Value * product, b.emit("mul", {share, b.y}));
  REDLINE_ASSIGN(Value * negative, b.emit("neg", {product}));
  return b.give(1, negative);
}

// d(x^p) = p x^(p-1) dx + y log(x) dp. Where p, or y, is 0 the product is 0, whatever is infinite.
Status back_pow(const Back& b) {
  if (b.x(0)->dtype() != b.x(1)->dtype()) return unsupported("the exponent is of another type");
  Value* zero = b.number(0);
  auto share = [&](Value* factor, Value* other) -> Result<Value*> {
    REDLINE_ASSIGN(Value * is_zero, b.emit("equal", {factor, zero}));
    REDLINE_ASSIGN(Value * product, b.emit("mul", {factor, other}));
    REDLINE_ASSIGN(Value * slope, b.emit("where", {is_zero, zero, product}));
    return b.emit("mul", {b.dy, slope});
  };
  if (b.wants(0)) {
    REDLINE_ASSIGN(Value * less, b.emit("sub", {b.x(1), b.number(1)}));
    REDLINE_ASSIGN(Value * power, b.emit("pow", {b.x(0), less}));
    REDLINE_ASSIGN(Value * of_base, share(b.x(1), power));
    REDLINE_TRY(b.give(0, of_base));
  }
  if (!b.wants(1)) return {};
  REDLINE_ASSIGN(Value * log, b.emit("log", {b.x(0)}));
  REDLINE_ASSIGN(Value * of_exponent, share(b.y, log));
  return b.give(1, of_exponent);
}

Status back_where(const Back& b) {
  REDLINE_ASSIGN(Value * first, b.emit("where", {b.x(0), b.dy, b.number(0)}));
  REDLINE_TRY(b.give(1, first));
  REDLINE_ASSIGN(Value * second, b.emit("where", {b.x(0), b.number(0), b.dy}));
  return b.give(2, second);
}

Status back_cast(const Back& b) {
  REDLINE_ASSIGN(Value * share, b.c.emit("cast", {b.dy}, CastAttrs{b.x(0)->dtype()}));
  return b.give(0, share);
}

Result<Value*> transposed(const Back& b, Value* value, std::vector<int64_t> perm) {
  return b.c.emit("transpose", {value}, TransposeAttrs{std::move(perm)});
}

Status back_transpose(const Back& b) {
  const std::vector<int64_t>& perm = b.node->attrs<TransposeAttrs>().perm;
  std::vector<int64_t> inverse(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) {
    inverse[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  }
  REDLINE_ASSIGN(Value * share, transposed(b, b.dy, std::move(inverse)));
  return b.give(0, share);
}

// reshape, squeeze, unsqueeze, flatten: the same elements.
Status back_reshape(const Back& b) {
  REDLINE_ASSIGN(Value * share, with_shape_of(b, b.dy, b.x(0)));
  return b.give(0, share);
}

Result<Value*> with_axis(const Back& b, Value* value, int64_t axis) {
  return b.emit("unsqueeze", {value, b.c.constant_ints(std::span(&axis, 1))});
}

Result<Value*> swapped(const Back& b, Value* value) {
  std::vector<int64_t> perm;
  for (int i = 0; i < value->shape().rank(); ++i) perm.push_back(i);
  std::swap(perm[perm.size() - 2], perm.back());
  return transposed(b, value, std::move(perm));
}

// dA = dY B^T and dB = A^T dY; a vector is a row on the left and a column on the right.
Status back_matmul(const Back& b) {
  if (!b.x(0)->shape().has_rank() || !b.x(1)->shape().has_rank()) {
    return unsupported("the rank of an operand is not known");
  }
  bool row = b.x(0)->shape().rank() == 1;
  bool column = b.x(1)->shape().rank() == 1;
  Value* left = b.x(0);
  Value* right = b.x(1);
  Value* dy = b.dy;
  if (row) {
    REDLINE_ASSIGN(left, with_axis(b, left, 0));
  }
  if (column) {
    REDLINE_ASSIGN(right, with_axis(b, right, 1));
    REDLINE_ASSIGN(dy, with_axis(b, dy, -1));
  }
  if (row) {
    REDLINE_ASSIGN(dy, with_axis(b, dy, -2));
  }
  if (b.wants(0)) {
    REDLINE_ASSIGN(Value * turned, swapped(b, right));
    REDLINE_ASSIGN(Value * share, b.emit("matmul", {dy, turned}));
    REDLINE_TRY(b.give(0, share));
  }
  if (!b.wants(1)) return {};
  REDLINE_ASSIGN(Value * turned, swapped(b, left));
  REDLINE_ASSIGN(Value * share, b.emit("matmul", {turned, dy}));
  if (column) {
    int64_t last = -1;
    REDLINE_ASSIGN(share, b.emit("squeeze", {share, b.c.constant_ints(std::span(&last, 1))}));
  }
  return b.give(1, share);
}

// reduce_sum and reduce_mean: each element of the data gets the gradient of its sum.
Status back_reduce(const Back& b) {
  const auto& attrs = b.node->attrs<ReduceAttrs>();
  Value* data = b.x(0);
  Value* share = b.dy;
  if (!data->shape().has_rank()) return unsupported("the rank of the data is not known");
  bool all = b.x(1) == nullptr;
  if (!attrs.keepdims && !(all && attrs.noop_with_empty_axes)) {
    std::vector<int64_t> axes;
    if (!all) {
      std::optional<std::vector<int64_t>> known = constant_ints(b.x(1));
      if (!known) return unsupported("the axes are not constant");
      axes = *std::move(known);
    }
    if (axes.empty() && !attrs.noop_with_empty_axes) {
      for (int axis = 0; axis < data->shape().rank(); ++axis) axes.push_back(axis);
    }
    for (int64_t& axis : axes) axis += axis < 0 ? data->shape().rank() : 0;
    REDLINE_ASSIGN(share, b.emit("unsqueeze", {share, b.c.constant_ints(axes)}));
  }
  REDLINE_ASSIGN(Value * shape, shape_of(b, data));
  REDLINE_ASSIGN(share, b.emit("expand", {share, shape}));
  if (b.node->is("reduce_mean")) {
    REDLINE_ASSIGN(Value * all_elements, b.emit("size", {data}));
    REDLINE_ASSIGN(Value * means, b.emit("size", {b.y}));
    REDLINE_ASSIGN(Value * count, b.emit("div", {all_elements, means}));
    REDLINE_ASSIGN(Value * divisor, b.c.emit("cast", {count}, CastAttrs{share->dtype()}));
    REDLINE_ASSIGN(share, b.emit("div", {share, divisor}));
  }
  return b.give(0, share);
}

using Rule = Status (*)(const Back&);
const std::unordered_map<std::string_view, Rule>& rules() {
  static const std::unordered_map<std::string_view, Rule> kRules = {{"abs", back_pointwise},
                                                                    {"add", back_add},
                                                                    {"cast", back_cast},
                                                                    {"cos", back_pointwise},
                                                                    {"div", back_div},
                                                                    {"exp", back_pointwise},
                                                                    {"expand", back_pointwise},
                                                                    {"flatten", back_reshape},
                                                                    {"identity", back_pointwise},
                                                                    {"log", back_pointwise},
                                                                    {"matmul", back_matmul},
                                                                    {"mul", back_mul},
                                                                    {"neg", back_pointwise},
                                                                    {"pow", back_pow},
                                                                    {"reciprocal", back_pointwise},
                                                                    {"reduce_mean", back_reduce},
                                                                    {"reduce_sum", back_reduce},
                                                                    {"relu", back_pointwise},
                                                                    {"reshape", back_reshape},
                                                                    {"sigmoid", back_pointwise},
                                                                    {"sin", back_pointwise},
                                                                    {"sqrt", back_pointwise},
                                                                    {"squeeze", back_reshape},
                                                                    {"sub", back_sub},
                                                                    {"tanh", back_pointwise},
                                                                    {"transpose", back_transpose},
                                                                    {"unsqueeze", back_reshape},
                                                                    {"where", back_where}};
  return kRules;
}

Result<Value*> filled_like(ImportContext& c, Value* like, double value) {
  REDLINE_ASSIGN(Value * shape, c.emit("shape", {like}));
  return c.emit("expand", {c.constant_scalar(like->dtype(), value), shape});
}

bool is_real(const Value* value) { return value->type.is_tensor() && is_float(value->dtype()); }

// What depends on some x by a way that has a derivative: whole numbers and truths have none.
std::unordered_set<const Value*> find_active(std::span<Node* const> nodes,
                                             std::span<Value* const> xs) {
  std::unordered_set<const Value*> active(xs.begin(), xs.end());
  for (const Node* node : nodes) {
    bool depends = std::any_of(node->inputs().begin(), node->inputs().end(),
                               [&](const Value* input) { return active.contains(input); });
    if (!depends) continue;
    for (const Value* output : node->outputs()) {
      if (is_real(output)) active.insert(output);
    }
  }
  return active;
}

Status back_through(const Back& b) {
  auto rule = rules().find(b.node->op().name);
  Status status =
      rule == rules().end() ? unsupported("no derivative of it is known") : rule->second(b);
  return status.with_context(
      str_cat("derivative of node '", b.node->name, "' (", b.node->op().name, ")"));
}

}  // namespace

Result<std::vector<Value*>> differentiate(ImportContext& c, std::span<Node* const> nodes, Value* y,
                                          std::span<Value* const> xs) {
  if (!is_real(y)) return c.unsupported_here(str_cat("y is ", y->type.to_string()));
  for (const Value* x : xs) {
    if (is_real(x)) continue;
    return c.unsupported_here(str_cat("'", x->name, "' is ", x->type.to_string()));
  }
  const std::unordered_set<const Value*> active = find_active(nodes, xs);
  ValueMap gradients;
  if (active.contains(y)) {
    REDLINE_ASSIGN(gradients[y], filled_like(c, y, 1));
  }
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) {
    auto known = std::find_if((*it)->outputs().begin(), (*it)->outputs().end(), [&](Value* output) {
      return active.contains(output) && gradients.contains(output);
    });
    // An x may itself be computed; what comes before it does not matter.
    if (known == (*it)->outputs().end() || std::find(xs.begin(), xs.end(), *known) != xs.end()) {
      continue;
    }
    REDLINE_TRY(back_through({c, active, gradients, *it, *known, gradients[*known]}));
  }
  std::vector<Value*> result;
  for (Value* x : xs) {
    if (!gradients.contains(x)) {
      REDLINE_ASSIGN(gradients[x], filled_like(c, x, 0));
    }
    result.push_back(gradients[x]);
  }
  return result;
}

}  // namespace redline
