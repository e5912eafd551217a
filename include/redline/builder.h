// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "redline/redline.h"

namespace redline {

// An attribute of an op, by the name the op gives it.
using AttributeValue = std::variant<int64_t, double, std::string, std::vector<int64_t>,
                                    std::vector<double>, std::vector<std::string>, DType, Tensor>;
using Attributes = std::vector<std::pair<std::string, AttributeValue>>;

// Makes a model op by op, for formats that have a parser of their own. Ops and their operands are
// those of the text form (`redline ops` lists them); sizes and types are checked as each op is
// added. Since 0.1. One thread.
//
//   redline::GraphBuilder b;
//   auto x = b.input("x", redline::DType::kFloat32, {"batch", "8"});
//   auto w = b.constant(weights);
//   auto y = b.op("matmul", {*x, *w});
//   b.output(*y, "y");
//   auto engine = b.build({});
class REDLINE_API GraphBuilder {
 public:
  // A tensor of the graph being built; good for this builder only.
  struct Value {
    int id = -1;
    bool present() const { return id >= 0; }
  };
  // An optional operand that is left out.
  static Value absent() { return Value(); }

  GraphBuilder();
  GraphBuilder(GraphBuilder&&) noexcept;
  GraphBuilder& operator=(GraphBuilder&&) noexcept;
  ~GraphBuilder();

  // Where the next ops come from, for the messages of errors: "net.txt:12". Kept until changed.
  void set_position(std::string position);

  // A size is a number, a symbol ("batch"), or an expression of them.
  Result<Value> input(std::string name, DType dtype, std::span<const std::string> dims);
  Result<Value> constant(Tensor tensor, std::string name = "");
  // Adds an op with one output, or with several. An error names the op, the node and the position.
  Result<Value> op(std::string_view op, const std::vector<Value>& inputs,
                   const Attributes& attributes = {}, std::string name = "");
  Result<std::vector<Value>> op_with_outputs(std::string_view op, const std::vector<Value>& inputs,
                                             size_t num_outputs, const Attributes& attributes = {},
                                             std::string name = "");
  Status output(Value value, std::string name);

  // "f32[batch,8]"
  Result<std::string> type(Value value) const;
  // The graph in its text form.
  std::string text() const;

  // Optimises and builds. The builder is used up.
  Result<Engine> build(const BuildSettings& settings = {});

  // Names of all ops.
  static std::vector<std::string> op_names();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace redline
