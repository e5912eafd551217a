// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/product_tail.h"

#include <algorithm>
#include <set>

#include "ops/fused.h"
#include "tactics/cuda/element_writer.h"

namespace redline {
namespace {

bool is_constant_node(const BodyNode& node) { return node.op->name == "constant"; }

// The dims of an operand without the last, filled up with 1 at the front.
Dims rows_of(const Dims& dims, int rank, bool has_columns) {
  Dims rows;
  int own = dims.rank() - (has_columns && dims.rank() > 0 ? 1 : 0);
  for (int i = own; i < rank; ++i) rows.push_back(1);
  for (int i = 0; i < own; ++i) rows.push_back(dims[static_cast<size_t>(i)]);
  return rows;
}

bool is_known(const Dims& dims) {
  return std::find(dims.begin(), dims.end(), kDynamicDim) == dims.end();
}

// Whether one step does it, whichever of the unknown sizes are 1.
bool always_one_step(const Dims& rows, const Dims& operand) {
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != kDynamicDim && operand[i] != kDynamicDim) continue;
    for (auto [row, own] : {std::pair<int64_t, int64_t>{1, 1}, {3, 1}, {3, 3}}) {
      bool row_fits = rows[i] == kDynamicDim || (rows[i] == 1) == (row == 1);
      bool own_fits = operand[i] == kDynamicDim || (operand[i] == 1) == (own == 1);
      if (!row_fits || !own_fits) continue;
      Dims some_rows = rows;
      Dims some_operand = operand;
      some_rows[i] = rows[i] == kDynamicDim && operand[i] > 1 ? operand[i]
                     : rows[i] == kDynamicDim                 ? row
                                                              : rows[i];
      some_operand[i] = own == 1 ? 1 : some_rows[i];
      if (!always_one_step(some_rows, some_operand)) return false;
    }
    return true;
  }
  return row_step(rows, operand, 1).has_value();
}

}  // namespace

std::optional<RowStep> row_step(const Dims& rows, const Dims& operand, int64_t stride) {
  std::vector<std::pair<int64_t, bool>> axes;  // size, and whether the operand has it
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] != 1) axes.emplace_back(rows[i], operand[i] != 1);
  }
  auto has = [](const auto& axis) { return axis.second; };
  auto first = std::find_if(axes.begin(), axes.end(), has);
  if (first == axes.end()) return RowStep{};
  auto last = std::find_if(axes.rbegin(), axes.rend(), has).base();
  if (!std::all_of(first, last, has)) return std::nullopt;
  RowStep step;
  step.stride = stride;
  for (auto axis = first; axis != last; ++axis) step.mod *= axis->first;
  for (auto axis = last; axis != axes.end(); ++axis) step.div *= axis->first;
  return step;
}

Result<AnchoredRegion> take_apart(const Problem& problem, const std::vector<std::string>& anchors) {
  AnchoredRegion region;
  if (problem.outputs.size() != 1) return unsupported("takes regions of one output");
  Body body = body_of(problem);
  int n = body.num_inputs;
  const BodyNode* anchor = find_anchor(body);
  if (anchor == nullptr ||
      std::find(anchors.begin(), anchors.end(), anchor->op->name) == anchors.end()) {
    return unsupported("its anchor is none of ", anchors.front(), " and the like");
  }
  region.op = anchor->op;
  region.attrs = anchor->attrs;
  region.operands = anchor->inputs;
  Body rest;
  rest.num_inputs = n + 1;
  std::vector<int> renamed;
  for (int i = 0; i < n; ++i) renamed.push_back(i);
  int next = n + 1;
  for (BodyNode& node : body.nodes) {
    if (&node == anchor) {
      bool inputs_only =
          std::all_of(node.inputs.begin(), node.inputs.end(), [&](int v) { return v < n; });
      if (!inputs_only || node.num_outputs != 1)
        return unsupported("something stands before its anchor");
      renamed.push_back(n);
      continue;
    }
    if (!node.op->has(kTraitPointwise) && !is_constant_node(node)) {
      return unsupported("has two anchors");
    }
    for (int i = 0; i < node.num_outputs; ++i) renamed.push_back(next++);
    for (int& v : node.inputs) v = v < 0 ? v : renamed[static_cast<size_t>(v)];
    rest.nodes.push_back(node);
  }
  for (int v : body.outputs) rest.outputs.push_back(renamed[static_cast<size_t>(v)]);
  bool alone = problem.inputs.empty() || rest.nodes.empty();
  const OperandDesc* first = region.operand(problem, 0);
  if (first == nullptr) return unsupported("its anchor has no operand");
  region.dtype = alone ? problem.outputs[0].dtype : first->dtype;
  // A region even where nothing stands behind the anchor.
  static const OpDef kRegion{.name = "fused"};
  region.tail.op = &kRegion;
  region.tail.attrs = Attrs::of(FusedAttrs{std::make_shared<const Body>(std::move(rest))});
  auto add = [](std::vector<OperandDesc>& to, const OperandDesc& from, DType dtype) {
    OperandDesc operand;
    operand.present = from.present;
    operand.dtype = dtype;
    if (from.dims.rank() > 0) operand.dims = {2};
    to.push_back(operand);
  };
  for (const OperandDesc& input : problem.inputs) add(region.tail.inputs, input, input.dtype);
  OperandDesc sums;
  sums.dims = {2};
  add(region.tail.inputs, sums, region.dtype);
  add(region.tail.outputs, sums, problem.outputs[0].dtype);
  return region;
}

Result<ProductTail> ProductTail::create(const Problem& problem, AnchoredRegion region,
                                        Shape shape) {
  ProductTail tail;
  const OperandDesc& out = problem.outputs[0];
  tail.shape_ = shape;
  tail.out_ = out.dtype;
  bool has_columns = shape.has_columns;
  if (has_columns && (out.dims.empty() || out.dims.back() == kDynamicDim)) {
    return unsupported("takes a known number of columns");
  }
  tail.columns_ = has_columns ? out.dims.back() : 1;
  tail.row_dims_ = rows_of(out.dims, out.dims.rank() - (has_columns ? 1 : 0), has_columns);
  size_t bytes = std::max<size_t>(1, dtype_bytes(region.operand(problem, 0)->dtype));
  tail.lanes_ = static_cast<int>(16 / bytes);
  while (tail.columns_ / shape.parts % tail.lanes_ != 0) tail.lanes_ /= 2;
  std::set<size_t> used;
  if (shape.bias >= 0) used.insert(static_cast<size_t>(shape.bias));
  const Body& body = *region.tail.attrs.as<FusedAttrs>().body;
  for (const BodyNode& node : body.nodes) {
    for (int v : node.inputs) {
      if (v >= 0 && v < body.num_inputs - 1) used.insert(static_cast<size_t>(v));
    }
  }
  for (size_t input : used) REDLINE_TRY(tail.add_operand(problem, input));
  tail.region_ = std::move(region);
  REDLINE_TRY(ElementWriter(tail.region_.tail).check());
  return tail;
}

Status ProductTail::add_operand(const Problem& problem, size_t input) {
  const OperandDesc& desc = problem.inputs[input];
  if (!desc.present || !desc.is_tensor || !desc.has_rank) {
    return unsupported("takes tensors of known rank");
  }
  if (desc.dtype == DType::kString || dtype_bits(desc.dtype) < 8) {
    return unsupported("takes no operands of ", dtype_name(desc.dtype));
  }
  Operand operand;
  operand.input = input;
  int64_t own = shape_.has_columns && !desc.dims.empty() ? desc.dims.back() : 1;
  if (own == kDynamicDim || (own != 1 && own != columns_)) {
    return unsupported("an operand whose columns are not known");
  }
  operand.each_column = own != 1;
  Dims rows = rows_of(desc.dims, row_dims_.rank(), shape_.has_columns);
  if (rows.rank() > row_dims_.rank()) return unsupported("an operand of a higher rank");
  operand.like_rows = desc.like_output;
  if (!operand.like_rows && !always_one_step(row_dims_, rows)) {
    return unsupported("an operand broadcast in two places");
  }
  operand.known = is_known(rows) && is_known(row_dims_);
  if (operand.known) operand.step = *row_step(row_dims_, rows, own);
  // An operand without rows is the same for all sizes.
  operand.known |= std::all_of(rows.begin(), rows.end(), [](int64_t d) { return d == 1; });
  operands_.push_back(operand);
  return {};
}

int64_t ProductTail::rows() const { return is_known(row_dims_) ? row_dims_.count() : kDynamicDim; }

std::string ProductTail::parameters() const {
  std::string text;
  for (const Operand& operand : operands_) {
    for (const char* name : {"div", "mod", "stride"})
      text += str_cat(", int ", name, operand.input);
  }
  return text;
}

std::string ProductTail::arguments() const {
  std::string text;
  for (const Operand& operand : operands_) {
    text += str_cat(", in", operand.input);
    for (const char* name : {"div", "mod", "stride"}) text += str_cat(", ", name, operand.input);
  }
  if (!shape_.place.empty()) text += ", sizes";
  return text;
}

std::vector<int> ProductTail::values() const {
  std::vector<int> values;
  for (const Operand& operand : operands_) {
    for (int64_t value : {operand.step.div, operand.step.mod, operand.step.stride}) {
      values.push_back(static_cast<int>(std::max<int64_t>(value, 0)));
    }
  }
  return values;
}

std::string ProductTail::element_offset(const Operand& operand) const {
  std::string column = operand.each_column ? " + column" : "";
  size_t i = operand.input;
  if (!operand.known && operand.like_rows) {
    return str_cat("(i64)row * ", operand.each_column ? columns_ : 1, column);
  }
  if (!operand.known) {
    return str_cat("(i64)(row / div", i, " % mod", i, ") * stride", i, column);
  }
  const RowStep& step = operand.step;
  if (step.stride == 0) return operand.each_column ? "column" : "0";
  std::string row = "row";
  if (step.div != 1) row += str_cat(" / ", step.div);
  if (!is_known(row_dims_) || step.div * step.mod != row_dims_.count()) {
    row += str_cat(" % ", step.mod);
  }
  return str_cat("(i64)(", row, ") * ", step.stride, column);
}

Result<std::string> ProductTail::text() const {
  const Body& body = *region_.tail.attrs.as<FusedAttrs>().body;
  ElementWriter writer(region_.tail);
  REDLINE_TRY(writer.check());
  writer.begin();
  int sums = body.num_inputs - 1;
  std::string members;
  std::string loaded;
  std::string loads;
  for (const Operand& operand : operands_) {
    size_t i = operand.input;
    std::string_view type = storage_type(region_.tail.inputs[i].dtype);
    members +=
        str_cat("  const ", type, "* in", i, ";\n  int div", i, ", mod", i, ", stride", i, ";\n");
    std::string place = str_cat("in", i, " + (", element_offset(operand), ")");
    if (operand.each_column) {
      loaded += str_cat("    lanes_of<", type, ", ", lanes_, "> q", i, ";\n");
      loads += str_cat("    operands.q", i, " = load_lanes<", lanes_, ">(", place, ");\n");
    } else {
      loaded += str_cat("    ", type, " q", i, ";\n");
      loads += str_cat("    operands.q", i, " = *(", place, ");\n");
    }
  }
  if (!shape_.place.empty()) members += "  Geometry sizes;\n";
  std::string_view out = storage_type(out_);
  writer.line(str_cat("lanes_of<", out, ", ", lanes_, "> result;"));
  for (int lane = 0; lane < lanes_; ++lane) {
    writer.open("");
    for (const Operand& operand : operands_) {
      std::string element = str_cat("operands.q", operand.input,
                                    operand.each_column ? str_cat(".element[", lane, "]") : "");
      writer.bind(static_cast<int>(operand.input), str_cat("widen(", element, ")"));
    }
    std::string sum = str_cat("value[", lane, "]");
    if (shape_.alpha != 1) sum = str_cat(float_literal(shape_.alpha, "float"), " * ", sum);
    if (shape_.bias >= 0) {
      REDLINE_ASSIGN(std::string bias, writer.element(shape_.bias, {"0"}));
      sum += shape_.beta == 1 ? " + " + bias
                              : str_cat(" + ", float_literal(shape_.beta, "float"), " * ", bias);
    }
    writer.line(str_cat("const float sum = ", sum, ";"));
    writer.bind(sums, "sum");
    REDLINE_ASSIGN(std::string value, writer.element(body.outputs[0], {"0"}));
    writer.line(str_cat("narrow(&result.element[", lane, "], ", value, ");"));
    writer.close();
  }
  std::string place = str_cat("(i64)row * ", columns_, " + column");
  writer.line(str_cat("store_lanes(out + (", place, "), result);"));
  std::string start =
      shape_.parts > 1 ? str_cat("    const int row = row_of_part, column = part_column + batch * ",
                                 columns_ / shape_.parts, ";\n")
                       : "    const int row = batch * rows + row_of_part, column = part_column;\n";
  if (!shape_.place.empty()) start = shape_.place;
  std::string statements = writer.take_statements();
  std::string place_of = "(int batch, int row_of_part, int part_column, ";
  std::string value = str_cat("float (&value)[", lanes_, "]) const {\n");
  return str_cat(writer.functions_text(), "struct Tail {\n  ", out, "* out;\n  int rows;\n",
                 members, "  struct Operands {\n", loaded, "  };\n  __device__ inline void load",
                 place_of, "Operands& operands) const {\n", start, loads,
                 "  }\n  __device__ inline void finish", place_of, "const Operands& operands, ",
                 value, start, statements, "  }\n  __device__ inline void operator()", place_of,
                 value,
                 "    Operands operands;\n    load(batch, row_of_part, part_column, operands);\n"
                 "    finish(batch, row_of_part, part_column, operands, value);\n  }\n};\n");
}

}  // namespace redline
