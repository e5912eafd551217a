// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "tactics/cuda/element.h"

namespace redline {

// Writes the text of the kernels of one problem. Values of the body are numbered as in ops/body.h.
class ElementWriter {
 public:
  explicit ElementWriter(const Problem& problem);

  // Whether all ops have rules that take them.
  Status check() const;
  Result<ElementKernel> kernel(size_t output);
  // All outputs in one kernel that reads and writes `lanes` neighbours at once, for a problem of
  // pointwise ops only whose sizes are known. `rows` are its axes after those that every operand
  // shares were joined, `inputs` the inputs' sizes along them (each that of the output or 1); the
  // last is a multiple of `lanes`. Each thread makes `unroll` groups of lanes.
  Result<ElementKernel> vector_kernel(const std::string& entry, const Dims& rows,
                                      const std::vector<Dims>& inputs, int lanes, int unroll,
                                      int threads);

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
  void load_lanes(int input, const ElementIndex& at, int lanes);
  std::string source_text(const std::string& signature) const;
  ElementContext context_of(const BodyNode& node, size_t output);
  std::string signature(const std::string& name, int threads,
                        const std::vector<std::string>& rest) const;
  Status describe_values();

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
  ElementIndex output_index_;
  std::vector<std::string> output_dims_;
  int next_name_ = 0;
  // Of a vector kernel: the lane being written, and the names of what its inputs' lanes are.
  int lane_ = -1;
  std::map<int, std::vector<std::string>> lanes_of_input_;
};

}  // namespace redline
