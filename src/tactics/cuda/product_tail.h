// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tactics/tactic.h"

// A product or convolution with the pointwise ops behind it, taken apart, and those ops as code.
namespace redline {

// How far into an operand a row of the result is: row / div % mod * stride elements.
struct RowStep {
  int64_t div = 1, mod = 1, stride = 0;
};
// `rows` are the result's axes without the last, `operand` the operand's along them (each that of
// the result, or 1). Nothing where one step does not say it.
std::optional<RowStep> row_step(const Dims& rows, const Dims& operand, int64_t stride);

// An anchor and, as a problem of its own, what stands behind it.
struct AnchoredRegion {
  const OpDef* op = nullptr;
  Attrs attrs;
  std::vector<int> operands;      // which inputs of the problem the anchor takes; -1: absent
  DType dtype = DType::kFloat32;  // of its result
  // The problem's inputs and then the anchor's result, all as if of the same sizes. Its body has no
  // nodes where nothing stands behind the anchor.
  Problem tail;

  const OperandDesc* operand(const Problem& problem, size_t i) const {
    bool given = i < operands.size() && operands[i] >= 0;
    return given ? &problem.inputs[static_cast<size_t>(operands[i])] : nullptr;
  }
};
// Unsupported unless the anchor is one of `anchors` and reads inputs only.
Result<AnchoredRegion> take_apart(const Problem& problem, const std::vector<std::string>& anchors);

// Writes `struct Tail`, which finishes and stores neighbouring sums of one row
// (kernels/cuda/product/product.cuh).
class ProductTail {
 public:
  // `bias`: the input that is added, times beta, to alpha times the sums; -1: none. `parts`: the
  // result's last axis is divided among as many products; else those of a batch follow each other.
  // `place`: statements that make `row` and `column` of the result from batch, row_of_part,
  // part_column and the kernel's `sizes`, or return; empty: as just said.
  struct Shape {
    bool has_columns = true;  // false: the result's axes are all rows, of one column
    int64_t parts = 1;
    double alpha = 1, beta = 1;
    int bias = -1;
    std::string place = {};
  };
  static Result<ProductTail> create(const Problem& problem, AnchoredRegion region, Shape shape);

  int64_t rows() const;  // of the result; kDynamicDim when not known
  int64_t columns() const { return columns_; }
  // Columns that a thread takes at once: as many as make 16 bytes, when they divide those of each
  // part.
  int lanes() const { return lanes_; }
  Result<std::string> text() const;
  // "int div0, int mod0, int stride0, ...": kernel parameters, and the same as arguments.
  std::string parameters() const;
  std::string arguments() const;
  // Their values for a problem whose sizes are known.
  std::vector<int> values() const;

 private:
  struct Operand {
    size_t input = 0;
    bool each_column = false;  // else one element a row
    bool known = false;        // its step
    bool like_rows = false;    // its rows are the result's
    RowStep step;
  };
  Status add_operand(const Problem& problem, size_t input);
  std::string element_offset(const Operand& operand) const;

  AnchoredRegion region_;
  Shape shape_;
  DType out_ = DType::kFloat32;
  Dims row_dims_;
  int64_t columns_ = 1;
  int lanes_ = 1;
  std::vector<Operand> operands_;
};

}  // namespace redline
