// SPDX-License-Identifier: Apache-2.0
#include "ops/scatter.h"

#include "ops/col2im.h"
#include "ops/tensor_scatter.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/scatter_reduction.h"

// Ops that write where data says, seen from the element that is written: it looks through the
// updates in their order, so that the result is the same in every run.
namespace redline {
namespace {

// "i counted from the end when negative", without a limit: what is outside matches no element.
std::string from_end(ElementContext& c, const std::string& index, const std::string& size) {
  c.refuse_if(
      str_cat("(i64)", index, " < -(i64)(", size, ") || (i64)", index, " >= (i64)(", size, ")"));
  return c.let(
      "i64", str_cat("(i64)", index, " < 0 ? (i64)", index, " + (i64)(", size, ") : (i64)", index));
}

Result<std::string> scatter_elements(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<ScatterElementsAttrs>();
  size_t axis = at_axis(attrs.axis, c.input(0).rank());
  const std::vector<std::string>& sizes = c.input(1).dims;
  REDLINE_ASSIGN(std::string start, c.read(0, at));
  std::string value = c.variable(compute_type(c.output().dtype), start);
  std::string reached = "true";
  for (size_t d = 0; d < at.size(); ++d) {
    if (d != axis) reached += str_cat(" && ", at[d], " < ", sizes[d]);
  }
  c.open(str_cat("if (", reached, ")"));
  ElementIndex from = at;
  from[axis] = c.loop(sizes[axis]);
  REDLINE_ASSIGN(std::string index, c.read(1, from));
  c.open(str_cat("if (", from_end(c, index, c.input(0).dims[axis]), " == (i64)(", at[axis], "))"));
  REDLINE_ASSIGN(std::string update, c.read(2, from));
  c.line(str_cat(value, " = ", reduced(attrs.reduction, c.output().dtype, value, update), ";"));
  for (int i = 0; i < 3; ++i) c.close();
  return value;
}

Result<std::string> scatter_nd(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& indices = c.input(1);
  std::optional<int64_t> depth = indices.static_dim(indices.rank() - 1);
  if (!depth) return unsupported("scatter_nd with an unknown number of indices");
  REDLINE_ASSIGN(std::string start, c.read(0, at));
  std::string value = c.variable(compute_type(c.output().dtype), start);
  ElementIndex row;
  for (int d = 0; d + 1 < indices.rank(); ++d) {
    row.push_back(c.loop(indices.dims[static_cast<size_t>(d)]));
  }
  int blocks = indices.rank() - 1;
  for (int64_t k = 0; k < *depth; ++k) {
    auto axis = static_cast<size_t>(k);
    ElementIndex from = row;
    from.push_back(std::to_string(k));
    REDLINE_ASSIGN(std::string index, c.read(1, from));
    c.open(
        str_cat("if (", from_end(c, index, c.input(0).dims[axis]), " == (i64)(", at[axis], "))"));
    ++blocks;
  }
  row.insert(row.end(), at.begin() + static_cast<ptrdiff_t>(*depth), at.end());
  REDLINE_ASSIGN(std::string update, c.read(2, row));
  c.line(str_cat(value, " = ",
                 reduced(c.attrs<ScatterNdAttrs>().reduction, c.output().dtype, value, update),
                 ";"));
  while (blocks-- > 0) c.close();
  return value;
}

Status scatter_nd_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  if (inputs[1].static_dim(inputs[1].rank() - 1)) return {};
  return unsupported("scatter_nd with an unknown number of indices");
}

Result<std::string> tensor_scatter(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<TensorScatterAttrs>();
  size_t axis = at_axis(attrs.axis, c.input(0).rank());
  const std::string& most = c.input(0).dims[axis];
  std::string start = "0LL";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(std::string given, c.read(2, {at[0]}));
    start = str_cat("(i64)", given);
    // A remainder first, so that the difference below cannot overflow.
    if (attrs.mode == CacheMode::kCircular) start += str_cat(" % (i64)(", most, ")");
    start = c.let("i64", start);
    if (attrs.mode != CacheMode::kCircular) {
      c.refuse_if(str_cat(start, " < 0 || ", start, " > (i64)(", most, ") - (i64)(",
                          c.input(1).dims[axis], ")"));
    }
  }
  std::string step = c.variable("i64", "-1");
  if (attrs.mode == CacheMode::kCircular) {
    c.line(str_cat(step, " = ((i64)(", at[axis], ") - ", start, " + (i64)(", most, ")) % (i64)(",
                   most, ");"));
  } else {
    c.line(str_cat("if (", start, " >= 0 && ", start, " <= (i64)(", at[axis], ")) ", step,
                   " = (i64)(", at[axis], ") - ", start, ";"));
  }
  std::string result = c.variable(compute_type(c.output().dtype), zero_of(c.output().dtype));
  c.open(str_cat("if (", step, " >= 0 && ", step, " < (i64)(", c.input(1).dims[axis], "))"));
  ElementIndex from = at;
  from[axis] = c.let("idx", "(idx)" + step);
  REDLINE_ASSIGN(std::string update, c.read(1, from));
  c.line(str_cat(result, " = ", update, ";"));
  c.close();
  c.open("else");
  REDLINE_ASSIGN(std::string kept, c.read(0, at));
  c.line(str_cat(result, " = ", kept, ";"));
  c.close();
  return result;
}

Result<std::string> col2im(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<Col2ImAttrs>();
  const ElementOperand& columns = c.input(0);
  size_t axes = at.size() - 2;
  std::vector<std::string> block;
  std::string elements = "1LL";
  for (size_t d = 0; d < axes; ++d) {
    REDLINE_ASSIGN(std::string size, int_entry(c, 2, d));
    // A block that the columns cannot hold would only take time.
    block.push_back(c.let("i64", str_cat(size, " < (i64)(", columns.dims[1], ") ? ", size,
                                         " : (i64)(", columns.dims[1], ")")));
    elements += " * " + block.back();
  }
  std::string type(compute_type(c.output().dtype));
  std::string sum = c.variable(type, type + "(0)");
  std::string channel = str_cat("(i64)(", at[1], ")");
  std::string place = "0LL";
  for (size_t d = 0; d < axes; ++d) {
    int64_t stride = attrs.strides.empty() ? 1 : attrs.strides[d];
    int64_t dilation = attrs.dilations.empty() ? 1 : attrs.dilations[d];
    int64_t pad = attrs.pads.empty() ? 0 : attrs.pads[d];
    int64_t pads = attrs.pads.empty() ? 0 : pad + attrs.pads[d + axes];
    std::string count =
        c.let("i64", str_cat("((i64)(", c.output().dims[d + 2], ") + ", pads, " - (", dilation,
                             " * (", block[d], " - 1) + 1)) / ", stride, " + 1"));
    keep_rolled(c);
    std::string k = c.loop(block[d]);
    std::string reach =
        c.let("i64", str_cat("(i64)(", at[d + 2], ") + ", pad, " - ", dilation, "LL * ", k));
    c.open(str_cat("if (", reach, " >= 0 && ", reach, " % ", stride, " == 0 && ", reach, " / ",
                   stride, " < ", count, ")"));
    channel = str_cat("(", channel, " * ", block[d], " + ", k, ")");
    place = str_cat("(", place, " * ", count, " + ", reach, " / ", stride, ")");
  }
  channel = c.let("i64", channel);
  place = c.let("i64", place);
  c.open(str_cat("if (", channel, " < (i64)(", columns.dims[1], ") && ", place, " < (i64)(",
                 columns.dims[2], "))"));
  REDLINE_ASSIGN(std::string value, c.read(0, {at[0], "(idx)" + channel, "(idx)" + place}));
  c.line(is_float(c.output().dtype)
             ? str_cat(sum, " += ", value, ";")
             : str_cat(sum, " = (", type, ")((u64)", sum, " + (u64)", value, ");"));
  for (size_t i = 0; i < 2 * axes + 1; ++i) c.close();
  return sum;
}

// Indices count in the tensor that was pooled, whose sizes the attributes tell.
}  // namespace

void register_element_scatter(ElementRegistry& registry) {
  registry.add(
      {.ops = {"scatter_elements"}, .element = scatter_elements, .loops = true, .refuses = true});
  registry.add({.ops = {"scatter_nd"},
                .supports = scatter_nd_supports,
                .element = scatter_nd,
                .loops = true,
                .refuses = true});
  registry.add({.ops = {"tensor_scatter"}, .element = tensor_scatter, .refuses = true});
  registry.add({.ops = {"col2im"}, .element = col2im, .loops = true});
}

}  // namespace redline
