// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "ops/concat.h"
#include "ops/eye_like.h"
#include "ops/one_hot.h"
#include "ops/pad.h"
#include "ops/reverse_sequence.h"
#include "ops/space_to_depth.h"
#include "ops/split.h"
#include "ops/transpose.h"
#include "ops/trilu.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

// The number of entries of a vector operand.
Result<size_t> length(const ElementContext& c, size_t i) {
  std::optional<int64_t> size = c.input(i).static_dim(0);
  if (!size) return unsupported("operand ", i, " of an unknown length");
  return static_cast<size_t>(*size);
}

// The axes that operand `i` names; all of them in order when it is absent.
Result<std::vector<size_t>> named_axes(const ElementContext& c, size_t i, int rank, size_t count) {
  std::vector<size_t> axes;
  if (!c.has_input(i)) {
    for (size_t k = 0; k < count; ++k) axes.push_back(k);
    return axes;
  }
  REDLINE_ASSIGN(std::vector<int64_t> values, c.constant_ints(i));
  for (int64_t axis : values) axes.push_back(at_axis(axis, rank));
  return axes;
}

Result<std::string> transpose(ElementContext& c, const ElementIndex& at) {
  std::vector<int64_t> perm = c.attrs<TransposeAttrs>().perm;
  int rank = c.input(0).rank();
  for (int i = rank; perm.size() < static_cast<size_t>(rank);) perm.push_back(--i);
  ElementIndex from(at.size());
  for (size_t i = 0; i < at.size(); ++i) from[static_cast<size_t>(perm[i])] = at[i];
  return c.read(0, from);
}

Result<std::string> expand(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  size_t extra = at.size() - in.dims.size();
  ElementIndex from;
  for (size_t i = 0; i < in.dims.size(); ++i) {
    const std::string& x = at[i + extra];
    bool known = in.static_dim(static_cast<int>(i)).has_value();
    from.push_back(in.dims[i] == "1" ? "0"
                   : known           ? x
                                     : str_cat("(", in.dims[i], " == 1 ? idx(0) : ", x, ")"));
  }
  return c.read(0, from);
}

// Ops that only rename elements.
Result<std::string> view(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  if (in.dims == c.output().dims) return c.read(0, at);
  std::string rest = c.variable("idx", c.output().offset(at));
  ElementIndex from(in.dims.size());
  for (size_t axis = in.dims.size(); axis-- > 0;) {
    if (axis == 0) {
      from[0] = rest;
    } else if (in.dims[axis] == "1") {
      from[axis] = "0";
    } else {
      from[axis] = c.let("idx", str_cat(rest, " % ", in.dims[axis]));
      c.line(str_cat(rest, " /= ", in.dims[axis], ";"));
    }
  }
  return c.read(0, from);
}

// Where a slice reads along an axis of this size, for element x of its output.
std::string sliced_place(ElementContext& c, const std::string& dim, const std::string& start,
                         const std::string& step, const std::string& x) {
  std::string size = str_cat("(i64)(", dim, ")");
  std::string first = c.variable("i64", start);
  c.line(str_cat("if (", first, " < 0) ", first, " += ", size, ";"));
  c.line(str_cat("if (", first, " < 0) ", first, " = 0;"));
  c.line(str_cat("{ const i64 last = ", size, " - (", step, " > 0 ? 0 : 1); if (", first,
                 " > last) ", first, " = last; }"));
  // One element needs no step, which may be too large to multiply.
  return c.let("idx",
               str_cat("(idx)(", first, " + (", x, " == 0 ? 0LL : (i64)(", x, ") * ", step, "))"));
}

Result<std::string> slice(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  REDLINE_ASSIGN(size_t count, length(c, 1));
  bool run_axes = c.has_input(3) && c.input(3).constant == nullptr;
  std::vector<size_t> axes;
  if (!run_axes) {
    REDLINE_ASSIGN(axes, named_axes(c, 3, in.rank(), count));
  }
  ElementIndex from = at;
  for (size_t i = 0; i < count; ++i) {
    REDLINE_ASSIGN(std::string start, int_entry(c, 1, i));
    std::string step = "1LL";
    if (c.has_input(4)) {
      REDLINE_ASSIGN(step, int_entry(c, 4, i));
    }
    if (!run_axes) {
      from[axes[i]] = sliced_place(c, in.dims[axes[i]], start, step, at[axes[i]]);
      continue;
    }
    REDLINE_ASSIGN(std::string given, int_entry(c, 3, i));
    std::string axis = axis_from_front(c, given, in.rank());
    std::string size = c.let("idx", chosen_by(axis, in.dims));
    std::string x = c.let("idx", chosen_by(axis, at));
    from = replaced_along(axis, from, sliced_place(c, size, start, step, x));
  }
  return c.read(0, from);
}

Result<std::string> tile(ElementContext& c, const ElementIndex& at) {
  ElementIndex from;
  for (size_t i = 0; i < at.size(); ++i) {
    from.push_back(c.let("idx", str_cat("(", at[i], ") % (", c.input(0).dims[i], ")")));
  }
  return c.read(0, from);
}

Result<std::string> concat(ElementContext& c, const ElementIndex& at) {
  size_t axis = at_axis(c.attrs<ConcatAttrs>().axis, c.output().rank());
  std::string type(compute_type(c.output().dtype));
  std::string result = c.variable(type, type + "(0)");
  std::string place = c.variable("idx", at[axis]);
  for (size_t i = 0; i < c.num_inputs(); ++i) {
    const std::string& size = c.input(i).dims[axis];
    c.open(str_cat("if (", place, " >= 0 && ", place, " < ", size, ")"));
    ElementIndex from = at;
    from[axis] = place;
    REDLINE_ASSIGN(std::string value, c.read(i, from));
    c.line(str_cat(result, " = ", value, ";"));
    c.close();
    c.line(str_cat(place, " -= ", size, ";"));
  }
  return result;
}

Result<std::string> split(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<SplitAttrs>();
  const ElementOperand& in = c.input(0);
  size_t axis = at_axis(attrs.axis, in.rank());
  std::string start = "idx(0)";
  if (c.has_input(1)) {
    for (size_t i = 0; i < c.output_number(); ++i) {
      REDLINE_ASSIGN(std::string size, int_entry(c, 1, i));
      start += str_cat(" + (idx)", size);
    }
  } else {
    int64_t parts = attrs.num_outputs.value_or(c.node().num_outputs);
    start = str_cat("idx(", c.output_number(), ") * ((", in.dims[axis], " + ", parts - 1, ") / ",
                    parts, ")");
  }
  ElementIndex from = at;
  from[axis] = c.let("idx", str_cat(at[axis], " + ", start));
  return c.read(0, from);
}

Result<std::string> pad_from(ElementContext& c, const ElementIndex& at, PadMode mode,
                             const std::vector<std::string>& begins,
                             const std::vector<std::string>& ends, const std::string& fill) {
  const ElementOperand& in = c.input(0);
  std::string type(compute_type(in.dtype));
  std::string inside = c.variable("bool", "true");
  ElementIndex from = at;
  for (size_t d = 0; d < at.size(); ++d) {
    if ((begins[d] == "0" || begins[d] == "(0LL)") && (ends[d] == "0" || ends[d] == "(0LL)"))
      continue;
    std::string first = c.let("i64", str_cat(begins[d], " < 0 ? -", begins[d], " : 0LL"));
    std::string kept = c.let("i64", str_cat("(i64)(", in.dims[d], ") - ", first, " - (", ends[d],
                                            " < 0 ? -", ends[d], " : 0LL)"));
    std::string x = c.variable(
        "i64", str_cat("(i64)(", at[d], ") - (", begins[d], " > 0 ? ", begins[d], " : 0LL)"));
    switch (mode) {
      case PadMode::kConstant:
        c.line(str_cat("if (", x, " < 0 || ", x, " >= ", kept, ") ", inside, " = false;"));
        break;
      case PadMode::kEdge:
        c.line(
            str_cat(x, " = ", x, " < 0 ? 0 : ", x, " >= ", kept, " ? ", kept, " - 1 : ", x, ";"));
        break;
      case PadMode::kWrap:
        c.line(str_cat(x, " = (", x, " % ", kept, " + ", kept, ") % ", kept, ";"));
        break;
      case PadMode::kReflect: {
        std::string period = c.let("i64", str_cat(kept, " > 1 ? 2 * (", kept, " - 1) : 1LL"));
        c.line(str_cat(x, " = (", x, " % ", period, " + ", period, ") % ", period, ";"));
        c.line(str_cat("if (", x, " >= ", kept, ") ", x, " = ", period, " - ", x, ";"));
        break;
      }
    }
    from[d] = c.let("idx", str_cat("(idx)(", x, " + ", first, ")"));
  }
  std::string result = c.variable(type, fill);
  c.open(str_cat("if (", inside, ")"));
  REDLINE_ASSIGN(std::string value, c.read(0, from));
  c.line(str_cat(result, " = ", value, ";"));
  c.close();
  return result;
}

// Of each axis, where the axes that are padded come with the run.
Status pads_of_run_axes(ElementContext& c, std::vector<std::string>& begins,
                        std::vector<std::string>& ends) {
  REDLINE_ASSIGN(size_t count, length(c, 3));
  for (size_t d = 0; d < begins.size(); ++d) {
    begins[d] = c.variable("i64", "0");
    ends[d] = c.variable("i64", "0");
  }
  for (size_t i = 0; i < count; ++i) {
    REDLINE_ASSIGN(std::string given, int_entry(c, 3, i));
    std::string axis = axis_from_front(c, given, c.input(0).rank());
    REDLINE_ASSIGN(std::string begin, int_entry(c, 1, i));
    REDLINE_ASSIGN(std::string end, int_entry(c, 1, i + count));
    for (size_t d = 0; d < begins.size(); ++d) {
      c.line(str_cat("if (", axis, " == ", d, ") { ", begins[d], " = ", begin, "; ", ends[d], " = ",
                     end, "; }"));
    }
  }
  return {};
}

Result<std::string> pad(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  std::vector<std::string> begins(at.size(), "0");
  std::vector<std::string> ends(at.size(), "0");
  if (c.has_input(3) && c.input(3).constant == nullptr) {
    REDLINE_TRY(pads_of_run_axes(c, begins, ends));
  } else {
    REDLINE_ASSIGN(std::vector<size_t> axes, named_axes(c, 3, in.rank(), at.size()));
    for (size_t i = 0; i < axes.size(); ++i) {
      REDLINE_ASSIGN(begins[axes[i]], int_entry(c, 1, i));
      REDLINE_ASSIGN(ends[axes[i]], int_entry(c, 1, i + axes.size()));
    }
  }
  std::string fill = zero_of(in.dtype);
  if (c.has_input(2)) {
    REDLINE_ASSIGN(fill, c.read(2, ElementIndex(c.input(2).dims.size(), "0")));
  }
  return pad_from(c, at, c.attrs<PadAttrs>().mode, begins, ends, fill);
}

Result<std::string> center_crop_pad(ElementContext& c, const ElementIndex& at) {
  const ElementOperand& in = c.input(0);
  std::vector<std::string> begins;
  std::vector<std::string> ends;
  for (size_t d = 0; d < at.size(); ++d) {
    std::string size = c.let("i64", in.dims[d]);
    std::string target = c.let("i64", c.output().dims[d]);
    begins.push_back(c.let("i64", str_cat(target, " < ", size, " ? -((", size, " - ", target,
                                          ") / 2) : (", target, " - ", size, ") / 2")));
    ends.push_back(c.let("i64", str_cat(target, " - ", size, " - ", begins.back())));
  }
  return pad_from(c, at, PadMode::kConstant, begins, ends, zero_of(in.dtype));
}

Result<std::string> space_to_depth(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<SpaceToDepthAttrs>();
  int64_t b = attrs.blocksize;
  const std::string& channels = c.input(0).dims[1];
  bool dcr = attrs.mode == DepthOrder::kDcr;
  // The output's channel is (bh, bw, c) or (c, bh, bw).
  std::string block =
      dcr ? str_cat("(", at[1], ") / (", channels, ")") : str_cat("(", at[1], ") % ", b * b);
  std::string channel =
      dcr ? str_cat("(", at[1], ") % (", channels, ")") : str_cat("(", at[1], ") / ", b * b);
  block = c.let("idx", block);
  return c.read(0, {at[0], c.let("idx", channel),
                    c.let("idx", str_cat("(", at[2], ") * ", b, " + ", block, " / ", b)),
                    c.let("idx", str_cat("(", at[3], ") * ", b, " + ", block, " % ", b))});
}

Result<std::string> depth_to_space(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<SpaceToDepthAttrs>();
  int64_t b = attrs.blocksize;
  const std::string& channels = c.output().dims[1];
  std::string block =
      c.let("idx", str_cat("(", at[2], ") % ", b, " * ", b, " + (", at[3], ") % ", b));
  std::string channel = attrs.mode == DepthOrder::kDcr
                            ? str_cat(block, " * (", channels, ") + ", at[1])
                            : str_cat("(", at[1], ") * ", b * b, " + ", block);
  return c.read(0, {at[0], c.let("idx", channel), str_cat("(", at[2], ") / ", b),
                    str_cat("(", at[3], ") / ", b)});
}

Result<std::string> reverse_sequence(ElementContext& c, const ElementIndex& at) {
  const auto& attrs = c.attrs<ReverseSequenceAttrs>();
  size_t time = at_axis(attrs.time_axis, c.input(0).rank());
  size_t batch = at_axis(attrs.batch_axis, c.input(0).rank());
  REDLINE_ASSIGN(std::string length, c.read(1, {at[batch]}));
  std::string most = str_cat("(i64)(", c.input(0).dims[time], ")");
  length = c.let("i64", "(i64)" + length);
  std::string fits = c.let("bool", str_cat(length, " >= 0 && ", length, " <= ", most));
  c.refuse_if("!" + fits);
  ElementIndex from = at;
  from[time] =
      c.let("idx", str_cat(fits, " && (i64)(", at[time], ") < ", length, " ? (idx)(", length,
                           " - 1 - (i64)(", at[time], ")) : (idx)(", at[time], ")"));
  return c.read(0, from);
}

Result<std::string> trilu(ElementContext& c, const ElementIndex& at) {
  std::string k = "0LL";
  if (c.has_input(1)) {
    REDLINE_ASSIGN(k, int_entry(c, 1, 0));
  }
  size_t rank = at.size();
  // In 64 bits, with k brought into the matrix first: row + k must not overflow.
  std::string rows = c.let("i64", c.output().dims[rank - 2]);
  std::string cols = c.let("i64", c.output().dims[rank - 1]);
  std::string limit = c.let("i64", str_cat(k, " < -", rows, " - 1 ? -", rows, " - 1 : ", k, " > ",
                                           cols, " + 1 ? ", cols, " + 1 : ", k));
  std::string type(compute_type(c.output().dtype));
  std::string result = c.variable(type, type + "(0)");
  c.open(str_cat("if ((i64)(", at[rank - 1], ") ", c.attrs<TriluAttrs>().upper ? ">=" : "<=",
                 " (i64)(", at[rank - 2], ") + ", limit, ")"));
  REDLINE_ASSIGN(std::string value, c.read(0, at));
  c.line(str_cat(result, " = ", value, ";"));
  c.close();
  return result;
}

Result<std::string> eye_like(ElementContext& c, const ElementIndex& at) {
  std::string_view type = compute_type(c.output().dtype);
  return str_cat(type, "((i64)(", at[1], ") - (i64)(", at[0], ") == ", c.attrs<EyeLikeAttrs>().k,
                 "LL ? 1 : 0)");
}

Result<std::string> one_hot(ElementContext& c, const ElementIndex& at) {
  size_t axis = at_axis(c.attrs<OneHotAttrs>().axis, c.output().rank());
  ElementIndex from = at;
  from.erase(from.begin() + static_cast<ptrdiff_t>(axis));
  REDLINE_ASSIGN(std::string given, c.read(0, from));
  std::string index = c.variable("i64", str_cat("(i64)", given));
  c.line(str_cat("if (", index, " < 0) ", index, " += (i64)(", c.output().dims[axis], ");"));
  REDLINE_ASSIGN(std::string off, c.read(2, {"0"}));
  REDLINE_ASSIGN(std::string on, c.read(2, {"1"}));
  return str_cat("(", index, " == (i64)(", at[axis], ") ? ", on, " : ", off, ")");
}

Result<std::string> range(ElementContext& c, const ElementIndex& at) {
  auto scalar = [&](size_t i) { return c.read(i, ElementIndex(c.input(i).dims.size(), "0")); };
  REDLINE_ASSIGN(std::string start, scalar(0));
  REDLINE_ASSIGN(std::string delta, scalar(2));
  std::string_view type = compute_type(c.output().dtype);
  if (is_float(c.output().dtype)) {
    return str_cat(type, "((double)", start, " + (double)(", at[0], ") * (double)", delta, ")");
  }
  return str_cat(type, "((u64)", start, " + (u64)(", at[0], ") * (u64)", delta, ")");
}

Status slice_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  if (!inputs[1].static_dim(0)) return unsupported("an unknown number of starts");
  return {};
}

Status pad_supports(const BodyNode&, const std::vector<ElementOperand>& inputs) {
  bool named = inputs.size() > 3 && inputs[3].present;
  if (named && !inputs[3].static_dim(0)) return unsupported("an unknown number of axes");
  return {};
}

}  // namespace

void register_element_movement(ElementRegistry& registry) {
  registry.add({.ops = {"transpose"}, .element = transpose});
  registry.add({.ops = {"expand"}, .element = expand});
  registry.add(
      {.ops = {"reshape", "squeeze", "unsqueeze", "flatten", "identity", "optional_get_element"},
       .element = view});
  registry.add({.ops = {"slice"}, .supports = slice_supports, .element = slice});
  registry.add({.ops = {"tile"}, .element = tile});
  registry.add({.ops = {"concat"}, .element = concat});
  registry.add({.ops = {"split"}, .element = split});
  registry.add({.ops = {"pad"}, .supports = pad_supports, .element = pad});
  registry.add({.ops = {"center_crop_pad"}, .element = center_crop_pad});
  registry.add({.ops = {"space_to_depth"}, .element = space_to_depth});
  registry.add({.ops = {"depth_to_space"}, .element = depth_to_space});
  registry.add({.ops = {"reverse_sequence"}, .element = reverse_sequence, .refuses = true});
  registry.add({.ops = {"trilu"}, .element = trilu});
  registry.add({.ops = {"eye_like"}, .element = eye_like});
  registry.add({.ops = {"one_hot"}, .element = one_hot});
  registry.add({.ops = {"range"}, .element = range});
}

}  // namespace redline
