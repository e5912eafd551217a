// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tactics/cuda/element.h"
#include "tactics/cuda/kernel_sizes.h"

namespace redline {

// What the threads of a kernel of pointwise ops go through: the problem's axes after those that all
// operands share were joined. Their sizes are texts: numbers, or of `sizes` (indexed).
struct VectorAxes {
  std::vector<std::string> rows;
  // Of each input: "1", the row's, or what is one of the two and known only when it runs.
  std::vector<std::vector<std::string>> inputs;
  KernelSizes sizes;        // "row" and its number, all but the first a divisor; "elements"
  int lanes = 1;            // neighbours that are read and written at once
  bool even = true;         // they divide the last axis; else that is the only one
  std::string groups = {};  // of lanes
};

// Writes the text of the kernels of one problem. Values of the body are numbered as in ops/body.h.
class ElementWriter {
 public:
  explicit ElementWriter(const Problem& problem);

  // Whether all ops have rules that take them.
  Status check() const;
  Result<ElementKernel> kernel(size_t output);
  // All outputs in one kernel, for a problem of pointwise ops only. Each thread makes `unroll`
  // groups of lanes.
  Result<ElementKernel> vector_kernel(const std::string& entry, const VectorAxes& axes, int unroll,
                                      int threads);

  // The pieces of a kernel that is written elsewhere, around an anchor: what a loop of ours or a
  // text of kernels/cuda makes, the ops before and behind it being rules. check_around() is check()
  // for all ops but node `anchor` of the body. Inputs are in0, in1, ... of their storage types,
  // unknown sizes what parameters() says, as idx.
  Status check_around(int anchor) const;
  // Whether the body's values could be described, which is asked before anything else here.
  Status check_described() const { return described_; }
  const Body& body() const { return body_; }
  const ElementOperand& value(int v) const { return values_[static_cast<size_t>(v)]; }
  const std::vector<std::string>& parameters() const { return parameters_; }
  // Starts a text: nothing is bound, no element has a name.
  void begin();
  // The element of value v is this expression of its compute type ("acc[3]"), at whatever index, in
  // the rest of the text or until v is bound again. What was made of the former one keeps its name
  // until its block is closed: open one for each.
  void bind(int v, std::string expression) { bound_[v] = std::move(expression); }
  // For values that are seen with other sizes than they have, e.g. with axes joined.
  void set_dims(int v, std::vector<std::string> dims);
  // The inputs of the problem that must be read to make value v from what is bound.
  std::vector<int> inputs_of(int v) const;
  // Reads `lanes` neighbours of an input along its last axis with wide accesses (or one element
  // where that axis has size 1); until set_lane(-1), the input's element is the lane's set with
  // set_lane(), at whatever index.
  // `left`: how many of them are there, if that is not all.
  void load_lanes(int input, const ElementIndex& at, int lanes, std::string_view left = {});
  void set_lane(int lane) { lane_ = lane; }
  // The statements since begin().
  std::string take_statements() { return std::move(body_text_); }
  // The functions that the statements call.
  std::string functions_text() const;
  // The whole text: types, the named files of kernels/cuda, functions of the rules, then the kernel
  // with all inputs, all outputs (void* out_raw0, ...), the unknown sizes (i64 p_NAME), `more`
  // parameters and KernelArgs::refused. Blocks of `threads` may use the registers that leave room
  // for `together` threads on a multiprocessor: left alone, ptxas spills to fit more.
  ElementKernel whole(const std::string& entry, int threads, const std::vector<std::string>& files,
                      const std::string& statements, const std::vector<std::string>& more = {},
                      int together = 512) const;
  // With `sizes` (indexed), which the statements see, as further parameters where any is unknown.
  ElementKernel whole(const std::string& entry, int threads, std::vector<std::string> files,
                      std::string statements, const KernelSizes& sizes);

  // For ElementContext.
  Result<std::string> element(int value, const ElementIndex& at);
  std::string fresh(std::string_view stem) { return str_cat(stem, next_name_++); }
  void line(std::string_view statement);
  void open(std::string_view head);
  void close();
  void function(std::string_view text);

 private:
  struct Made {  // which node makes a value, and which of its outputs
    int node = -1;
    size_t output = 0;
  };
  Result<std::string> load(int input, const ElementIndex& at);
  std::string source_text(const std::string& signature, const std::vector<std::string>& files,
                          const std::string& statements) const;
  ElementContext context_of(const BodyNode& node, size_t output);
  std::string signature(const std::string& name, const std::string& bounds,
                        const std::vector<std::string>& rest) const;
  Status describe_values();
  // Adds to a kernel's files, parameters and statements what makes the sizes known there.
  void take_sizes(const KernelSizes& sizes, std::vector<std::string>& files,
                  std::vector<std::string>& parameters, std::string& statements);
  Status write_group(const VectorAxes& axes, const std::string& linear);
  ElementIndex take_apart(const VectorAxes& axes, const std::string& linear);

  const Problem& problem_;
  Body body_;
  Status described_;
  std::vector<ElementOperand> values_;
  std::vector<Made> made_;
  std::vector<std::string> parameters_;  // names of unknown sizes
  // Of the kernel being written.
  std::string body_text_;
  std::vector<std::string> functions_;
  std::set<std::string, std::less<>> known_functions_;
  std::vector<std::map<std::string, std::string>> scopes_;  // elements that have a name already
  std::map<int, std::string> bound_;
  ElementIndex output_index_;
  std::vector<std::string> output_dims_;
  int next_name_ = 0;
  // Of a vector kernel: the lane being written, and the names of what its inputs' lanes are.
  int lane_ = -1;
  std::map<int, std::vector<std::string>> lanes_of_input_;
};

}  // namespace redline
