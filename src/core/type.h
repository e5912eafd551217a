// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/dim.h"
#include "core/dims.h"
#include "core/dtype.h"

namespace redline {

using SymDims = std::vector<Dim>;

// Sizes known at build time: none (rank unknown), or one symbolic Dim an axis.
class Shape {
 public:
  Shape() = default;                               // unknown rank
  Shape(SymDims dims) : dims_(std::move(dims)) {}  // NOLINT: implicit by design
  static Shape of(const Dims& dims);

  bool has_rank() const { return dims_.has_value(); }
  int rank() const { return static_cast<int>(dims_->size()); }
  const SymDims& dims() const { return *dims_; }
  const Dim& operator[](int axis) const { return (*dims_)[static_cast<size_t>(axis)]; }
  // The sizes when all are constants (and the rank is at most kMaxRank).
  std::optional<Dims> as_static() const;
  std::optional<Dim> count() const;  // product of the sizes; none when the rank is unknown
  std::string to_string() const;     // "[batch,3,224,224]", "[*]" for an unknown rank

  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::optional<SymDims> dims_;
};

// The type of an IR value: a tensor, a sequence of some element type, or an optional of one.
struct Type {
  enum class Kind : uint8_t { kTensor, kSequence, kOptional };
  Kind kind = Kind::kTensor;
  DType dtype = DType::kFloat32;        // kTensor
  Shape shape;                          // kTensor
  std::shared_ptr<const Type> element;  // kSequence, kOptional

  static Type tensor(DType dtype, Shape shape = {}) {
    return {Kind::kTensor, dtype, std::move(shape), nullptr};
  }
  static Type sequence(Type element) {
    return {Kind::kSequence, {}, {}, std::make_shared<const Type>(std::move(element))};
  }
  static Type optional(Type element) {
    return {Kind::kOptional, {}, {}, std::make_shared<const Type>(std::move(element))};
  }
  bool is_tensor() const { return kind == Kind::kTensor; }
  std::string to_string() const;  // "f32[batch,3]", "seq(f32[*])", "opt(i64[2])"
};
bool operator==(const Type& a, const Type& b);

}  // namespace redline
