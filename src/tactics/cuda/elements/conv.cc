// SPDX-License-Identifier: Apache-2.0
#include "ops/conv.h"

#include <functional>

#include "ops/channels_last.h"
#include "tactics/cuda/rule_code.h"
#include "tactics/cuda/window_code.h"

namespace redline {
namespace {

// Calls `body` with each pair of an input element and the weight it meets for output `stored`.
Status over_products(ElementContext& c, const ElementIndex& stored,
                     const std::function<void(const std::string&, const std::string&)>& body) {
  const auto& attrs = c.attrs<ConvAttrs>();
  const ElementOperand& w = c.input(1);
  ElementOperand x = image_operand(c.input(0), attrs.channels_last);
  ElementOperand y = image_operand(c.output(), attrs.channels_last);
  ElementIndex at = attrs.channels_last ? channels_to_front(stored) : stored;
  std::vector<std::string> kernel(w.dims.begin() + 2, w.dims.end());
  std::vector<AxisCode> axes =
      window_code({attrs.strides, attrs.dilations, attrs.pads, attrs.auto_pad}, kernel, x, y);
  std::string first = "0";
  if (attrs.group > 1) {
    first = c.let("idx", str_cat("(", at[1], ") / ((", w.dims[0], ") / ", attrs.group, ") * (",
                                 w.dims[1], ")"));
  }
  std::string channel = c.loop(w.dims[1]);
  int blocks = 1;
  ElementIndex from = {at[0], c.let("idx", str_cat(first, " + ", channel))};
  ElementIndex tap = {at[1], channel};
  for (size_t i = 0; i < axes.size(); ++i) {
    std::string k = c.loop(kernel[i]);
    std::string position = c.let("idx", axes[i].position(at[i + 2], k));
    c.open(str_cat("if (", position, " >= 0 && ", position, " < ", x.dims[i + 2], ")"));
    blocks += 2;
    from.push_back(position);
    tap.push_back(k);
  }
  if (attrs.channels_last) from = channels_to_back(from);
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  REDLINE_ASSIGN(std::string weight, c.read(1, tap));
  body(value, weight);
  while (blocks-- > 0) c.close();
  return {};
}

const std::string& channel_of(const ElementContext& c, const ElementIndex& stored) {
  return c.attrs<ConvAttrs>().channels_last ? stored.back() : stored[1];
}

// One output after another over all its products: right for every size and type.
Result<std::string> conv(ElementContext& c, const ElementIndex& stored) {
  std::string type(compute_type(c.output().dtype));
  std::string start = type + "(0)";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(start, c.read(2, {channel_of(c, stored)}));
  }
  std::string acc = c.variable(type, start);
  bool tf32 = c.attrs<ConvAttrs>().tf32;
  REDLINE_TRY(over_products(c, stored, [&](const std::string& value, const std::string& weight) {
    c.line(str_cat(acc, " += ", factor(value, tf32), " * ", factor(weight, tf32), ";"));
  }));
  return acc;
}

// 32 bits wrap as the sum of the result's low bits does.
Result<std::string> conv_integer(ElementContext& c, const ElementIndex& stored) {
  std::string zero[2] = {"0", "0"};
  for (size_t i : {0, 1}) {
    if (!c.has_input(i + 2)) continue;
    const ElementOperand& operand = c.input(i + 2);
    std::string at = i == 0 ? "0" : channel_of(c, stored);
    ElementIndex where;
    if (operand.rank() > 0) where.push_back(broadcast_index(operand.dims[0], at));
    REDLINE_ASSIGN(zero[i], c.read(i + 2, where));
  }
  std::string acc = c.variable("u32", "0");
  REDLINE_TRY(over_products(c, stored, [&](const std::string& value, const std::string& weight) {
    c.line(str_cat(acc, " += (u32)((int)", value, " - (int)", zero[0], ") * (u32)((int)", weight,
                   " - (int)", zero[1], ");"));
  }));
  return str_cat("(i64)(i32)", acc);
}

Status conv_integer_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  for (size_t i = 2; i < inputs.size(); ++i) {
    if (inputs[i].present && inputs[i].rank() > 1) return unsupported("zero points of rank 2");
  }
  return {};
}

Result<std::string> conv_transpose(ElementContext& c, const ElementIndex& stored) {
  const auto& attrs = c.attrs<ConvTransposeAttrs>();
  const ElementOperand& w = c.input(1);
  ElementOperand x = image_operand(c.input(0), attrs.channels_last);
  ElementOperand y = image_operand(c.output(), attrs.channels_last);
  ElementIndex at = attrs.channels_last ? channels_to_front(stored) : stored;
  std::vector<int64_t> pads = attrs.pads;
  pads.resize(2 * (x.dims.size() - 2), 0);
  bool derived = attrs.auto_pad != AutoPad::kNotSet || !attrs.output_shape.empty();
  if (derived) {
    REDLINE_ASSIGN(Dims x_dims, static_dims(x));
    REDLINE_ASSIGN(Dims w_dims, static_dims(w));
    REDLINE_ASSIGN(Dims y_dims, static_dims(y));
    std::vector<WindowAxis> axes = conv_transpose_axes(attrs, x_dims, w_dims, y_dims);
    for (size_t i = 0; i < axes.size(); ++i) pads[i] = axes[i].pad_begin;
  }
  std::string type(compute_type(c.output().dtype));
  std::string start = type + "(0)";
  if (c.has_input(2)) {
    REDLINE_ASSIGN(start, c.read(2, {at[1]}));
  }
  std::string acc = c.variable(type, start);
  std::string width = c.let("idx", str_cat("(", x.dims[1], ") / ", attrs.group));
  std::string first = c.let("idx", str_cat("(", at[1], ") / (", w.dims[1], ") * ", width));
  std::string i0 = c.loop(width);
  std::string channel = c.let("idx", str_cat(first, " + ", i0));
  int blocks = 1;
  ElementIndex from = {at[0], channel};
  ElementIndex tap = {channel, str_cat("(", at[1], ") % (", w.dims[1], ")")};
  for (size_t i = 0; i + 2 < at.size(); ++i) {
    int64_t stride = attrs.strides.empty() ? 1 : attrs.strides[i];
    int64_t dilation = attrs.dilations.empty() ? 1 : attrs.dilations[i];
    std::string k = c.loop(w.dims[i + 2]);
    // Output = input * stride - pad + k * dilation.
    std::string reach = c.let("idx", str_cat(at[i + 2], " + ", pads[i], " - ", k, " * ", dilation));
    c.open(str_cat("if (", reach, " >= 0 && ", reach, " % ", stride, " == 0 && ", reach, " / ",
                   stride, " < ", x.dims[i + 2], ")"));
    blocks += 2;
    from.push_back(str_cat("(", reach, " / ", stride, ")"));
    tap.push_back(k);
  }
  if (attrs.channels_last) from = channels_to_back(from);
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  REDLINE_ASSIGN(std::string weight, c.read(1, tap));
  c.line(str_cat(acc, " += ", factor(value, attrs.tf32), " * ", factor(weight, attrs.tf32), ";"));
  while (blocks-- > 0) c.close();
  return acc;
}

Status conv_transpose_supports(const BodyNode& node, const std::vector<ElementOperand>& inputs) {
  const auto& attrs = node.attrs.as<ConvTransposeAttrs>();
  if (attrs.auto_pad == AutoPad::kNotSet && attrs.output_shape.empty()) return {};
  for (size_t i : {0, 1}) REDLINE_TRY(static_dims(inputs[i]).status());
  return {};
}

}  // namespace

void register_element_conv(ElementRegistry& registry) {
  registry.add({.ops = {"conv"}, .element = conv, .loops = true});
  registry.add({.ops = {"conv_integer"},
                .supports = conv_integer_supports,
                .element = conv_integer,
                .loops = true});
  registry.add({.ops = {"conv_transpose"},
                .supports = conv_transpose_supports,
                .element = conv_transpose,
                .loops = true});
}

}  // namespace redline
