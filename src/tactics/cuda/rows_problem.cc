// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rows_problem.h"

#include <algorithm>
#include <set>

#include "ops/arg_max.h"
#include "ops/elements.h"
#include "ops/fused.h"
#include "ops/group_norm.h"
#include "ops/layer_norm.h"
#include "ops/lp_norm.h"
#include "ops/reduce.h"
#include "ops/softmax.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

using Sizes = std::vector<std::string>;

bool is_row_op(std::string_view op) {
  constexpr std::string_view kOps[] = {
      "arg_max",  "arg_min", "softmax",    "log_softmax",   "hardmax",           "layer_norm",
      "rms_norm", "lp_norm", "group_norm", "instance_norm", "mean_variance_norm"};
  return op.starts_with("reduce_") ||
         std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps);
}

bool is_channel_norm(std::string_view op) { return op == "group_norm" || op == "instance_norm"; }
bool keeps_elements(std::string_view op) {
  return !op.starts_with("reduce_") && !op.starts_with("arg_");
}

// The product of two sizes.
Result<std::string> joined_size(const std::string& a, const std::string& b) {
  if (a == "1") return b;
  if (b == "1") return a;
  if (!is_number(a) || !is_number(b)) return str_cat("(", a, " * ", b, ")");
  int64_t product = 0;
  if (__builtin_mul_overflow(std::stoll(a), std::stoll(b), &product)) {
    return unsupported("sizes that overflow");
  }
  return std::to_string(product);
}

class Describer {
 public:
  Describer(const Problem& problem, const ElementWriter& writer)
      : problem_(problem), writer_(writer), body_(writer.body()) {}

  Result<RowsProblem> run() {
    REDLINE_TRY(find_anchor_node());
    REDLINE_TRY(find_axes());
    REDLINE_TRY(sort_values());
    REDLINE_TRY(align_all());
    REDLINE_TRY(join_axes());
    REDLINE_TRY(check_outputs());
    return std::move(rows_);
  }

 private:
  enum class Class { kRow, kUnknown, kFull };

  const BodyNode& anchor() const { return body_.nodes[static_cast<size_t>(rows_.anchor)]; }
  std::string_view op() const { return anchor().op->name; }
  int first_value(int node) const {
    int v = body_.num_inputs;
    for (int n = 0; n < node; ++n) v += body_.nodes[static_cast<size_t>(n)].num_outputs;
    return v;
  }

  Status find_anchor_node() {
    const BodyNode* found = problem_.is("fused") ? find_anchor(body_) : body_.nodes.data();
    if (found == nullptr) return unsupported("nothing here reduces");
    rows_.anchor = static_cast<int>(found - body_.nodes.data());
    for (const BodyNode& node : body_.nodes) {
      if (&node == found || node.op->name == "constant" || node.op->has(kTraitPointwise)) continue;
      return unsupported("takes pointwise ops around ", op(), ", not ", node.op->name);
    }
    if (!is_row_op(op())) return unsupported("does not reduce by ", op());
    rows_.source = found->inputs[0];
    if (rows_.source < 0) return unsupported("nothing to reduce");
    return {};
  }

  // The source's axes and which of them a row goes along.
  Status find_axes() {
    sizes_ = writer_.value(rows_.source).dims;
    int rank = static_cast<int>(sizes_.size());
    std::vector<int64_t> axes;
    if (op().starts_with("reduce_")) {
      const auto& attrs = anchor().attrs.as<ReduceAttrs>();
      keepdims_ = attrs.keepdims;
      int given = anchor().inputs.size() > 1 ? anchor().inputs[1] : -1;
      if (given >= 0) {
        if (writer_.value(given).constant == nullptr) return unsupported("takes constant axes");
        axes = read_ints(writer_.value(given).constant->view());
      }
      if (axes.empty() && attrs.noop_with_empty_axes) return unsupported("reduces nothing");
      for (int i = 0; axes.empty() && i < rank; ++i) reduced_.push_back(true);
    } else if (op().starts_with("arg_")) {
      keepdims_ = anchor().attrs.as<ArgReduceAttrs>().keepdims;
      axes = {anchor().attrs.as<ArgReduceAttrs>().axis};
    } else if (op() == "lp_norm") {
      axes = {anchor().attrs.as<LpNormAttrs>().axis};
    } else if (op() == "mean_variance_norm") {
      axes = anchor().attrs.as<MeanVarianceNormAttrs>().axes;
    } else if (is_channel_norm(op())) {
      return find_channel_axes();
    } else if (op() == "layer_norm" || op() == "rms_norm") {
      for (auto i = static_cast<int64_t>(at_axis(anchor().attrs.as<LayerNormAttrs>().axis, rank));
           i < rank; ++i) {
        axes.push_back(i);
      }
    } else {
      axes = {anchor().attrs.as<SoftmaxAttrs>().axis};
    }
    if (rank == 0) {  // an axis of size 1
      sizes_ = {"1"};
      reduced_ = {true};
      return {};
    }
    reduced_.resize(sizes_.size(), false);
    for (int64_t axis : axes) {
      if (axis < -rank || axis >= rank) return unsupported("an axis out of range");
      reduced_[at_axis(axis, rank)] = true;
    }
    return {};
  }

  // [n, c, ...] as [n, groups, c / groups, ...].
  Status find_channel_axes() {
    if (sizes_.size() < 2) return unsupported("no channels");
    int64_t groups = 1;
    if (op() == "group_norm") {
      groups = anchor().attrs.as<GroupNormAttrs>().num_groups;
      std::optional<int64_t> channels = writer_.value(rows_.source).static_dim(1);
      if (!channels) return unsupported("takes a known number of channels");
      if (groups < 1 || *channels % groups != 0) return unsupported("uneven groups");
      sizes_[1] = std::to_string(groups);
      sizes_.insert(sizes_.begin() + 2, std::to_string(*channels / groups));
      split_ = true;
    }
    reduced_.assign(sizes_.size(), true);
    reduced_[0] = reduced_[1] = false;
    return {};
  }

  // Which values come before the anchor, and which are made of its results.
  Status sort_values() {
    auto count = static_cast<size_t>(first_value(static_cast<int>(body_.nodes.size())));
    before_.assign(count, false);
    behind_.assign(count, false);
    class_.assign(count, Class::kRow);
    aligned_.resize(count);
    for (int v : all_of(rows_.source)) before_[static_cast<size_t>(v)] = true;
    for (size_t n = 0; n < body_.nodes.size(); ++n) {
      const BodyNode& node = body_.nodes[n];
      bool behind = static_cast<int>(n) == rows_.anchor;
      for (int v : node.inputs) behind |= v >= 0 && behind_[static_cast<size_t>(v)];
      for (int i = 0; i < node.num_outputs; ++i) {
        behind_[static_cast<size_t>(first_value(static_cast<int>(n)) + i)] = behind;
      }
    }
    return {};
  }

  // v and the values that it is made of.
  std::vector<int> all_of(int v) const {
    std::set<int> seen;
    std::vector<int> open = {v};
    while (!open.empty()) {
      int at = open.back();
      open.pop_back();
      if (at < 0 || !seen.insert(at).second) continue;
      for (size_t n = 0; n < body_.nodes.size(); ++n) {
        int first = first_value(static_cast<int>(n));
        if (at < first || at >= first + body_.nodes[n].num_outputs) continue;
        open.insert(open.end(), body_.nodes[n].inputs.begin(), body_.nodes[n].inputs.end());
      }
    }
    return {seen.begin(), seen.end()};
  }

  bool is_input(int v) const { return v >= 0 && v < body_.num_inputs; }
  bool all_ones(int v) const {
    const Sizes& dims = writer_.value(v).dims;
    return std::all_of(dims.begin(), dims.end(), [](const std::string& d) { return d == "1"; });
  }

  // An input's sizes along the source's axes. `places` says which axis each of the last ones is.
  Status align(int v, const std::vector<size_t>& places) {
    const Sizes& dims = writer_.value(v).dims;
    Sizes aligned(sizes_.size(), "1");
    size_t extra = dims.size() - std::min(dims.size(), places.size());
    for (size_t i = 0; i < dims.size(); ++i) {
      if (i < extra) {
        if (dims[i] != "1") return unsupported("an operand of a higher rank than the rows'");
        continue;
      }
      size_t axis = places[places.size() - dims.size() + i];
      if (split_ && axis == 1 && dims[i] != "1") {
        if (!is_number(dims[i])) return unsupported("takes a known number of channels");
        aligned[1] = sizes_[1];
        aligned[2] = sizes_[2];
      } else {
        aligned[axis] = dims[i];
      }
      if (is_number(aligned[axis]) && is_number(sizes_[axis]) && aligned[axis] != "1" &&
          aligned[axis] != sizes_[axis]) {
        return unsupported("an operand that is larger than the rows");
      }
    }
    Sizes& known = aligned_[static_cast<size_t>(v)];
    if (!known.empty() && known != aligned) {
      return unsupported("an operand that is read in two ways");
    }
    known = std::move(aligned);
    return {};
  }

  // The axes that the values' own axes are, from the right: all, or those that are left.
  std::vector<size_t> places(bool reduced_are_gone) const {
    std::vector<size_t> result;
    for (size_t axis = 0; axis < sizes_.size(); ++axis) {
      if (split_ && axis == 2) continue;
      if (!(reduced_are_gone && reduced_[axis])) result.push_back(axis);
    }
    return result;
  }

  Status align_all() {
    std::vector<size_t> whole = places(false);
    for (int v : all_of(rows_.source)) {
      if (is_input(v)) REDLINE_TRY(align(v, whole));
    }
    for (size_t i = 1; i < anchor().inputs.size() && keeps_elements(op()); ++i) {
      int v = anchor().inputs[i];
      if (v < 0) continue;
      if (!is_input(v)) return unsupported("a scale that is made inside");
      REDLINE_TRY(align(v, is_channel_norm(op()) ? std::vector<size_t>{1} : whole));
    }
    std::vector<size_t> behind = places(!keepdims_);
    for (size_t n = 0; n < body_.nodes.size(); ++n) {
      auto made = static_cast<size_t>(first_value(static_cast<int>(n)));
      const BodyNode& node = body_.nodes[n];
      if (static_cast<int>(n) == rows_.anchor) {
        if (keeps_elements(op())) class_[made] = Class::kFull;
        continue;
      }
      for (int v : node.inputs) {
        if (v < 0 || is_constant(v)) continue;
        if (!before_[made]) REDLINE_TRY(align_behind(v, behind));
        class_[made] = std::max(class_[made], class_of(v));
      }
      if (static_cast<int>(made) == rows_.source) class_[made] = Class::kFull;
      if (before_[made]) continue;
      if (class_[made] == Class::kUnknown) return unsupported("an operand of unknown sizes");
      if (class_[made] == Class::kFull && !keepdims_) {
        return unsupported("rows without their axes");
      }
    }
    return {};
  }

  bool is_constant(int v) const { return !is_input(v) && writer_.value(v).constant != nullptr; }

  Status align_behind(int v, const std::vector<size_t>& behind) {
    if (!is_input(v)) {
      if (before_[static_cast<size_t>(v)] && !keepdims_) {
        return unsupported("a value that is read on both sides of a reduction");
      }
      return {};
    }
    if (!all_ones(v)) return align(v, behind);
    if (aligned_[static_cast<size_t>(v)].empty()) {
      aligned_[static_cast<size_t>(v)].assign(sizes_.size(), "1");
    }
    return {};
  }

  // Whether a value has an element for each of the source's, as far as a row goes.
  Class class_of(int v) const {
    if (!is_input(v)) return class_[static_cast<size_t>(v)];
    if (v == rows_.source) return Class::kFull;
    bool row = true;
    bool full = true;
    for (size_t axis = 0; axis < sizes_.size(); ++axis) {
      if (!reduced_[axis]) continue;
      row &= aligned_[static_cast<size_t>(v)][axis] == "1";
      full &= aligned_[static_cast<size_t>(v)][axis] == sizes_[axis];
    }
    return row ? Class::kRow : full ? Class::kFull : Class::kUnknown;
  }

  Status join_axes() {
    std::vector<Sizes> joined(aligned_.size());
    for (size_t axis = 0; axis < sizes_.size(); ++axis) {
      if (sizes_[axis] == "1") continue;
      bool join = !rows_.axes.empty() && joins(axis);
      if (join) {
        REDLINE_ASSIGN(rows_.axes.back().size, joined_size(rows_.axes.back().size, sizes_[axis]));
      } else {
        rows_.axes.push_back({sizes_[axis], {}, reduced_[axis], {}});
      }
      rows_.axes.back().from.push_back(axis);
      for (size_t v = 0; v < aligned_.size(); ++v) {
        if (aligned_[v].empty()) continue;
        if (join) {
          REDLINE_ASSIGN(joined[v].back(), joined_size(joined[v].back(), aligned_[v][axis]));
        } else {
          joined[v].push_back(aligned_[v][axis]);
        }
      }
    }
    bool any = std::any_of(rows_.axes.begin(), rows_.axes.end(),
                           [](const RowAxis& axis) { return axis.reduced; });
    if (!any) {
      rows_.axes.push_back({"1", {}, true, {}});
      for (size_t v = 0; v < joined.size(); ++v) {
        if (!aligned_[v].empty()) joined[v].emplace_back("1");
      }
    }
    for (RowAxis& axis : rows_.axes) {
      if (is_number(axis.size)) axis.known = std::stoll(axis.size);
    }
    rows_.dims = std::move(joined);
    rows_.sizes = sizes_;
    rows_.aligned = aligned_;
    fill_dims();
    return {};
  }

  // An axis joins the last one in front that is not of size 1.
  bool joins(size_t axis) const {
    size_t before = axis - 1;
    while (sizes_[before] == "1") --before;
    if (reduced_[axis] != reduced_[before]) return false;
    for (const Sizes& dims : aligned_) {
      if (dims.empty()) continue;
      bool one = dims[axis] == "1" && dims[before] == "1";
      bool full = dims[axis] == sizes_[axis] && dims[before] == sizes_[before];
      if (!one && !full) return false;
    }
    return true;
  }

  // Values inside have the sizes of the source or those of the rows.
  void fill_dims() {
    for (size_t v = 0; v < class_.size(); ++v) {
      if (is_input(static_cast<int>(v))) continue;
      Sizes& dims = rows_.dims[v];
      dims.clear();
      bool one = is_constant(static_cast<int>(v));
      bool row = !before_[v] && class_[v] == Class::kRow;
      for (const RowAxis& axis : rows_.axes) {
        dims.push_back(one || (row && axis.reduced) ? "1" : axis.size);
      }
    }
  }

  Status check_outputs() {
    for (size_t i = 0; i < body_.outputs.size(); ++i) {
      auto v = static_cast<size_t>(body_.outputs[i]);
      if (is_input(static_cast<int>(v)) || is_constant(static_cast<int>(v))) {
        return unsupported("a result that is an operand");
      }
      bool row = class_[v] == Class::kRow;
      rows_.row_outputs.push_back(row);
      if (behind_[v] || static_cast<int>(v) == rows_.source) continue;
      std::optional<int64_t> elements = known_elements(row);
      if (!elements || !problem_.outputs[i].is_static() ||
          problem_.outputs[i].dims.count() != *elements) {
        return unsupported("a result that has not the sizes of the rows");
      }
    }
    return {};
  }

  std::optional<int64_t> known_elements(bool row) const {
    std::optional<int64_t> rows = rows_.known_size(false);
    std::optional<int64_t> size = row ? std::optional<int64_t>(1) : rows_.known_size(true);
    if (!rows || !size) return std::nullopt;
    return *rows * *size;
  }

  const Problem& problem_;
  const ElementWriter& writer_;
  const Body& body_;
  RowsProblem rows_;
  Sizes sizes_;
  std::vector<bool> reduced_;
  bool keepdims_ = true;
  bool split_ = false;  // axis 1 became two
  std::vector<bool> before_;
  std::vector<bool> behind_;
  std::vector<Class> class_;
  std::vector<Sizes> aligned_;
};

}  // namespace

bool RowsProblem::applies() const {
  return std::find(row_outputs.begin(), row_outputs.end(), false) != row_outputs.end();
}

std::string RowsProblem::size(bool reduced) const {
  std::string text = "idx(1)";
  for (const RowAxis& axis : axes) {
    if (axis.reduced == reduced) text += " * " + axis.size;
  }
  return text;
}

std::optional<int64_t> RowsProblem::known_size(bool reduced) const {
  int64_t size = 1;
  for (const RowAxis& axis : axes) {
    if (axis.reduced != reduced) continue;
    if (!axis.known || __builtin_mul_overflow(size, *axis.known, &size)) return std::nullopt;
  }
  return size;
}

Result<RowsProblem> describe_rows(const Problem& problem, const ElementWriter& writer) {
  return Describer(problem, writer).run();
}

}  // namespace redline
