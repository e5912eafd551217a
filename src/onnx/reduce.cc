// SPDX-License-Identifier: Apache-2.0
#include "ops/reduce.h"

#include <string>

#include "onnx/import_rule.h"
#include "ops/reshape.h"
#include "ops/softmax.h"
#include "ops/topk.h"

namespace redline {
namespace {

// Until opset 18 (ReduceSum: 13) the axes are an attribute.
Status import_reduce(ImportContext& c) {
  // "ReduceLogSumExp" is reduce_log_sum_exp.
  std::string op;
  for (char letter : c.op_type()) {
    bool upper = letter >= 'A' && letter <= 'Z';
    if (upper && !op.empty()) op += '_';
    op += static_cast<char>(upper ? letter - 'A' + 'a' : letter);
  }
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<ReduceAttrs>(), {}, {"axes"}));
  std::vector<Value*> operands = c.inputs();
  if (c.has_attr("axes")) {
    operands.resize(1);
    operands.push_back(c.constant_ints(c.ints_attr("axes")));
  }
  REDLINE_ASSIGN(Value * out, c.emit(op, std::move(operands), std::move(attrs)));
  c.set_output(0, out);
  return {};
}

// Before opset 13 the axis (1 when not given) stands for all axes from it on.
Status import_softmax(ImportContext& c, std::string_view op) {
  if (c.opset() >= 13) return c.import_same(op);
  Value* x = c.input(0);
  if (x == nullptr) return c.unsupported_here("the input is missing");
  if (!x->shape().has_rank()) return c.unsupported_here("the rank of the input is not known");
  const SymDims dims = x->shape().dims();
  auto rank = static_cast<int64_t>(dims.size());
  int64_t axis = c.int_attr("axis", 1);
  if (axis < -rank || axis > rank) {
    return invalid_argument("axis ", axis, " is out of range for rank ", rank);
  }
  if (axis < 0) axis += rank;
  if (axis == rank - 1) {
    REDLINE_ASSIGN(Value * out, c.emit(op, {x}, SoftmaxAttrs{axis}));
    c.set_output(0, out);
    return {};
  }
  SymDims flat(dims.begin(), dims.begin() + axis);
  flat.emplace_back(1);
  for (int64_t d = axis; d < rank; ++d) flat.back() *= dims[static_cast<size_t>(d)];
  REDLINE_ASSIGN(Value * rows, c.emit("reshape", {x}, ReshapeAttrs{.sizes = std::move(flat)}));
  REDLINE_ASSIGN(Value * y, c.emit(op, {rows}, SoftmaxAttrs{axis}));
  REDLINE_ASSIGN(Value * out, c.emit("reshape", {y}, ReshapeAttrs{.sizes = dims}));
  c.set_output(0, out);
  return {};
}

// Before opset 10 k is an attribute.
Status import_topk(ImportContext& c) {
  if (c.opset() >= 10) return c.import_same("topk");
  REDLINE_ASSIGN(Attrs attrs, c.load_attrs(attrs_type<TopKAttrs>(), {}, {"k"}));
  const int64_t k[] = {c.int_attr("k")};
  REDLINE_ASSIGN(Node * node, c.emit_node("topk", {c.input(0), c.constant_ints(k)},
                                          std::move(attrs), c.num_outputs()));
  c.set_outputs(node);
  return {};
}

}  // namespace

void register_import_reduce(ImportRegistry& registry) {
  for (const char* name :
       {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
        "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"}) {
    registry.add(name, import_reduce);
  }
  registry.add("ArgMax", [](ImportContext& c) { return c.import_same("arg_max"); });
  registry.add("ArgMin", [](ImportContext& c) { return c.import_same("arg_min"); });
  registry.add("Softmax", [](ImportContext& c) { return import_softmax(c, "softmax"); });
  registry.add("LogSoftmax", [](ImportContext& c) { return import_softmax(c, "log_softmax"); });
  registry.add("Hardmax", [](ImportContext& c) { return import_softmax(c, "hardmax"); });
  registry.add("TopK", import_topk);
  registry.add("CumSum", [](ImportContext& c) { return c.import_same("cum_sum"); });
  registry.add("CumProd", [](ImportContext& c) { return c.import_same("cum_prod"); });
}

}  // namespace redline
