// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/rows_text.h"

#include <algorithm>
#include <set>

#include "tactics/cuda/rows_teams.h"
#include "tactics/cuda/rule_code.h"

namespace redline {
namespace {

class RowsWriter {
 public:
  RowsWriter(const Problem& problem, const RowsShape& shape, ElementWriter& writer,
             RowsProblem& rows)
      : problem_(problem), shape_(shape), writer_(writer), rows_(rows) {}

  Result<ElementKernel> run() {
    RowOp op = write_row_op(anchor(), source_type(), rows_.applies(), wants_raw());
    in_place_ = op.in_place;
    set_dims();
    writer_.function(op.text);
    // Teams wait when they have made ready.
    std::string text = str_cat(in_team() ? "" : "  wait_for_former();\n  release_next();\n",
                               "  const idx rows = ", rows_.size(false), ";\n",
                               "  const idx size = ", rows_.size(true), ";\n");
    REDLINE_ASSIGN(std::string load, load_lambdas());
    REDLINE_ASSIGN(std::string done, done_lambda());
    REDLINE_ASSIGN(std::string store, store_lambda());
    text += load + done + store + call();
    std::vector<std::string> files = {"lanes.cuh", "block.cuh", "rows.cuh", "columns.cuh",
                                      "relay.cuh"};
    if (shape_.cluster > 1) {
      files.insert(files.end(), {"arch/cluster.cuh", "cluster_rows.cuh"});
    }
    if (shape_.kernel == RowsKernel::kShortRows) files.emplace_back("short_rows.cuh");
    if (in_team()) {
      files.insert(files.end(), {"arch/bulk_copy.cuh", "arch/tagged.cuh", "teams.cuh"});
    }
    if (is_whole(shape_.kernel)) files.emplace_back("whole_rows.cuh");
    if (in_tiles()) {
      files.insert(files.end(), {"product/chunks.cuh", "arch/copy_box.cuh", "team_columns.cuh"});
    }
    std::vector<std::string> more = {"void* parts_memory", "const i64 parts"};
    for (const char* map : {"from_map", "to_map"}) {
      if (in_tiles()) more.push_back(str_cat("const __grid_constant__ TensorMap ", map));
    }
    return writer_.whole(kRowsEntry, rows_threads(shape_), files, text, more, together());
  }

 private:
  const BodyNode& anchor() const { return writer_.body().nodes[static_cast<size_t>(rows_.anchor)]; }
  DType source_type() const { return writer_.value(rows_.source).dtype; }
  int anchor_value() const {
    int v = writer_.body().num_inputs;
    for (int n = 0; n < rows_.anchor; ++n) {
      v += writer_.body().nodes[static_cast<size_t>(n)].num_outputs;
    }
    return v;
  }
  bool in_columns() const { return !rows_.last_is_reduced(); }
  bool in_team() const { return is_team(shape_.kernel); }
  bool in_tiles() const { return in_team_columns(shape_.kernel); }

  // Whether results are made of the source by other ways than the anchor.
  bool wants_raw() const {
    const Body& body = writer_.body();
    std::vector<bool> before(rows_.dims.size(), false);
    before[static_cast<size_t>(rows_.source)] = true;
    int v = body.num_inputs;
    for (const BodyNode& node : body.nodes) {
      for (int i = 0; i < node.num_outputs; ++i, ++v) {
        if (&node == &anchor()) continue;
        for (int input : node.inputs) {
          if (input >= 0 && before[static_cast<size_t>(input)])
            before[static_cast<size_t>(v)] = true;
        }
      }
    }
    return std::any_of(body.outputs.begin(), body.outputs.end(),
                       [&](int output) { return before[static_cast<size_t>(output)]; });
  }

  void set_dims() {
    for (size_t v = 0; v < rows_.dims.size(); ++v) {
      std::vector<std::string>& dims = rows_.dims[v];
      if (dims.empty()) continue;
      // Wide accesses are for operands whose last axis is whole.
      if (shape_.lanes > 1 && !is_number(dims.back())) dims.back() = rows_.axes.back().size;
      writer_.set_dims(static_cast<int>(v), dims);
    }
  }

  // The index along each axis, from a place among the rows and one along the row ("" for 0).
  ElementIndex decode(const std::string& row, const std::string& k) {
    ElementIndex at(rows_.axes.size(), "0");
    for (bool reduced : {false, true}) {
      const std::string& linear = reduced ? k : row;
      if (linear.empty()) continue;
      size_t left = 0;
      for (const RowAxis& axis : rows_.axes) left += axis.reduced == reduced ? 1 : 0;
      if (left == 0) continue;
      std::string rest = writer_.fresh("rest");
      writer_.line(str_cat("idx ", rest, " = ", linear, ";"));
      for (size_t axis = rows_.axes.size(); axis-- > 0;) {
        if (rows_.axes[axis].reduced != reduced) continue;
        const std::string& size = rows_.axes[axis].size;
        bool first = --left == 0;
        at[axis] = writer_.fresh("x");
        writer_.line(str_cat("const idx ", at[axis], " = ", rest, first ? "" : " % " + size, ";"));
        if (!first) writer_.line(str_cat(rest, " /= ", size, ";"));
      }
    }
    return at;
  }

  ElementIndex index_of(int v, const ElementIndex& at) const {
    const std::vector<std::string>& dims = rows_.dims[static_cast<size_t>(v)];
    ElementIndex from;
    for (size_t axis = 0; axis < at.size(); ++axis) {
      bool whole = dims[axis] == rows_.axes[axis].size;
      from.push_back(whole ? at[axis] : broadcast_index(dims[axis], at[axis]));
    }
    return from;
  }

  void load(const std::set<int>& inputs, const ElementIndex& at) {
    for (int input : inputs) writer_.load_lanes(input, index_of(input, at), shape_.lanes);
  }

  std::string x_array() const { return str_cat("(&x)[", shape_.lanes, "]"); }

  Result<std::string> load_lambda() {
    writer_.begin();
    ElementIndex at = decode("row", "k");
    std::vector<int> inputs = writer_.inputs_of(rows_.source);
    load({inputs.begin(), inputs.end()}, at);
    for (int lane = 0; lane < shape_.lanes; ++lane) {
      writer_.set_lane(lane);
      writer_.open("");
      REDLINE_ASSIGN(std::string value, writer_.element(rows_.source, at));
      writer_.line(str_cat("x[", lane, "] = ", value, ";"));
      writer_.close();
    }
    writer_.set_lane(-1);
    return str_cat("  const auto load = [&](const idx row, const idx k, Op::Value ", x_array(),
                   ") {\n", writer_.take_statements(), "  };\n");
  }

  // Threads that should fit on a multiprocessor: with many registers for statistics, too few of
  // them would have bytes on their way.
  int together() const {
    switch (shape_.kernel) {
      case RowsKernel::kColumnsInRegisters:
        return shape_.lanes * shape_.groups > 32 ? 512 : 1024;
      case RowsKernel::kColumnRelay:
      case RowsKernel::kRowCluster:
      case RowsKernel::kColumnCluster:
        return 1024;
      case RowsKernel::kColumns:
      case RowsKernel::kColumnPartsFirst:
        return shape_.groups > 1 ? 768 : 512;
      default:
        return 512;
    }
  }

  // fetch and open are the two halves of load: what is held between them is what lies in memory, as
  // far as that is all it takes.
  Result<std::string> load_lambdas() {
    int v = rows_.source;
    const std::string lanes = std::to_string(shape_.lanes);
    const std::string open =
        str_cat("  const auto open = [&](const Raw& raw, Op::Value ", x_array(),
                ") {\n#pragma unroll\n    for (int l = 0; l < ", lanes, "; ++l) x[l] = ");
    if (v >= writer_.body().num_inputs) {
      REDLINE_ASSIGN(std::string load, load_lambda());
      return str_cat(load, "  struct Raw {\n    Op::Value x[", lanes, "];\n  };\n",
                     "  const auto fetch = [&](const idx row, const idx k, Raw& raw) {\n",
                     "    load(row, k, raw.x);\n  };\n", open, "raw.x[l];\n  };\n");
    }
    writer_.begin();
    ElementIndex at = decode("row", "k");
    writer_.line(str_cat("raw = load_lanes<", lanes, ">(in", v, " + ",
                         writer_.value(v).offset(index_of(v, at)), ");"));
    return str_cat("  typedef lanes_of<", storage_type(writer_.value(v).dtype), ", ", lanes,
                   "> Raw;\n", "  const auto fetch = [&](const idx row, const idx k, Raw& raw) {\n",
                   writer_.take_statements(), "  };\n", open, "widen(raw.element[l]);\n  };\n",
                   "  const auto load = [&](const idx row, const idx k, Op::Value ", x_array(),
                   ") {\n    Raw raw;\n    fetch(row, k, raw);\n    open(raw, x);\n  };\n");
  }

  // Stores the results of which there is one a row, for `count` rows side by side.
  Result<std::string> done_lambda() {
    int count = in_columns() ? shape_.lanes : 1;
    writer_.begin();
    REDLINE_TRY(store_outputs(true, decode("row", ""), "row", "", count));
    return str_cat("  const auto done = [&](const idx row, const Op::Stat (&stat)[", count,
                   "]) {\n", writer_.take_statements(), "  };\n");
  }

  Result<std::string> store_lambda() {
    writer_.begin();
    if (rows_.applies()) {
      ElementIndex at = decode("row", "k");
      REDLINE_TRY(store_outputs(false, at, whole_offset(at), "k", shape_.lanes));
    }
    int stats = in_columns() ? shape_.lanes : 1;
    return str_cat("  const auto store = [&](const idx row, const idx k, const Op::Value ",
                   x_array(), ", const Op::Stat (&stat)[", stats, "]",
                   in_team() ? ", void* place" : "", ") {\n", writer_.take_statements(), "  };\n");
  }

  std::string whole_offset(const ElementIndex& at) const {
    ElementOperand whole;
    for (const RowAxis& axis : rows_.axes) whole.dims.push_back(axis.size);
    return whole.offset(at);
  }

  std::string parameter(size_t i, const ElementIndex& at, Status& status) {
    if (i >= anchor().inputs.size() || anchor().inputs[i] < 0) return "";
    int v = anchor().inputs[i];
    Result<std::string> value = writer_.element(v, index_of(v, at));
    if (!value.ok()) {
      status = value.status();
      return "";
    }
    return *value;
  }

  bool has_parameters() const {
    std::string_view op = anchor().op->name;
    return op.ends_with("_norm") && op != "lp_norm" && op != "mean_variance_norm";
  }

  // A scale is below 1e23, and no element of f16 above 1e5.
  bool has_small_weight() const {
    if (!has_parameters() || anchor().inputs.size() < 2) return false;
    int v = anchor().inputs[1];
    return v >= 0 && v < writer_.body().num_inputs &&
           problem_.inputs[static_cast<size_t>(v)].dtype == DType::kFloat16;
  }

  // Binds what is known of an element: the anchor's results and the source.
  Status bind(int lane, const std::string& k, const ElementIndex& at, bool parameters) {
    std::string stat = str_cat("stat[", in_columns() ? lane : 0, "]");
    std::string x = str_cat("x[", lane, "]");
    std::string y =
        in_place_ || k.empty() ? x : str_cat("Op::transform(", x, ", ", stat, ".first)");
    std::string place = in_columns() || lane == 0 ? k : str_cat(k, " + ", lane);
    Status status;
    std::string weight = parameters ? parameter(1, at, status) : "";
    std::string bias = parameters ? parameter(2, at, status) : "";
    REDLINE_TRY(status);
    if (!k.empty()) writer_.bind(rows_.source, x);
    for (int i = 0; i < anchor().num_outputs; ++i) {
      writer_.bind(anchor_value() + i,
                   str_cat("(",
                           row_result(anchor(), static_cast<size_t>(i), source_type(), y, stat,
                                      place, weight, has_small_weight(), bias),
                           ")"));
    }
    return {};
  }

  Status store_outputs(bool row, const ElementIndex& at, const std::string& offset,
                       const std::string& k, int count) {
    std::vector<size_t> outputs;
    for (size_t i = 0; i < rows_.row_outputs.size(); ++i) {
      if (rows_.row_outputs[i] == row) outputs.push_back(i);
    }
    if (outputs.empty()) return {};
    bool parameters = !row && has_parameters();
    std::set<int> inputs;
    // Names only, to see which inputs are read.
    REDLINE_TRY(bind(0, k, at, false));
    for (size_t i : outputs) {
      std::vector<int> some = writer_.inputs_of(writer_.body().outputs[i]);
      inputs.insert(some.begin(), some.end());
    }
    for (size_t i = 1; parameters && i < anchor().inputs.size(); ++i) {
      if (anchor().inputs[i] >= 0) inputs.insert(anchor().inputs[i]);
    }
    for (int input : inputs) writer_.load_lanes(input, index_of(input, at), count);
    for (size_t i : outputs) {
      writer_.line(str_cat("lanes_of<", storage_type(problem_.outputs[i].dtype), ", ", count, "> r",
                           i, ";"));
    }
    for (int lane = 0; lane < count; ++lane) {
      writer_.set_lane(lane);
      writer_.open("");
      REDLINE_TRY(bind(lane, k, at, parameters));
      for (size_t i : outputs) {
        REDLINE_ASSIGN(std::string value, writer_.element(writer_.body().outputs[i], at));
        writer_.line(str_cat("narrow(&r", i, ".element[", lane, "], ", value, ");"));
      }
      writer_.close();
    }
    writer_.set_lane(-1);
    for (size_t i : outputs) {
      std::string place = str_cat("out", i, " + ", offset);
      if (in_team() && !row) {
        place = str_cat("(", storage_type(problem_.outputs[i].dtype), "*)place");
      }
      writer_.line(str_cat("store_lanes(", place, ", r", i, ");"));
    }
    return {};
  }

  // The op, the threads of a block and of a row, or side by side and along a column, and lanes.
  std::string whole_types() const {
    int x = in_columns() ? shape_.across : shape_.threads;
    int y = in_columns() ? shape_.threads / shape_.across : shape_.across;
    return str_cat("Op, ", x, ", ", y, ", ", shape_.lanes);
  }

  std::string call() const {
    std::string threads = std::to_string(shape_.threads);
    std::string lanes = std::to_string(shape_.lanes);
    std::string kept = std::to_string(shape_.groups);
    std::string some = shape_.groups == 1 ? "Op::kUnroll" : kept;
    std::string all = ">(rows, size, load, done, store);\n";
    std::string raw = str_cat(whole_types(), ", ", some, ", Raw>(rows, size, ");
    std::string parts = ">(rows, size, (int)parts, parts_memory, ";
    std::string whole = whole_types();
    auto call = [](const char* name, const std::string& types, const std::string& rest) {
      return str_cat("  ", name, "<", types, rest);
    };
    std::string relay = str_cat(", ", kept, ", Raw>(rows, size, (int)parts, ", shape_.lag,
                                ", parts_memory, fetch, open, done, store);\n");
    std::string cluster = str_cat(", ", kept, ", ", shape_.cluster, ", Raw>(");
    std::string row_part = str_cat("Op, ", threads, ", ", lanes);
    switch (shape_.kernel) {
      case RowsKernel::kRegisters:
        return call("rows_in_registers", str_cat(whole, ", ", kept, ", ", shape_.rows), all);
      case RowsKernel::kStreamed:
        return call("rows_streamed", whole, all);
      case RowsKernel::kPartsFirst:
        return call("row_parts_first", row_part, parts + "load);\n");
      case RowsKernel::kPartsSecond:
        return call("row_parts_second", row_part, parts + "load);\n");
      case RowsKernel::kPartsLast:
        return call("row_parts_last", row_part, parts + "load, done, store);\n");
      case RowsKernel::kColumns:
        return call("columns", raw, "fetch, open, done, store);\n");
      case RowsKernel::kColumnPartsFirst:
        return call("column_parts_first", raw, "(int)parts, parts_memory, fetch, open);\n");
      case RowsKernel::kColumnPartsLast:
        return call("column_parts_last", whole, parts + "done);\n");
      case RowsKernel::kColumnsInRegisters:
        return call("columns_in_registers", str_cat(whole, ", ", kept), all);
      case RowsKernel::kRelayReset: {
        std::string width = in_columns() ? std::to_string(shape_.across * shape_.lanes) : "1";
        return str_cat("  relay_reset<", threads, ">((rows + ", width, " - 1) / ", width,
                       ", parts_memory);\n");
      }
      case RowsKernel::kRowRelay:
        return call("row_relay", row_part, relay);
      case RowsKernel::kColumnRelay:
        return call("column_relay", whole, relay);
      case RowsKernel::kShortRows: {
        // The ways say that the size is known and the source an input.
        std::string size = std::to_string(rows_.known_size(true).value_or(0));
        return call("short_rows",
                    str_cat("Op, ", threads, ", ", shape_.across, ", ", shape_.rows, ", ", size,
                            ", Raw>(in", rows_.source),
                    ", rows, open, done);\n");
      }
      case RowsKernel::kRowCluster:
        return call("row_cluster", row_part, cluster + "size, fetch, open, done, store);\n");
      case RowsKernel::kColumnCluster:
        return call("column_cluster", whole, cluster + "rows, size, fetch, open, done, store);\n");
      case RowsKernel::kRowTeam:
      case RowsKernel::kColumnTeam:
      case RowsKernel::kRowWhole:
      case RowsKernel::kColumnWhole: {
        std::string types = str_cat(storage_type(source_type()), ", ", threads, ", ", lanes, ", ",
                                    kept, ", ", shape_.team, ", ", team_turn(shape_));
        std::string pieces =
            in_tiles()
                ? str_cat("TeamColumns<", types, ", ", shape_.across, "> pieces(rows, size, ",
                          columns_side_by_side(rows_), ", &from_map, &to_map);\n")
                : str_cat("TeamRows<", types, "> pieces(rows, size, in", rows_.source, ", out",
                          team_output(rows_), ");\n");
        std::string op = str_cat("Op, ", team_header_bytes(shape_));
        return str_cat("  const ", pieces,
                       is_whole(shape_.kernel)
                           ? call("whole_rows", op, ">(pieces, (int)parts, open, done, store);\n")
                           : call("team",
                                  str_cat(op, ", ", team_slots(shape_), ", ", team_held(shape_),
                                          ", ", team_pace(shape_)),
                                  ">(pieces, parts_memory, open, done, store);\n"));
      }
    }
    return {};
  }

  const Problem& problem_;
  const RowsShape& shape_;
  ElementWriter& writer_;
  RowsProblem& rows_;
  bool in_place_ = false;
};

}  // namespace

size_t team_output(const RowsProblem& rows) {
  auto whole = std::find(rows.row_outputs.begin(), rows.row_outputs.end(), false);
  return static_cast<size_t>(whole - rows.row_outputs.begin());
}

Result<ElementKernel> write_rows_kernel(const Problem& problem, const RowsShape& shape) {
  ElementWriter writer(problem);
  REDLINE_ASSIGN(RowsProblem rows, describe_rows(problem, writer));
  return RowsWriter(problem, shape, writer, rows).run();
}

}  // namespace redline
